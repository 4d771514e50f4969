//! The text of the service's unit (systemd.service(5), systemd.exec(5)). Writes nothing.
//!
//! A key that an older systemd does not know is a line in the journal and nothing else: `PrivateIPC=` and
//! `NoExecPaths=` need 248, `Upholds=` 249, `RestartSteps=` 254, and `WantsMountsFor=` 256.

use std::ffi::OsStr;
use std::path::Path;

use super::Launch;
use super::dialer::{FOLDER, SOCKET};

/// What the unit begins with, and by which it is known again.
pub(super) const MARK: &str = "# Written by akvvm_handler at each enable. Own changes: systemctl edit akvvm_service\n";
/// What the service reaches of `/run`: the dialer, its manager and the journal, not the bus. What is missing is passed over.
const RUN: [&str; 3] = [FOLDER, "/run/systemd/notify", "/run/systemd/journal"];

/// Where code may come from, beside the service's program: the C library and what answers for names in the process, as the
/// distributions and the makers of directories lay them out. Shells lie elsewhere.
pub(super) const LIBRARIES: [&str; 12] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib/ld-linux-aarch64.so.1",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/opt/quest/lib64",
    "/opt/pbis/lib64",
    "/usr/share/centrifydc/lib64",
];

/// What does not depend on the launch. Not here on purpose: `PrivateTmp=`, `PrivateUsers=` and `ProtectHome=yes` would hide
/// stores and accounts. It sends no signal, not even to itself: it could end whatever is root's; nobody connects to it. One
/// processor, 64 tasks and 256 MiB are several times what a thousand certificates take.
const SANDBOX: &str = "\
ProtectSystem=yes
ProtectHome=read-only
TemporaryFileSystem=/run:ro
InaccessiblePaths=-/dev/shm -/dev/mqueue
PrivateDevices=yes
PrivateIPC=yes
PrivateMounts=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
ProcSubset=pid
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_CHOWN
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @aio @keyring
SystemCallFilter=~kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal
SystemCallFilter=~listen accept accept4
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
KeyringMode=private
RemoveIPC=yes
UMask=0077
LimitCORE=0
LimitNOFILE=8192
TasksMax=64
MemoryMax=256M
MemorySwapMax=0
CPUQuota=100%
CPUWeight=20
";

/// The service has no network, and gives up by itself what it has no use for: reading, where the kernel knows how, and connecting.
const NO_NETWORK: &str = "\
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
";

/// Whether a unit's text is one of ours, of any version.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Whether a unit's text is ours and runs this very program.
pub(super) fn runs(text: &str, program: &Path) -> bool {
    is_ours(text) && text.lines().any(|line| line.starts_with(&format!("ExecStart={} ", argument(program))))
}

/// The program that a unit of any kind runs.
pub(super) fn program(text: &str) -> Option<&str> {
    let command =
        text.lines().find_map(|line| line.trim().strip_prefix("ExecStart")?.trim_start().strip_prefix('='))?;
    let word = command.trim_start_matches(|c: char| c.is_whitespace() || "-@:+!|\"'".contains(c));
    Some(word.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).next().unwrap_or_default())
}

/// A command of the service's program.
pub(super) fn command(launch: &Launch, words: &[&OsStr]) -> String {
    let words: Vec<String> = [&launch.program.as_os_str()].into_iter().chain(words).map(argument).collect();
    words.join(" ")
}

/// The sandbox, as far as it is the same for the service and for who connects for it. Of `/run` there is what is `reached`.
pub(super) fn confinement(launch: &Launch, reached: &[&str]) -> String {
    let reached = reached.iter().map(|path| format!("-{path}")).collect::<Vec<_>>().join(" ");
    let program = path(&launch.program);
    let libraries = LIBRARIES.map(|path| format!("-{path}")).join(" ");
    format!("BindReadOnlyPaths={reached}\nNoExecPaths=/\nExecPaths={program} {libraries}\n{SANDBOX}")
}

/// The unit. `environment` is the file with proxy and trust store, where it may be trusted.
pub(super) fn service(launch: &Launch, environment: Option<&str>) -> String {
    let watched = launch.has_actions.then_some(OsStr::new("--notes-are-watched")).into_iter();
    let dialer = ["--dialer", SOCKET].map(OsStr::new);
    let run = command(launch, &launch.run().into_iter().chain(watched).chain(dialer).collect::<Vec<_>>());
    let prepare = command(launch, &launch.prepare());
    let ended = launch.ended().map(|words| format!("ExecStopPost=+{}\n", command(launch, &words))).unwrap_or_default();
    let environment = environment.map(|file| format!("EnvironmentFile=-{file}\n")).unwrap_or_default();
    let confinement = confinement(launch, &RUN);
    // A store that settings name may have to be created, and an end be reported, where the sandbox itself is the trouble:
    // both are done outside of it. The dialer's folder is there also when the dialer comes later.
    format!(
        "{MARK}
[Unit]
Description=Key Vault VM Extension
Wants=network-online.target
After=network-online.target nss-lookup.target nss-user-lookup.target remote-fs.target
Wants=akvvm_dialer.socket akvvm_dialer.service
Upholds=akvvm_dialer.socket
After=akvvm_dialer.socket akvvm_dialer.service
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStartPre=-+{prepare}
ExecStartPre=-+/bin/mkdir -p {FOLDER}
ExecStart={run}
ExecReload=+/bin/kill -HUP $MAINPID
{ended}{environment}TimeoutStartSec=180
TimeoutStopSec=20
WatchdogSec=120
Restart=always
RestartSec=5
RestartSteps=6
RestartMaxDelaySec=300
RestartPreventExitStatus=4
OOMPolicy=stop
{confinement}{NO_NETWORK}
[Install]
WantedBy=multi-user.target
"
    )
}

/// The unit that waits for a note of the service, which cannot start anything itself.
pub(super) fn watcher(launch: &Launch) -> String {
    // One path, as it is: quotes would be a part of it.
    let note = launch.notes().join("note.json").to_string_lossy().replace('%', "%%");
    format!(
        "{MARK}
[Unit]
Description=Key Vault VM Extension: waits for what follows from renewals

[Path]
PathExists={note}

[Install]
WantedBy=multi-user.target
"
    )
}

/// The unit that does what the note says, outside of the service's sandbox: it talks to systemd and runs root's
/// programs. It is started as often as there are notes.
pub(super) fn actor(launch: &Launch) -> String {
    let act = command(launch, &launch.act());
    format!(
        "{MARK}
[Unit]
Description=Key Vault VM Extension: does what follows from renewals
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={act}
TimeoutStartSec=180
LimitCORE=0
"
    )
}

/// An argument of a command, as one word: quoted, and nothing in it means anything.
fn argument(text: impl AsRef<OsStr>) -> String {
    path(text.as_ref().to_string_lossy().replace('$', "$$"))
}

/// A path of a list, as one word.
pub(super) fn path(text: impl AsRef<OsStr>) -> String {
    let mut quoted = String::from("\"");
    for c in text.as_ref().to_string_lossy().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
