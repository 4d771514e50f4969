//! Settings and the command line: what `check` and `sync` make of a file before anybody is asked.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::dns::NameServer;
use tests::http::Server;
use tests::settings::{self, Check, GUID, with, with_section};
use tests::story::{Finished, Story, binary, finish, observing};

fn service(arguments: &[&str]) -> Finished {
    finish(Command::new(binary("akvvm_service").unwrap()).args(arguments)).unwrap()
}

/// `check --json` of a file with this content.
fn check(content: &[u8]) -> (Finished, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("3.settings");
    fs::write(&path, content).unwrap();
    let finished = service(&["check", path.to_str().unwrap(), "--json"]);
    let result = serde_json::from_str(&finished.output).unwrap();
    (finished, result)
}

fn wrapped(public: &Value) -> Value {
    json!({"runtimeSettings": [{"handlerSettings": {
        "publicSettings": public, "protectedSettings": null, "protectedSettingsCertThumbprint": null}}]})
}

#[test]
fn check_prints_what_it_understood_as_json() {
    let other = "11112222-aaaa-3333-bbbb-4444cccc5555";
    let settings = json!({
        "secretsManagementSettings": {
            "pollingIntervalInS": "7200", "requireInitialSync": true, "linkOnRenewal": false, "chainValidation": "Require",
            "observedCertificates": [
                {"url": "https://Contoso.vault.azure.net:443/secrets/web/", "certificateStoreLocation": "/srv/certs",
                 "customSymbolicLinkName": "web.pem", "acls": [{"user": "app1", "group": "apps"}, {"user": "app2"}],
                 "certificateFiles": "Split", "keepVersions": "3", "afterRenewal": {"reload": ["nginx.service"]},
                 "authenticationOverride": {"msiClientId": other}},
                "https://contoso.vault.azure.net/secrets/api/ca256f81a079427485e0e5d11c666b7f"]},
        "authenticationSettings": {"msiEndpoint": "http://169.254.169.254/metadata/identity", "msiClientId": GUID},
        "loggingSettings": {"telemetryEvents": "true", "logger": "fluentd", "endpoint": "TCP://localhost"},
    });
    let (finished, result) = check(wrapped(&settings).to_string().as_bytes());
    assert_eq!(finished.code, Some(0));
    assert_eq!(finished.errors, "");
    assert_eq!(
        result,
        json!({"valid": true, "errors": [], "warnings": [], "settings": {
            "pollingIntervalInS": 7200, "requireInitialSync": true, "chainValidation": "require", "telemetryEvents": true,
            "collector": "tcp://localhost:24224",
            "identity": {"endpoint": "http://169.254.169.254/metadata/identity/oauth2/token", "clientId": GUID},
            "certificates": [
                {"url": "https://contoso.vault.azure.net/secrets/web", "store": "/srv/certs", "link": "web.pem",
                 "acls": [{"user": "app1"}, {"group": "apps"}, {"user": "app2"}],
                 "certificateFiles": "split", "keepVersions": 3,
                 "afterRenewal": {"actions": ["reload nginx.service"], "splayInS": null, "onFirstInstall": false},
                 "identity": {"endpoint": "http://169.254.169.254/metadata/identity/oauth2/token", "clientId": other}},
                {"url": "https://contoso.vault.azure.net/secrets/api/ca256f81a079427485e0e5d11c666b7f",
                 "store": "/var/lib/waagent/Microsoft.Azure.KeyVault.Store", "link": null, "acls": [],
                 "certificateFiles": null, "keepVersions": null, "afterRenewal": null}]}})
    );
}

#[test]
fn check_prints_telemetry_events_only_where_they_are_sent() {
    let (_, result) = check(with(json!({})).to_string().as_bytes());
    let members: Vec<&String> = result["settings"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["certificates", "chainValidation", "identity", "pollingIntervalInS", "requireInitialSync"]);
}

#[test]
fn check_prints_each_mistake_with_its_place_as_json() {
    let settings = observing(&[
        json!("https://contoso.vault.azure.net/secrets/web"),
        json!("https://contoso.vault.azure.net/certificates/api"),
    ]);
    let (finished, result) = check(settings.to_string().as_bytes());
    assert_eq!(finished.code, Some(2));
    assert_eq!(
        result,
        json!({"valid": false, "warnings": [], "errors": [{
            "path": "secretsManagementSettings.observedCertificates[1]",
            "message": "\"https://contoso.vault.azure.net/certificates/api\" does not give the private key: write \
                        https://contoso.vault.azure.net/secrets/api"}]})
    );
}

