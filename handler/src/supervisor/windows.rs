//! Windows: the service control manager runs the service, starts it at boot and again when it fails.
//!
//! The service stays known to the manager while it is disabled, so that what an administrator added to it (variables in
//! its `Environment`, such as HTTPS_PROXY) is still there when it is enabled again.

mod process;

use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use common::instance::Holder;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType, UserEventCode,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DATABASE_LOCKED, ERROR_SERVICE_DOES_NOT_EXIST,
    ERROR_SERVICE_NOT_ACTIVE,
};
use windows_sys::Win32::System::Services::{ChangeServiceConfigW, SERVICE_NO_CHANGE};

use self::process::Process;
use super::{Launch, Started, running};
use crate::system::VERSIONS;

/// The service, as operators know it.
const NAME: &str = "akvvm_service";
/// What the list of services shows.
const DISPLAY_NAME: &str = "Key Vault VM Extension";
/// What the list of services says of it.
const DESCRIPTION: &str = "Keeps the certificates of Azure Key Vault installed and fresh on this machine";
/// A new service holds its lock within this time; the agent waits five minutes.
const START: Duration = Duration::from_secs(60);
/// The service ends within five seconds.
const TERMINATION: Duration = Duration::from_secs(10);
/// How often it is looked how a service stands.
const PAUSE: Duration = Duration::from_millis(50);
/// Pauses before the first, the second and all further starts after a failure, in seconds.
const PAUSES: [u64; 3] = [5, 30, 300];
/// A service that ran for so long has not failed before.
const RESET: Duration = Duration::from_secs(3600);
/// The control that polls now; the service knows it, too.
const POLL: u32 = 128;

/// Whether the service that runs is the one that `launch` would start, in the way in which it would.
///
/// # Errors
/// It cannot be found out.
pub(crate) fn is_current(launch: &Launch, holder: &Holder) -> Result<bool> {
    let Some(service) = open(ServiceAccess::QUERY_STATUS)? else { return Ok(false) };
    let status = service.query_status().context(NAME)?;
    Ok(launch.is(holder) && status.current_state == ServiceState::Running && status.process_id == Some(holder.pid))
}

/// Starts the service and waits until it is ready. None may be running.
///
/// # Errors
/// It did not get ready, with the code that it ended with.
pub(crate) fn start(launch: &Launch) -> Result<Started> {
    let service = configure(launch)?;
    let deadline = Instant::now() + START;
    loop {
        match service.start::<&str>(&[]).map_err(|error| (code(&error), error)) {
            Ok(()) | Err((Some(ERROR_SERVICE_ALREADY_RUNNING), _)) => break,
            // At boot, while the manager starts the services that start by themselves.
            Err((Some(ERROR_SERVICE_DATABASE_LOCKED), _)) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err((_, error)) => return Err(error).context(NAME),
        }
    }
    loop {
        let status = service.query_status().context(NAME)?;
        if status.current_state == ServiceState::Stopped {
            bail!("the service ended as soon as it was started ({:?}): see its log", status.exit_code);
        }
        match running(&launch.folders.state)? {
            Some(holder) if status.process_id == Some(holder.pid) => return Ok(Started::Process(holder.pid)),
            Some(other) if Instant::now() >= deadline => {
                bail!("process {} ({}) holds the service's lock", other.pid, other.program.display());
            }
            // At boot the manager starts one service after the other.
            None if Instant::now() >= deadline && status.current_state == ServiceState::StartPending => {
                return Ok(Started::AtItsTurn);
            }
            None if Instant::now() >= deadline => bail!("the service was not ready within {} s", START.as_secs()),
            _ => thread::sleep(PAUSE),
        }
    }
}

/// Stops the service that runs and says which one that was; it does not start at boot any more.
///
/// # Errors
/// It is still there, or runs in somebody's terminal.
pub(crate) fn stop(state: &Path) -> Result<Option<Holder>> {
    let before = running(state)?;
    if let Some(service) = open(
        ServiceAccess::QUERY_CONFIG | ServiceAccess::CHANGE_CONFIG | ServiceAccess::STOP | ServiceAccess::QUERY_STATUS,
    )? && is_ours(&service)?
    {
        set_start_type(&service, ServiceStartType::OnDemand)?;
        end(&service)?;
    }
    match running(state)? {
        None => Ok(before),
        Some(other) => bail!(
            "process {} ({}) was started by hand, and not as the service {NAME}: end it first",
            other.pid,
            other.program.display()
        ),
    }
}

/// Lets the service of `holder` poll, and write its status, at once.
///
/// # Errors
/// The manager does not tell it.
pub(crate) fn poll_now(_holder: &Holder) -> Result<()> {
    let Some(service) = open(ServiceAccess::USER_DEFINED_CONTROL)? else { return Ok(()) };
    let poll = UserEventCode::from_raw(POLL).map_err(|_| anyhow!("{POLL} is no control of users"))?;
    service.notify(poll).context(NAME)?;
    Ok(())
}

