//! The texts of the drop-ins: what the settings, and this machine's files, add to the units. Writes nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Launch;
use super::hidden::{self, Needed};
use super::unit::{LIBRARIES, MARK, path};

/// Where the Azure Arc agent puts keys for those who ask it for tokens.
const ARC_KEYS: &str = "/var/opt/azcmagent/tokens";
/// The line with what is hidden.
const HIDDEN: &str = "InaccessiblePaths=";

/// What the settings and this machine's files mean for the units.
pub(super) struct DropIns<'a> {
    launch: &'a Launch,
    /// What the service writes.
    written: Vec<&'a Path>,
    /// What others have: of that, what is hidden from the service, and from the dialer.
    hidden: [Vec<PathBuf>; 2],
}

impl<'a> DropIns<'a> {
    /// `trust` is the files and folders of trusted roots that an administrator names.
    pub(super) fn of(launch: &'a Launch, trust: &[PathBuf]) -> Self {
        let folders = &launch.folders;
        // Events are renamed from the log folder into one below it: two entries would be two mounts, and no rename.
        let events =
            launch.events.as_ref().filter(|events| folders.log.as_ref().is_none_or(|log| !events.starts_with(log)));
        let own = [Some(&folders.state), folders.status.as_ref(), folders.log.as_ref(), events];
        let own = own.into_iter().flatten().map(PathBuf::as_path);
        let written: Vec<&Path> = own.chain(launch.stores.iter().map(AsRef::as_ref)).collect();
        let own = [&launch.program, &launch.settings, &launch.handler].map(PathBuf::as_path);
        let held: Vec<&Path> = written.iter().copied().chain(own).collect();
        let read: Vec<&Path> = LIBRARIES.map(Path::new).into_iter().chain(launch.collector.as_deref()).collect();
        let trust: Vec<&Path> = trust.iter().map(PathBuf::as_path).collect();
        let hidden =
            [false, true].map(|looks_up| hidden::from(&Needed { held: &held, read: &read, trust: &trust, looks_up }));
        Self { launch, written, hidden }
    }

    /// The service's: nothing may be written but what these settings need, not even the settings, by which the dialer knows what
    /// it may connect to; and what others have is hidden. A path that is missing does not keep the service from starting.
    /// Mounts are wanted, not required: a share that is away must not stop the certificates that lie elsewhere.
    pub(super) fn service(&self) -> String {
        let stores: Vec<String> = self.launch.stores.iter().map(|store| path(&**store)).collect();
        let writable = if_there(self.written.iter().copied());
        let settings = if_there(self.launch.settings.parent().into_iter());
        // Who works notes off is confined by nothing: they stay where they are, in a mount of their own.
        let notes = self.launch.has_actions.then(|| self.launch.notes());
        let notes = notes.map(|folder| format!("BindPaths={}\n", if_there([&*folder].into_iter())));
        let collector = self.launch.collector.as_deref().and_then(reached);
        let collector = collector.map(|folder| format!("BindReadOnlyPaths={}\n", if_there([&*folder].into_iter())));
        format!(
            "{MARK}
[Unit]
WantsMountsFor={}

[Service]
ProtectSystem=strict
ReadWritePaths={writable}
ReadOnlyPaths={settings}
NoExecPaths={writable}
{HIDDEN}{}
{}{}",
            stores.join(" "),
            if_there(self.hidden[0].iter().map(PathBuf::as_path)),
            notes.unwrap_or_default(),
            collector.unwrap_or_default()
        )
    }

    /// The dialer's: it sees neither what others have nor what the service writes, keys above all.
    pub(super) fn dialer(&self) -> String {
        let needed = [&self.launch.program, &self.launch.settings];
        let written = self.written.iter().copied().filter(|folder| !needed.iter().any(|path| path.starts_with(folder)));
        let hidden = self.hidden[1].iter().map(PathBuf::as_path).chain(written).chain([Path::new(ARC_KEYS)]);
        format!("{MARK}\n[Service]\n{HIDDEN}{}\n", if_there(hidden))
    }
}

/// Paths of a list, each of which may be missing.
fn if_there<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    paths.map(|one| path(format!("-{}", one.display()))).collect::<Vec<_>>().join(" ")
}

/// Whether the drop-in `found` does for the service what `wanted` would, and hides nothing that it needs. What others made
/// private since then is hidden from the next start on, and what they removed is nothing: they must not restart the service.
pub(super) fn suffices(found: &str, wanted: &str) -> bool {
    let ((found, hides), (wanted, may_hide)) = (without_hidden(found), without_hidden(wanted));
    found == wanted && hides.difference(&may_hide).all(|path| !Path::new(path.trim_start_matches('-')).exists())
}

/// The lines of a drop-in, but for the paths that it hides.
fn without_hidden(text: &str) -> (Vec<&str>, HashSet<&str>) {
    let (hidden, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with(HIDDEN));
    let paths = hidden.into_iter().flat_map(|line| line[HIDDEN.len()..].trim_matches('"').split("\" \""));
    (rest, paths.collect())
}

