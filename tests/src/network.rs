//! The network of a private world: a loopback interface that is up and carries the metadata service's address.
//!
//! Done with three ioctls, so that no `ip` command is needed.

use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, socket};

/// Brings `lo` of the calling thread's network namespace up and gives it 169.254.169.254/32 as a second address.
pub(crate) fn bring_up() -> Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut flags = request("lo");
    flags.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    control(&socket, libc::SIOCSIFFLAGS, &mut flags).context("cannot bring lo up")?;
    let mut address = request("lo:1");
    address.ifr_ifru.ifru_addr = internet(Ipv4Addr::new(169, 254, 169, 254));
    control(&socket, libc::SIOCSIFADDR, &mut address).context("cannot add 169.254.169.254")?;
    let mut mask = request("lo:1");
    mask.ifr_ifru.ifru_netmask = internet(Ipv4Addr::BROADCAST);
    control(&socket, libc::SIOCSIFNETMASK, &mut mask).context("cannot narrow 169.254.169.254")
}

/// An empty request about one interface.
fn request(interface: &str) -> libc::ifreq {
    // SAFETY: ifreq is a C structure of integers and arrays, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// An IPv4 address in the general form of a socket address.
fn internet(address: Ipv4Addr) -> libc::sockaddr {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both structures have the same size, and the family says which of them it is.
    unsafe { mem::transmute(address) }
}

fn control(socket: &OwnedFd, code: libc::Ioctl, request: &mut libc::ifreq) -> Result<()> {
    // SAFETY: the socket is open, and `request` is the ifreq that these calls read and write.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), code, request) };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}
