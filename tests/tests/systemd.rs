//! The service as a unit of a real systemd.
#![allow(clippy::unwrap_used, clippy::panic)]

use tests::systemd::Systemd;
use tests::world::World;

#[test]
fn a_private_machine_boots_starts_units_at_boot_and_powers_off() {
    let world = World::enter().unwrap();
    let systemd = Systemd::boot(&world).unwrap();
    let unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    std::fs::write("/etc/systemd/system/sleeper.service", unit).unwrap();
    systemd.run("systemctl", &["enable", "--now", "sleeper"]).unwrap();
    assert_eq!(systemd.property("sleeper", "ActiveState").unwrap(), "active");
    systemd.power_off().unwrap();
    let systemd = Systemd::boot(&world).unwrap();
    assert_eq!(systemd.property("sleeper", "ActiveState").unwrap(), "active");
}
