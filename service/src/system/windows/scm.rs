//! The service control manager: it starts the service, and its controls are wake-ups.
//!
//! The service is running, as the manager sees it, before any work is done: keys may not be made while a service starts.

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{Error, define_windows_service, service_dispatcher};
use windows_sys::Win32::Foundation::ERROR_FAILED_SERVICE_CONTROLLER_CONNECT;

use super::tell;
use crate::FAILED;
use crate::vigil::Wakeup;

/// The service, as the handler names it.
const NAME: &str = "akvvm_service";
/// The control of the handler that polls now.
const POLL: u32 = 128;
/// The manager waits so long for the end.
const ENDING: Duration = Duration::from_secs(6);

type Work = Box<dyn FnOnce() -> Result<u8> + Send>;

/// What is to be done, for the manager's thread to take, and then what came of it.
static WORK: Mutex<Option<Work>> = Mutex::new(None);
static RESULT: Mutex<Option<Result<u8>>> = Mutex::new(None);
/// Who is told how the service stands.
static MANAGER: OnceLock<ServiceStatusHandle> = OnceLock::new();

define_windows_service!(service_main, serve);

/// Does `work` as the service that the manager started; when somebody else started this process, just does it.
pub(crate) fn supervised(work: impl FnOnce() -> Result<u8> + Send + 'static) -> Result<u8> {
    put(&WORK, Box::new(work));
    match service_dispatcher::start(NAME, service_main) {
        Ok(()) => take(&RESULT).ok_or_else(|| anyhow!("the service control manager did not start the service"))?,
        Err(Error::Winapi(cause))
            if cause.raw_os_error() == Some(ERROR_FAILED_SERVICE_CONTROLLER_CONNECT.cast_signed()) =>
        {
            take(&WORK).map_or(Ok(FAILED), |work| work())
        }
        Err(error) => Err(error).context("the service control manager"),
    }
}

fn serve(_arguments: Vec<OsString>) {
    let Some(work) = take(&WORK) else { return };
    let result = match service_control_handler::register(NAME, control) {
        Ok(manager) => {
            let manager = *MANAGER.get_or_init(|| manager);
            report(manager, ServiceState::Running, ServiceExitCode::NO_ERROR);
            let result = work();
            put(&RESULT, result);
            // The process may end as soon as the manager knows. Only what a start anew can mend is a failure.
            let failed = !matches!(peek(), Some(code) if code != FAILED);
            let code = if failed { ServiceExitCode::ServiceSpecific(FAILED.into()) } else { ServiceExitCode::NO_ERROR };
            report(manager, ServiceState::Stopped, code);
            return;
        }
        Err(error) => Err(error).context("controls cannot be received"),
    };
    put(&RESULT, result);
}

fn control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown => {
            // Whoever asked is answered, and sees that it is under way.
            if let Some(manager) = MANAGER.get() {
                report(*manager, ServiceState::StopPending, ServiceExitCode::NO_ERROR);
            }
            tell(Wakeup::Stop);
        }
        ServiceControl::ParamChange => tell(Wakeup::Poll),
        ServiceControl::UserEvent(event) if event.to_raw() == POLL => tell(Wakeup::Poll),
        ServiceControl::Interrogate => {}
        _ => return ServiceControlHandlerResult::NotImplemented,
    }
    ServiceControlHandlerResult::NoError
}

fn report(manager: ServiceStatusHandle, state: ServiceState, code: ServiceExitCode) {
    let accepted = match state {
        ServiceState::Running => {
            ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN | ServiceControlAccept::PARAM_CHANGE
        }
        _ => ServiceControlAccept::empty(),
    };
    let status = ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state: state,
        controls_accepted: accepted,
        exit_code: code,
        checkpoint: 0,
        wait_hint: ENDING,
        process_id: None,
    };
    if let Err(error) = manager.set_service_status(status) {
        log::warn!("the service control manager was not told {state:?}: {error}");
    }
}

/// The exit code that the work gave.
fn peek() -> Option<u8> {
    RESULT.lock().ok()?.as_ref()?.as_ref().ok().copied()
}

fn put<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value);
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}
