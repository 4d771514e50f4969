//! The units of the dialer (systemd.socket(5)): it connects for the service, which holds keys and has no network, to what the
//! settings name, and looks up who their accounts are. Writes nothing.
//!
//! systemd holds its socket and starts it before the service, and again when the service asks, should it have ended; not
//! without an end, where it cannot be started. The service does not depend on either: it says what is wrong where there is
//! none, and keeps (`Upholds=`) or gets the socket back.

use super::Launch;
use super::unit::{MARK, command, confinement};

/// What it reaches of `/run`: who answers for accounts and for hosts, and who tells which name servers there are. What is missing
/// is passed over.
const RUN: [&str; 11] = [
    "/run/systemd/userdb",
    "/run/nslcd",
    "/run/samba/winbindd",
    "/run/himmelblaud",
    "/run/sssd",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/netconfig",
    "/run/connman",
    "/run/nscd",
];

/// Its socket, below a folder of its own: a socket alone would be lost to the service when it is made anew.
pub(super) const FOLDER: &str = "/run/akvvm";
pub(super) const SOCKET: &str = "/run/akvvm/dialer";

/// The unit of its socket, for the service's user alone.
pub(super) fn socket() -> String {
    format!(
        "{MARK}
[Unit]
Description=Key Vault VM Extension: where the service asks for connections and names
PartOf=akvvm_service.service
StartLimitIntervalSec=0

[Socket]
ListenStream={SOCKET}
SocketMode=0600
"
    )
}

/// Its unit. It is root's like the service, because some machines let nobody else ask the metadata service, but can do nothing
/// that any other user could not.
pub(super) fn service(launch: &Launch, environment: Option<&str>) -> String {
    let dial = command(launch, &launch.dial());
    // A folder of certificates that is not there yet could not be hidden.
    let prepare = command(launch, &launch.prepare());
    let environment = environment.map(|file| format!("EnvironmentFile=-{file}\n")).unwrap_or_default();
    let confinement = confinement(launch, &RUN);
    format!(
        "{MARK}
[Unit]
Description=Key Vault VM Extension: connects and looks up names for the service
PartOf=akvvm_service.service
StartLimitIntervalSec=60
StartLimitBurst=20

[Service]
Type=exec
ExecStartPre=-+{prepare}
ExecStart={dial}
StandardInput=socket
StandardOutput=journal
StandardError=journal
{environment}{confinement}ProtectSystem=strict
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallFilter=accept accept4
SystemCallFilter=~@chown
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::unit::tests::{launch, line};
    use super::*;

    #[test]
    fn the_dialer_knows_the_settings_of_the_service_and_its_environment() {
        let text = service(&launch(), Some("/etc/default/akvvm_service"));
        let dial = r#""/opt/akvvm/1.0.0/libexec/akvvm_service" "dial" "/var/lib/akvvm/accepted/3.settings""#;
        assert_eq!(line(&text, "ExecStart"), dial);
        assert_eq!(line(&text, "EnvironmentFile"), "-/etc/default/akvvm_service");
        assert_eq!(line(&socket(), "ListenStream"), SOCKET);
    }
}