/// The folder of a collector's socket, where `/run` hides it: a socket alone would be lost when the collector starts anew.
/// Folders of the system's own sockets stay hidden, whatever the settings say.
fn reached(socket: &Path) -> Option<PathBuf> {
    let below = socket.strip_prefix("/run").or_else(|_| socket.strip_prefix("/var/run")).ok()?;
    let first = below.parent()?.components().next()?.as_os_str().to_str()?;
    // A colon would divide the line.
    let is_open = !["systemd", "dbus", "user", "docker", "containerd", "lock"].contains(&first) && !first.contains(':');
    is_open.then(|| Path::new("/run").join(first))
}

#[cfg(test)]
mod tests {
    use super::super::unit::tests::{launch, line};
    use super::*;

    #[test]
    fn the_service_may_write_what_its_settings_need_and_nothing_else() {
        let text = DropIns::of(&launch(), &[]).service();
        let paths = r#""-/var/lib/akvvm" "-/var/lib/waagent/A b%%$\"x\\y-1.0.0/status" "-/var/log/azure/A" "-/srv/a b" "-/srv/100%%" "-/srv/$HOME" "-/srv/größe""#;
        assert_eq!(line(&text, "ReadWritePaths"), paths);
        assert_eq!(line(&text, "ReadOnlyPaths"), r#""-/var/lib/akvvm/accepted""#);
        assert_eq!(line(&text, "ProtectSystem"), "strict");
        assert_eq!(line(&text, "WantsMountsFor"), r#""/srv/a b" "/srv/100%%" "/srv/$HOME" "/srv/größe""#);
    }

    #[test]
    fn secrets_of_others_are_hidden_unless_something_that_is_needed_lies_there() {
        let hidden = |launch: &Launch, trust: &[PathBuf]| {
            line(&DropIns::of(launch, trust).service(), "InaccessiblePaths").to_owned()
        };
        let all = hidden(&launch(), &[]);
        assert!(
            ["/etc/shadow", "/root", "/home", "/tmp"].iter().all(|path| all.contains(&format!("\"-{path}\""))),
            "{all}"
        );
        let is_hidden = |all: &str| ["/home", "/tmp", "/root"].map(|path| all.contains(&format!("\"-{path}\"")));
        assert_eq!(is_hidden(&hidden(&launch(), &["/home/ca.pem".into()])), [false, true, true]);
        let launch = Launch { collector: Some("/tmp/fluent.socket".into()), ..launch() };
        assert_eq!(is_hidden(&hidden(&launch, &[])), [true, false, true]);
    }

    #[test]
    fn a_drop_in_that_hides_nothing_that_is_needed_may_stay() {
        let text = DropIns::of(&launch(), &[]).service();
        let found = |paths: &str| {
            text.lines().map(|line| if line.starts_with(HIDDEN) { paths } else { line }).collect::<Vec<_>>().join("\n")
        };
        assert!(
            suffices(&text, &text) && suffices(&found("InaccessiblePaths=\"-/root\" \"-/not/there any more\""), &text)
        );
        assert!(!suffices(&found("InaccessiblePaths=\"-/root\" \"-/usr/bin\""), &text));
        let launch = Launch { stores: vec![Path::new("/srv/other").into()], ..launch() };
        assert!(!suffices(&text, &DropIns::of(&launch, &[]).service()));
    }

    #[test]
    fn a_collector_below_run_is_reached_but_no_folder_of_the_systems_own_sockets() {
        for (socket, folder) in [
            ("/var/run/azuremonitoragent/x/fluent.socket", Some("/run/azuremonitoragent")),
            ("/run/mdsd/default_fluent.socket", Some("/run/mdsd")),
            ("/run/fluent.socket", None),
            ("/run/dbus/system_bus_socket", None),
            ("/var/run/systemd/private", None),
            ("/var/lib/fluent.socket", None),
        ] {
            assert_eq!(reached(Path::new(socket)).as_deref(), folder.map(Path::new), "{socket}");
        }
        let launch = Launch { collector: Some("/run/mdsd/default_fluent.socket".into()), ..launch() };
        assert_eq!(line(&DropIns::of(&launch, &[]).service(), "BindReadOnlyPaths"), r#""-/run/mdsd""#);
    }

    #[test]
    fn the_dialer_sees_neither_keys_nor_what_others_have() {
        let hidden = line(&DropIns::of(&launch(), &[]).dialer(), "InaccessiblePaths").to_owned();
        for path in ["/etc/shadow", "/root", "/srv/a b", "/srv/100%%", "/var/log/azure/A", ARC_KEYS] {
            assert!(hidden.contains(&format!("\"-{path}\"")), "{path}: {hidden}");
        }
        assert!(!hidden.contains("\"-/var/lib/akvvm\""), "{hidden}");
    }
}
