//! The two manifests of a package. `HandlerManifest.json` is for the guest agent, which reads commands and update mode
//! from it; `manifest.xml`, the classic ExtensionImage document, is for publishing.

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::release::Release;

/// One element of `HandlerManifest.json`. The document is an array, of which the agent reads the first element.
///
/// The flags are real JSON booleans: older agents take any text as true, `"false"` too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handler {
    #[serde(default)]
    name: String,
    version: f64,
    #[serde(rename = "handlerManifest")]
    manifest: Commands,
}

/// What the agent runs and how it updates.
///
/// `continueOnUpdateFailure` is true: it is asked of the *new* version when the *old* version's `disable` or `uninstall`
/// fails during an update. With false a release whose `disable` is broken could never be replaced, and the agent would
/// report the failed update for ever. Going on is safe because the old version's commands leave nothing that the new one
/// needs: its `enable` finds a service that is still running by the lock, and replaces it.
///
/// `reportHeartbeat` is false: the status file is kept fresh by the service, and with a heartbeat the agent would show
/// the machine as broken until the first beat.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Commands {
    install_command: String,
    uninstall_command: String,
    update_command: String,
    enable_command: String,
    disable_command: String,
    reboot_after_install: bool,
    report_heartbeat: bool,
    update_mode: UpdateMode,
    continue_on_update_failure: bool,
    supports_multiple_extensions: bool,
}

/// Whether an update also runs `install`. The agent takes every unknown word for "without".
#[derive(Debug, Serialize, Deserialize)]
enum UpdateMode {
    UpdateWithInstall,
    UpdateWithoutInstall,
}

/// `HandlerManifest.json` of a release, from the one in the repository, which has no name and calls programs by their names
/// alone. For Windows they become names of files: no documentation says that its agent finds a program without one.
///
/// An error when a field is missing, unknown or of the wrong type, or a command does not start one of `programs`.
pub(crate) fn handler(text: &str, release: &Release, programs: &[&str]) -> Result<String> {
    let [mut handler]: [Handler; 1] = serde_json::from_str(text)?;
    let commands = &mut handler.manifest;
    for command in [
        &mut commands.install_command,
        &mut commands.uninstall_command,
        &mut commands.update_command,
        &mut commands.enable_command,
        &mut commands.disable_command,
    ] {
        let (program, verb) = command.split_once(' ').unwrap_or((command, ""));
        ensure!(programs.contains(&program), "the command `{command}` starts no program of the package");
        *command = format!("{program}{} {verb}", release.os.program_suffix());
    }
    handler.name = release.handler_name();
    let mut text = serde_json::to_string_pretty(&[handler])?;
    text.push('\n');
    Ok(text)
}

/// `manifest.xml` of a release, from the one in the repository, whose elements for it are empty.
///
/// An error when one of these elements is not there exactly once, and empty.
pub(crate) fn image(text: &str, release: &Release) -> Result<String> {
    let mut text = text.to_owned();
    for (element, value) in [
        ("ProviderNameSpace", release.publisher.to_string()),
        ("Type", release.os.extension_type().to_owned()),
        ("Version", release.version.to_string()),
        ("SupportedOS", release.os.supported().to_owned()),
    ] {
        text = fill(&text, element, &value)?;
    }
    Ok(text)
}

/// Writes `value`, which needs no escaping, into the one empty element of this name.
fn fill(text: &str, element: &str, value: &str) -> Result<String> {
    let empty = format!("<{element}></{element}>");
    let (before, after) = text.split_once(&empty).with_context(|| format!("no empty element {empty} to fill in"))?;
    if after.contains(&empty) {
        bail!("more than one element {empty} to fill in");
    }
    Ok(format!("{before}<{element}>{value}</{element}>{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::release::OperatingSystem;

    const HANDLER: &str = include_str!("../../../HandlerManifest.json");
    const IMAGE: &str = include_str!("../../../manifest.xml");
    const PROGRAMS: [&str; 1] = ["akvvm_handler"];

    fn release() -> Release {
        Release {
            publisher: "Contoso.Web".parse().unwrap(),
            version: "1.2.3".parse().unwrap(),
            os: OperatingSystem::Linux,
        }
    }

    fn release_for_windows() -> Release {
        Release { os: OperatingSystem::Windows, ..release() }
    }

    #[test]
    fn names_the_handler_and_leaves_all_else_as_it_is() {
        let written: Value = serde_json::from_str(&handler(HANDLER, &release(), &PROGRAMS).unwrap()).unwrap();
        let mut expected: Value = serde_json::from_str(HANDLER).unwrap();
        expected[0]["name"] = json!("Contoso.Web.KeyVaultForLinux");
        assert_eq!(written, expected);
    }

    #[test]
    fn calls_programs_of_windows_by_their_file_names() {
        let written: Value =
            serde_json::from_str(&handler(HANDLER, &release_for_windows(), &PROGRAMS).unwrap()).unwrap();
        assert_eq!(written[0]["name"], json!("Contoso.Web.KeyVaultForWindows"));
        for verb in ["install", "uninstall", "update", "enable", "disable"] {
            let command = &written[0]["handlerManifest"][format!("{verb}Command")];
            assert_eq!(*command, json!(format!("akvvm_handler.exe {verb}")));
        }
        assert!(image(IMAGE, &release_for_windows()).unwrap().contains("<SupportedOS>Windows</SupportedOS>"));
    }

    #[test]
    fn refuses_a_boolean_that_is_text() {
        let text = HANDLER.replace("\"reportHeartbeat\": false", "\"reportHeartbeat\": \"false\"");
        let error = handler(&text, &release(), &PROGRAMS).unwrap_err().to_string();
        assert!(error.contains("expected a boolean"), "{error}");
    }

    #[test]
    fn refuses_an_update_mode_that_the_agent_does_not_know() {
        let text = HANDLER.replace("UpdateWithInstall", "updateAndInstall");
        let error = handler(&text, &release(), &PROGRAMS).unwrap_err().to_string();
        assert!(error.contains("unknown variant"), "{error}");
    }

    #[test]
    fn refuses_a_command_that_is_missing_or_starts_nothing_of_the_package() {
        let text = HANDLER.replace("disableCommand", "stopCommand");
        assert!(handler(&text, &release(), &PROGRAMS).is_err());
        let text = HANDLER.replace("akvvm_handler disable", "bin/akvvm_handler disable");
        let error = handler(&text, &release(), &PROGRAMS).unwrap_err().to_string();
        assert!(error.contains("`bin/akvvm_handler disable`"), "{error}");
    }

    #[test]
    fn fills_in_the_image_of_the_extension() {
        let text = image(IMAGE, &release()).unwrap();
        for element in [
            "<ProviderNameSpace>Contoso.Web</ProviderNameSpace>",
            "<Type>KeyVaultForLinux</Type>",
            "<Version>1.2.3</Version>",
            "<SupportedOS>Linux</SupportedOS>",
            "<IsJsonExtension>true</IsJsonExtension>",
        ] {
            assert!(text.contains(element), "{element} in {text}");
        }
    }

    #[test]
    fn refuses_an_image_without_the_elements_or_with_two() {
        let error = image(&IMAGE.replace("<Type></Type>", ""), &release()).unwrap_err().to_string();
        assert!(error.contains("<Type></Type>"), "{error}");
        let twice = IMAGE.replace("<Type></Type>", "<Type></Type><Type></Type>");
        assert!(image(&twice, &release()).is_err());
    }
}