#[test]
fn check_tells_a_person_what_is_wrong_and_what_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    let name = path.to_str().unwrap();
    fs::write(&path, with(json!({"pollingIntervalInS": 30})).to_string()).unwrap();
    let fine = service(&["check", name]);
    assert_eq!(fine.code, Some(0));
    assert_eq!(
        fine.output,
        format!(
            "{name}: warning: secretsManagementSettings.pollingIntervalInS: 30 s is raised to the shortest interval, \
             60 s\n{name}: valid, 1 certificate, 1 warning\n"
        )
    );
    fs::write(&path, with(json!({"pollingIntervalInS": "soon"})).to_string()).unwrap();
    let wrong = service(&["check", name]);
    assert_eq!(wrong.code, Some(2));
    assert_eq!(
        wrong.output,
        format!(
            "{name}: error: secretsManagementSettings.pollingIntervalInS: must be a whole number of seconds from 1 to \
             4294967295, such as \"3600\", not \"soon\"\n{name}: invalid, 1 error to mend\n"
        )
    );
}

#[test]
fn usage_errors_end_with_two_and_name_the_way_out() {
    for (arguments, words) in [
        (&["check"][..], "<FILE>"),
        (&["sync"], "<FILE>"),
        (&["run"], "<FILE>"),
        (&["check", "a", "b"], "unexpected argument"),
        (&["check", "a", "--jsno"], "--json"),
        (&["synch", "a"], "sync"),
        (&[], "Usage"),
    ] {
        let finished = service(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}");
        assert!(finished.errors.contains(words), "{arguments:?}: {}", finished.errors);
        assert_eq!(finished.output, "");
    }
    for arguments in [&["--help"][..], &["--version"], &["sync", "--help"]] {
        assert_eq!(service(arguments).code, Some(0), "{arguments:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.settings");
    let (circle, pipe) = (folder.path().join("circle.settings"), folder.path().join("pipe.settings"));
    symlink("circle.settings", &circle).unwrap();
    assert_eq!(finish(Command::new("mkfifo").arg(&pipe)).unwrap().code, Some(0));
    for (path, words) in [
        (missing.as_path(), "cannot be read: No such file or directory (os error 2): check the path"),
        (folder.path(), "is a directory: give the path of a .settings file"),
        (circle.as_path(), "symbolic links"),
        (pipe.as_path(), "is no regular file: write the settings into a file"),
        (Path::new("/dev/zero"), "is no regular file"),
        (&missing.join("0.settings"), "No such file"),
    ] {
        let path = path.to_str().unwrap();
        for command in ["check", "sync", "run"] {
            let finished = service(&[command, path]);
            let said = finished.output + &finished.errors;
            assert_eq!(finished.code, Some(2), "{command} {path}: {said}");
            assert!(said.contains(path) && said.contains(words), "{command} {path}: {said}");
        }
    }
}

#[test]
fn a_file_that_its_reader_may_not_read_is_named_with_the_reason() {
    let story = Story::begin().unwrap();
    let path = story.write_settings(&with(json!({}))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // A copy, because the folders above the binary may be root's alone.
    let copy = "/var/lib/copy";
    // By a program: what this process has open for writing, another test may be passing on to a child at this moment.
    finish(story.world().command("cp").arg(binary("akvvm_service").unwrap()).arg(copy)).unwrap();
    let mut command = story.world().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", copy, "check"]).arg(&path);
    let finished = finish(&mut command).unwrap();
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.output.contains("Permission denied"), "{finished:?}");
}

#[test]
fn every_form_of_settings_installs_the_same_certificate() {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("web").unwrap();
    let url = story.url("web");
    let plain = observing(&[json!(url)]);
    let text = plain.to_string();
    let quoted = serde_json::to_string(&text).unwrap();
    let twice = serde_json::to_string(&quoted).unwrap();
    let objects = observing(&[json!({"url": url, "certificateStoreName": "MY", "acls": []})]);
    let list_in_text = json!({"secretsManagementSettings": {"observedCertificates": format!("[\"{url}\"]"), "pollingIntervalInS": 90}});
    let forms = [
        ("bare", text.clone()),
        ("objects", objects.to_string()),
        ("mixed", observing(&[json!(url), json!({"url": url})]).to_string()),
        ("wrapped by the agent", wrapped(&plain).to_string()),
        ("wrapped by the agent as text", wrapped(&json!(text)).to_string()),
        ("quoted", quoted),
        ("quoted twice", twice),
        ("byte order mark", format!("\u{feff}{text}")),
        ("CRLF", serde_json::to_string_pretty(&plain).unwrap().replace('\n', "\r\n")),
        ("wrapped by a tool", json!({"settings": plain}).to_string()),
        ("list as text", list_in_text.to_string()),
        ("one level too high", json!({"observedCertificates": [url]}).to_string()),
    ];
    for (form, document) in forms {
        let path = story.write_file("0.settings", document.as_bytes()).unwrap();
        let finished = finish(&mut story.service(&["sync", path.to_str().unwrap(), "--json"]).unwrap()).unwrap();
        let result: Value = serde_json::from_str(&finished.output).unwrap_or_else(|_| panic!("{form}: {finished:?}"));
        assert_eq!(finished.code, Some(0), "{form}: {finished:?}");
        assert_eq!(result["certificates"][0]["version"], json!(version), "{form}");
        assert_eq!(result["certificates"].as_array().unwrap().len(), 1, "{form}");
        let unusual = !matches!(form, "bare" | "objects" | "wrapped by the agent" | "CRLF");
        assert_eq!(finished.errors.contains("warning: "), unusual, "{form}: {}", finished.errors);
    }
}

#[test]
fn hostile_values_are_refused_before_anybody_is_asked() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let names = NameServer::start(story.world()).unwrap();
    let documents = settings::refused().into_iter().map(|case| match case.check {
        Check::Refuses(_, words) => (case.settings.to_string(), words),
        other => panic!("{other:?}"),
    });
    let deep = [
        ("[".repeat(200_000), "is nested"),
        ("{\"settings\":".repeat(200_000), "is nested"),
        (format!("{}{}", "[".repeat(200_000), "]".repeat(200_000)), "is nested"),
        (format!("\"{}\"", "[".repeat(200_000)), "not JSON"),
        (format!("{}{}", "[".repeat(100), "]".repeat(100)), "nested"),
        (String::new(), "is empty"),
        ("\u{0}".to_owned(), "is not JSON"),
        (r#"{"observedCertificates": [], "observedCertificates": []}"#.to_owned(), "is given twice"),
        (
            format!("[\"https://{}.vault.azure.net/secrets/web\"]", "a".repeat(100_000))
                .replace('[', r#"{"observedCertificates": ["#)
                + "}",
            "3 to 24",
        ),
    ];
    let mut missing = Vec::new();
    for (document, word) in documents.chain(deep) {
        let shown: String = document.chars().take(300).collect();
        let path = story.write_file("0.settings", document.as_bytes()).unwrap();
        let path = path.to_str().unwrap();
        let finished = finish(&mut story.service(&["sync", path]).unwrap()).unwrap();
        assert_eq!(finished.code, Some(2), "{shown}: {finished:?}");
        if !finished.errors.contains(word) || !finished.errors.contains(path) {
            missing.push(format!("{word} in {}", finished.errors));
        }
        let escapes = finished.errors.lines().any(|line| line.contains(char::is_control));
        assert!(!escapes && finished.errors.len() < 2000, "{shown}: {finished:?}");
    }
    assert_eq!(missing, [] as [String; 0]);
    assert_eq!(names.questions(), [] as [String; 0]);
    assert_eq!(story.azure.connections(Server::Imds) + story.azure.connections(Server::Vault), 0);
}

#[test]
fn a_refused_host_or_endpoint_opens_no_socket() {
    let story = Story::begin().unwrap();
    let trace = story.folder().join("trace");
    let run = |settings: &Value| {
        let path = story.write_settings(settings).unwrap();
        let service = story.service(&["sync", path.to_str().unwrap()]).unwrap();
        let mut strace = story.world().command("strace");
        strace.args(["-f", "-e", "trace=%network", "-o"]).arg(&trace).arg(service.get_program());
        let finished = finish(strace.args(service.get_args())).unwrap();
        (finished, fs::read_to_string(&trace).unwrap())
    };
    for settings in [
        observing(&[json!("https://contoso.vault.azure.net@evil.example/secrets/web")]),
        with_section("authenticationSettings", json!({"msiEndpoint": "http://evil.example/metadata/identity"})),
    ] {
        let (finished, calls) = run(&settings);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(!calls.contains("socket(") && !calls.contains("connect("), "{calls}");
    }
    story.put("web").unwrap();
    let (finished, calls) = run(&with(json!({})));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(calls.contains("169.254.169.254"), "the trace shows connections: {calls}");
}

#[test]
fn sync_prints_a_table_of_what_it_did() {
    let story = Story::begin().unwrap();
    let (_, version) = story.put("web").unwrap();
    let path = story.write_settings(&observing(&[json!(story.url("web")), json!(story.url("gone"))])).unwrap();
    let mut sync = story.service(&["sync", path.to_str().unwrap()]).unwrap();
    let first = finish(&mut sync).unwrap();
    assert_eq!(first.code, Some(1));
    let lines: Vec<&str> = first.output.lines().collect();
    assert!(lines[0].starts_with("CERTIFICATE") && lines[0].ends_with("RESULT"), "{}", first.output);
    assert!(lines[1].starts_with("contoso.web ") && lines[1].contains(&version), "{}", first.output);
    assert!(lines[1].ends_with("installed: /var/lib/waagent/Microsoft.Azure.KeyVault.Store/contoso.web"));
    assert!(lines[2].contains("not installed: https://contoso.vault.azure.net/secrets/gone: HTTP 404 SecretNotFound"));
    assert!(lines[3].starts_with("1 of 2 certificates up to date; identity: the system-assigned identity (client id "));
    assert_eq!(first.errors, "");
    story.put("gone").unwrap();
    let second = finish(&mut sync).unwrap();
    assert_eq!(second.code, Some(0));
    let lines: Vec<&str> = second.output.lines().collect();
    assert!(lines[1].ends_with("  unchanged"), "{}", second.output);
    assert!(lines[2].contains("installed: /var/lib"), "{}", second.output);
    assert!(lines[3].starts_with("2 of 2 certificates up to date"));
}

#[test]
fn sync_tells_two_links_to_one_secret_apart() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let linked = json!({"url": story.url("web"), "customSymbolicLinkName": "web.pem"});
    let path = story.write_settings(&observing(&[json!(story.url("web")), linked])).unwrap();
    let finished = finish(&mut story.service(&["sync", path.to_str().unwrap()]).unwrap()).unwrap();
    let names: Vec<&str> = finished.output.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..3], ["CERTIFICATE", "contoso.web", "web.pem"], "{finished:?}");
}

