//! Which folders may be a store.

use std::path::Path;
use std::sync::Arc;

use crate::system;
use crate::text::{excerpt, is_deceptive};

/// Folders that hold code, policy or the kernel's files: nothing that settings name may ever be written there.
const REFUSED_TREES: [&str; 47] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/root",
    "/etc/sudoers.d",
    "/etc/pam.d",
    "/etc/systemd",
    "/etc/profile.d",
    "/etc/ld.so.conf.d",
    "/etc/init.d",
    "/etc/security",
    "/etc/ssh",
    "/etc/akvvm",
    "/etc/default",
    "/etc/apt",
    "/etc/udev",
    "/etc/polkit-1",
    "/etc/dbus-1",
    "/etc/NetworkManager",
    "/etc/init",
    "/etc/kernel",
    "/etc/selinux",
    "/etc/xdg",
    "/etc/skel",
    "/etc/alternatives",
    "/etc/network",
    "/etc/initramfs-tools",
    "/etc/dpkg",
    "/etc/yum",
    "/etc/dnf",
    "/var/spool/cron",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/akvvm",
    "/etc/ssl/certs",
    "/etc/pki/ca-trust",
    "/etc/ca-certificates",
];

/// The folder, written one way.
///
/// # Errors
/// What is wrong with it and what to write, when it is no absolute folder, or the system's own.
pub(super) fn folder(text: &str) -> Result<Arc<Path>, String> {
    let advice = format!("write an absolute folder such as {}", system::DEFAULT_STORE);
    let refused = |reason: &str| Err(format!("\"{}\" {reason}: {advice}", excerpt(text)));
    if text.eq_ignore_ascii_case("LocalMachine") || text.eq_ignore_ascii_case("CurrentUser") {
        return refused("is a store of Windows");
    }
    if text.contains('\\') || text.get(1..2) == Some(":") {
        return refused("is a path of Windows");
    }
    if !text.starts_with('/') {
        return refused("is not absolute");
    }
    if text.chars().any(is_deceptive) {
        return refused("holds control characters");
    }
    if text.split('/').any(|part| matches!(part, "." | "..")) {
        return refused("holds . or ..");
    }
    if text.len() > 3000 || text.split('/').any(|part| part.len() > 255) {
        return refused("is too long");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let folder = format!("/{}", parts.join("/"));
    let is_in = |tree: &str| folder.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(tree) = REFUSED_TREES.iter().find(|tree| is_in(tree)) {
        return refused(&format!("lies in {tree}, which belongs to the system"));
    }
    let is_policy = |name: &str| name.starts_with("cron") || name.ends_with(".d");
    if matches!(
        parts[..],
        [] | ["etc" | "var" | "home" | "opt" | "srv" | "mnt" | "tmp"] | ["var", "lib" | "log" | "tmp"]
    ) || matches!(parts[..], ["var", "lib", "waagent"])
        || matches!(parts[..], ["etc", name, ..] if is_policy(name))
        || parts.contains(&".ssh")
    {
        return refused("is a folder of the system");
    }
    if let ["var", "lib", "waagent", name, ..] = parts[..]
        && is_handler_folder(name)
    {
        return refused("is a folder that the guest agent deletes");
    }
    Ok(Path::new(&folder).into())
}

/// The guest agent removes every `<name>-<version>` below its folder that is not in the goal state.
fn is_handler_folder(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, end)| end.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn accepts_folders_and_writes_them_one_way() {
        for (text, meant) in [
            ("/srv/certs", "/srv/certs"),
            ("/srv//certs/", "/srv/certs"),
            ("/etc/nginx/ssl", "/etc/nginx/ssl"),
            ("/var/lib/waagent/Microsoft.Azure.KeyVault.Store/", "/var/lib/waagent/Microsoft.Azure.KeyVault.Store"),
            ("/home/app1/größe 1", "/home/app1/größe 1"),
        ] {
            assert_eq!(folder(text), Ok(Path::new(meant).into()), "{text}");
        }
    }

    #[test]
    fn refuses_folders_of_the_system_and_what_is_no_folder() {
        for text in [
            "",
            "/",
            "//",
            "certs",
            "./certs",
            "../certs",
            "~/certs",
            "/srv/../etc",
            "/srv/./certs",
            "C:\\certs",
            "C:/certs",
            "\\\\server\\share",
            "/proc/self",
            "/sys/fs",
            "/dev/shm",
            "/run/certs",
            "/var/run/certs",
            "/usr/local/certs",
            "/bin",
            "/lib64/x",
            "/root/certs",
            "/etc",
            "/etc/",
            "/etc/cron.d",
            "/etc/cron.daily/x",
            "/etc/sudoers.d",
            "/etc/systemd/system",
            "/etc/pam.d",
            "/srv/a\nb",
            "/srv/a\u{0}b",
            "/srv/\u{202e}b",
            "LocalMachine",
            "/var/lib/waagent/Contoso.X-1.2",
            "/etc/udev/rules.d",
            "/etc/modprobe.d",
            "/etc/logrotate.d/x",
            "/etc/rc3.d",
            "/var/spool/cron/crontabs",
            "/var/lib",
            "/var/lib/waagent",
            "/home/app1/.ssh",
            "/tmp",
            "/etc/bash_completion.d",
            "/etc/ssl/certs",
            "/etc/pki/ca-trust/source/anchors",
            "/etc/ca-certificates",
        ] {
            assert!(folder(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn says_what_kind_of_folder_it_is_that_is_refused() {
        for (text, words) in [
            ("LocalMachine", "is a store of Windows"),
            ("currentuser", "is a store of Windows"),
            ("C:/certs", "is a path of Windows"),
            ("\\\\server\\share", "is a path of Windows"),
            ("certs", "is not absolute"),
            ("/etc/ssl/certs/x", "lies in /etc/ssl/certs, which belongs to the system"),
            ("/etc", "is a folder of the system"),
            ("/var/lib/waagent/Contoso.X-1.2", "is a folder that the guest agent deletes"),
        ] {
            let message = folder(text).unwrap_err();
            assert!(message.starts_with(&format!("\"{text}\" {words}: write an absolute folder")), "{message}");
        }
    }

    #[test]
    fn names_have_255_bytes_and_paths_3000_at_most() {
        let part = |length: usize| format!("/{}", "a".repeat(length));
        let long = part(249).repeat(12);
        for (text, is_accepted) in
            [(part(255), true), (part(256), false), (long.clone(), true), (format!("{long}/"), false)]
        {
            assert_eq!(folder(&text).is_ok(), is_accepted, "{}", text.len());
        }
    }
}