/// The program of somebody else's service that runs under the same name.
pub(crate) fn foreign() -> Option<PathBuf> {
    let service = open(ServiceAccess::QUERY_CONFIG).ok()??;
    let command = service.query_config().ok()?.executable_path;
    (!is_in(VERSIONS, &command)).then_some(command)
}

/// Forgets a service that nobody runs. In an update it stays, with what an administrator added to it, for the version that
/// comes: only the manager remembers it.
///
/// # Errors
/// The manager does not delete it.
pub(crate) fn forget(_program: &Path, is_update: bool) -> Result<()> {
    let Some(service) = open(ServiceAccess::QUERY_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::DELETE)? else {
        return Ok(());
    };
    let is_stopped = service.query_status().context(NAME)?.current_state == ServiceState::Stopped;
    if !is_update && is_stopped && is_ours(&service)? {
        service.delete().context(NAME)?;
    }
    Ok(())
}

/// Makes the service what `launch` says.
fn configure(launch: &Launch) -> Result<Service> {
    let info = ServiceInfo {
        name: NAME.into(),
        display_name: DISPLAY_NAME.into(),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        executable_path: launch.program.clone(),
        launch_arguments: launch.run().into_iter().map(Into::into).collect(),
        dependencies: Vec::new(),
        account_name: None,
        account_password: None,
    };
    let service = match open(ServiceAccess::ALL_ACCESS)? {
        Some(service) => {
            service.change_config(&info).context(NAME)?;
            service
        }
        None => manager(ServiceManagerAccess::CREATE_SERVICE)?
            .create_service(&info, ServiceAccess::ALL_ACCESS)
            .with_context(|| format!("the service {NAME} cannot be created"))?,
    };
    // A service that is not started again after a failure is still one that runs now.
    if let Err(error) = tend(&service) {
        log::warn!("{NAME}: {error}; it is not started again when it fails");
    }
    Ok(service)
}

/// Has it started again when it fails, after pauses that grow.
fn tend(service: &Service) -> windows_service::Result<()> {
    service.set_description(DESCRIPTION)?;
    let restart = |pause| ServiceAction { action_type: ServiceActionType::Restart, delay: Duration::from_secs(pause) };
    service.update_failure_actions(ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(RESET),
        reboot_msg: None,
        command: None,
        actions: Some(PAUSES.map(restart).to_vec()),
    })?;
    service.set_failure_actions_on_non_crash_failures(true)
}

fn end(service: &Service) -> Result<()> {
    let process = service.query_status().context(NAME)?.process_id.and_then(Process::open);
    match service.stop() {
        Err(error) if code(&error) != Some(ERROR_SERVICE_NOT_ACTIVE) => return Err(error).context(NAME),
        _ => {}
    }
    let deadline = Instant::now() + TERMINATION;
    while service.query_status().context(NAME)?.current_state != ServiceState::Stopped {
        if Instant::now() >= deadline {
            bail!("the service {NAME} did not end within {} s", TERMINATION.as_secs());
        }
        thread::sleep(PAUSE);
    }
    // It has said that it stopped, and its program cannot be removed before it is gone.
    if process.is_some_and(|process| !process.is_gone(deadline.saturating_duration_since(Instant::now()))) {
        bail!("the process of the service {NAME} did not end within {} s", TERMINATION.as_secs());
    }
    Ok(())
}

fn set_start_type(service: &Service, start: ServiceStartType) -> Result<()> {
    let (kept, none) = (SERVICE_NO_CHANGE, null());
    // SAFETY: the service is open, and a null pointer leaves what is there.
    let changed = unsafe {
        ChangeServiceConfigW(
            service.raw_handle(),
            kept,
            start.to_raw(),
            kept,
            none,
            none,
            null_mut(),
            none,
            none,
            none,
            none,
        )
    };
    if changed == 0 { Err(std::io::Error::last_os_error()).context(NAME) } else { Ok(()) }
}

/// Whether it runs a program of this extension.
fn is_ours(service: &Service) -> Result<bool> {
    Ok(is_in(VERSIONS, &service.query_config().context(NAME)?.executable_path))
}

/// Whether a command, quoted or not, runs the program at `place` or one below it.
fn is_in(place: &str, command: &Path) -> bool {
    let command = command.to_string_lossy().trim_start_matches('"').to_ascii_lowercase();
    let rest = command.strip_prefix(&place.to_ascii_lowercase());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['\\', '"', ' ']))
}

/// The service, if the manager knows it.
fn open(access: ServiceAccess) -> Result<Option<Service>> {
    match manager(ServiceManagerAccess::CONNECT)?.open_service(NAME, access) {
        Ok(service) => Ok(Some(service)),
        Err(error) if code(&error) == Some(ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(error).context(NAME),
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access).context("the service control manager; the verbs run as SYSTEM")
}

/// The system's number of an error.
fn code(error: &windows_service::Error) -> Option<u32> {
    match error {
        windows_service::Error::Winapi(cause) => cause.raw_os_error().map(i32::cast_unsigned),
        _ => None,
    }
}