#[test]
fn sync_writes_a_status_where_it_is_told_to() {
    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let settings = story.write_file("7.settings", with(json!({})).to_string().as_bytes()).unwrap();
    let mut command = story.service(&["sync", settings.to_str().unwrap(), "--status-folder"]).unwrap();
    let finished = finish(command.arg(story.status_folder())).unwrap();
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let status = fs::read(story.status_folder().join("7.status")).unwrap();
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status[0]["status"]["status"], "success");
    assert_eq!(status[0]["status"]["substatus"][0]["name"], "contoso.web");
    assert_eq!(fs::read_dir(story.status_folder()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn progress_is_shown_on_a_terminal_and_only_when_it_takes_long() {
    use tests::fault::{Scope, Times};
    use tests::wire::Wire;

    let story = Story::begin().unwrap();
    story.put("web").unwrap();
    let settings = story.write_settings(&with(json!({}))).unwrap();
    let program = binary("akvvm_service").unwrap();
    let state = story.folder().join("state");
    let line = format!("{} sync {} --state-folder {}", program.display(), settings.display(), state.display());
    let on_a_terminal = || {
        let mut script = story.world().command("script");
        finish(script.args(["--quiet", "--return", "--command", &line, "/dev/null"])).unwrap().output
    };
    let slow = Wire::Delay(std::time::Duration::from_millis(1500));
    story.azure.fault(Scope::Vaults, slow.clone(), Times::Next(1));
    let shown = on_a_terminal();
    assert!(shown.contains("\r0 of 1 certificates") && shown.contains("\u{1b}[K"), "{shown:?}");
    let shown = on_a_terminal();
    assert!(!shown.contains("of 1 certificates\r") && !shown.contains("\r0 of 1"), "{shown:?}");
    story.azure.fault(Scope::Vaults, slow, Times::Next(1));
    let finished = finish(&mut story.service(&["sync", settings.to_str().unwrap()]).unwrap()).unwrap();
    assert_eq!(finished.errors, "", "no terminal, no progress");
}
