//! The Certificate Lifecycle Notification (event 1001), so that IIS rebinds: raised the one way that is documented, by
//! PowerShell's `Switch-Certificate -NotifyOnly`. Nothing depends on it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::report::Thumbprint;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;

/// What PowerShell may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// Characters of the system's folder.
const LONGEST_PATH: usize = 260;

/// Says of each certificate of `LocalMachine\MY` which one replaces it.
pub(super) fn raise(renewed: &[(Thumbprint, Thumbprint)]) {
    let mut script = "$ErrorActionPreference='Stop';".to_owned();
    for (from, to) in renewed {
        // Thumbprints are hexadecimal digits: there is nothing to quote.
        let _ = write!(
            script,
            r"Switch-Certificate -OldCert Cert:\LocalMachine\My\{from} -NewCert Cert:\LocalMachine\My\{to} -NotifyOnly;"
        );
    }
    match run(&script) {
        Ok(true) => {
            for (from, to) in renewed {
                log::info!("the system was told that {to} replaces {from} (event 1001)");
            }
        }
        Ok(false) => log::warn!("the system could not be told of renewed certificates: Switch-Certificate failed"),
        Err(cause) => log::warn!("the system could not be told of renewed certificates: {cause}"),
    }
}

fn run(script: &str) -> Result<bool, String> {
    let folder = system_folder().ok_or("the system's folder is unknown")?.join(r"WindowsPowerShell\v1.0");
    let program = folder.join("powershell.exe");
    let failed = |cause: std::io::Error| format!("{}: {cause}", program.display());
    let mut child = Command::new(&program)
        .args(["-NoLogo", "-NoProfile", "-NonInteractive", "-Command", script])
        .env("PSModulePath", folder.join("Modules"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status.success());
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{}: took longer than {PATIENCE:?}", program.display()));
        }
        thread::sleep(GLANCE);
    }
}

fn system_folder() -> Option<PathBuf> {
    let mut buffer = [0_u16; LONGEST_PATH];
    // SAFETY: the buffer is as long as said.
    let length = unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), LONGEST_PATH as u32) } as usize;
    (1..LONGEST_PATH).contains(&length).then(|| PathBuf::from(String::from_utf16_lossy(&buffer[..length])))
}
