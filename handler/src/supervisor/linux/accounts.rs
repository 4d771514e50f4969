//! Who answers for accounts on this machine (nsswitch.conf(5)). Some of them ask a network from within the process that asks
//! for an account, which a service without a network could not.

use std::fs;
use std::path::Path;

const FILE: &str = "/etc/nsswitch.conf";
/// The lines about accounts.
const ACCOUNTS: [&str; 5] = ["passwd", "group", "initgroups", "passwd_compat", "group_compat"];
/// Those who read files, or ask another process of this machine.
const LOCAL: [&str; 15] = [
    "files",
    "db",
    "cache",
    "altfiles",
    "usrfiles",
    "extrausers",
    "systemd",
    "mymachines",
    "sss",
    "winbind",
    "himmelblau",
    "authd",
    "vas4",
    "centrifydc",
    "lsass",
];
/// Where the process listens that asks a directory for the module `ldap`, if there is one.
const NSLCD: &str = "/run/nslcd";

/// One who may ask a network in the service's own process, by its name.
pub(super) fn answered_by_a_network() -> Option<String> {
    let is_local = |name: &str| match name {
        "ldap" => Path::new(NSLCD).exists(),
        // It asks NIS for what the files leave to it.
        "compat" => {
            !["/etc/passwd", "/etc/group"].map(fs::read_to_string).into_iter().flatten().any(|text| has_more(&text))
        }
        name => LOCAL.contains(&name),
    };
    found(&fs::read_to_string(FILE).unwrap_or_default(), is_local)
}

fn has_more(text: &str) -> bool {
    text.lines().any(|line| line.starts_with('+'))
}

fn found(text: &str, is_local: impl Fn(&str) -> bool) -> Option<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let sources = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| ACCOUNTS.contains(&name.trim()));
    // What is in brackets is what follows from an answer, and may hold spaces.
    let outside = sources
        .flat_map(|(_, sources)| sources.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)));
    let mut names = outside.flat_map(str::split_whitespace);
    names.find(|name| !is_local(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_who_asks_a_network_for_accounts() {
        for (text, expected) in [
            ("", None),
            ("passwd: files systemd\ngroup:\tfiles [SUCCESS=merge] systemd\nhosts: files dns\nshadow: nis", None),
            ("passwd: files [NOTFOUND=return UNAVAIL=continue] sss # nis\n#group: nis", None),
            ("passwd: files\n group : files nis", Some("nis")),
            ("passwd: files ldap", Some("ldap")),
            ("passwd: compat\npasswd_compat: nis", Some("nis")),
            ("initgroups: files [!SUCCESS=return] hesiod", Some("hesiod")),
            ("passwd: files ofsomebody", Some("ofsomebody")),
        ] {
            let is_local = |name: &str| name == "compat" || LOCAL.contains(&name);
            assert_eq!(found(text, is_local).as_deref(), expected, "{text}");
        }
        assert!(has_more("root:x:0:0::/root:/bin/sh\n+::::::\n") && !has_more("root:x:0:0:a+b:/root:/bin/sh\n"));
    }
}
