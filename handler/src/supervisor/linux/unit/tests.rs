//! What the unit says, and what of an earlier one is left.

use common::folders::Folders;

use super::*;

pub(in crate::supervisor::linux) fn launch() -> Launch {
    let agent = Path::new("/var/lib/waagent/A b%$\"x\\y-1.0.0");
    Launch {
        program: "/opt/akvvm/1.0.0/libexec/akvvm_service".into(),
        settings: "/var/lib/akvvm/accepted/3.settings".into(),
        folders: Folders {
            state: "/var/lib/akvvm".into(),
            status: Some(agent.join("status")),
            log: Some("/var/log/azure/A".into()),
        },
        handler: agent.to_owned(),
        machine: Some("4a5b".into()),
        events: Some("/var/log/azure/A/events".into()),
        stores: ["/srv/a b", "/srv/100%", "/srv/$HOME", "/srv/größe"].map(|store| Path::new(store).into()).into(),
        has_actions: false,
        collector: None,
    }
}

pub(in crate::supervisor::linux) fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let line = lines.next().unwrap();
    assert_eq!(lines.next(), None, "{key}");
    line
}

#[test]
fn odd_characters_in_an_argument_stand_for_themselves() {
    let run = r#""/opt/akvvm/1.0.0/libexec/akvvm_service" "run" "/var/lib/akvvm/accepted/3.settings" "--state-folder" "/var/lib/akvvm" "--status-folder" "/var/lib/waagent/A b%%$$\"x\\y-1.0.0/status" "--log-folder" "/var/log/azure/A" "--events-folder" "/var/log/azure/A/events" "--handler-folder" "/var/lib/waagent/A b%%$$\"x\\y-1.0.0" "--machine" "4a5b" "--dialer" "/run/akvvm/dialer""#;
    assert_eq!(line(&service(&launch(), None), "ExecStart"), run);
}

#[test]
fn the_service_has_no_network_and_asks_the_dialer() {
    let text = service(&launch(), None);
    assert_eq!(line(&text, "PrivateNetwork"), "yes");
    assert_eq!(line(&text, "RestrictAddressFamilies"), "AF_UNIX");
    assert_eq!(line(&text, "Upholds"), "akvvm_dialer.socket");
    assert!(!text.contains("/run/nslcd") && !text.contains("/run/systemd/resolve"), "{text}");
}

#[test]
fn notes_are_watched_where_something_follows_from_renewals() {
    assert!(!line(&service(&launch(), None), "ExecStart").contains("--notes-are-watched"));
    let launch = Launch { has_actions: true, ..launch() };
    assert!(line(&service(&launch, None), "ExecStart").contains(" \"--notes-are-watched\""));
    assert_eq!(line(&watcher(&launch), "PathExists"), "/var/lib/akvvm/after-renewal/note.json");
    let act = r#""/opt/akvvm/1.0.0/libexec/akvvm_service" "act" "/var/lib/akvvm/accepted/3.settings" "--state-folder" "/var/lib/akvvm""#;
    assert_eq!(line(&actor(&launch), "ExecStart"), act);
    assert!(is_ours(&watcher(&launch)) && runs(&actor(&launch), &launch.program));
}

#[test]
fn a_unit_is_known_by_its_text_and_its_program() {
    let text = service(&launch(), Some("/etc/default/akvvm_service"));
    assert_eq!(line(&text, "EnvironmentFile"), "-/etc/default/akvvm_service");
    assert!(runs(&text, &launch().program));
    assert!(is_ours(&text) && !runs(&text, Path::new("/opt/akvvm/1.0.0/libexec/akvvm")));
    assert!(!is_ours("[Service]\nExecStart=/opt/akvvm/1.0.0/libexec/akvvm_service run"));
}

#[test]
fn the_program_of_a_unit_is_found_whoever_wrote_it() {
    for (text, found) in [
        (
            "[Service]\nExecStart=/var/lib/waagent/X-2.0/akvvm_service -d\n",
            Some("/var/lib/waagent/X-2.0/akvvm_service"),
        ),
        ("[Service]\n ExecStart = -\"/opt/x\" run", Some("/opt/x")),
        ("[Service]\nExecStartPre=/bin/true\nExecStart=@/opt/y y", Some("/opt/y")),
        ("[Unit]\nDescription=x", None),
    ] {
        assert_eq!(program(text), found, "{text}");
    }
    assert_eq!(program(&service(&launch(), None)), Some("/opt/akvvm/1.0.0/libexec/akvvm_service"));
}

#[test]
fn a_service_that_reports_nowhere_reports_no_end() {
    let silent = Launch { folders: Folders { status: None, ..launch().folders }, ..launch() };
    assert!(!service(&silent, None).contains("ExecStopPost"));
    assert!(
        line(&service(&launch(), None), "ExecStopPost")
            .starts_with("+\"/opt/akvvm/1.0.0/libexec/akvvm_service\" \"ended\"")
    );
}
