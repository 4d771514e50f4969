//! Where the emulated servers listen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where the servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub(crate) imds: SocketAddr,
    pub(crate) vault: SocketAddr,
    pub(crate) proxy: Option<SocketAddr>,
    pub(crate) arc: Option<SocketAddr>,
}

impl Addresses {
    /// The addresses that programs really ask: 169.254.169.254:80 for tokens, and 127.0.0.1:443 for the vaults, to
    /// which a private hosts file must lead. For use in a [`crate::world::World`].
    #[must_use]
    pub fn real() -> Self {
        Self {
            imds: SocketAddr::from(([169, 254, 169, 254], 80)),
            vault: SocketAddr::from(([127, 0, 0, 1], 443)),
            proxy: None,
            arc: None,
        }
    }

    /// Free ports on the loopback, with a proxy that leads to the vaults.
    #[must_use]
    pub fn loopback() -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { imds: free, vault: free, proxy: Some(free), arc: None }
    }

    /// The same, with vaults that have an address of IPv6 only.
    #[must_use]
    pub fn with_vaults_on_ipv6(mut self) -> Self {
        self.vault = SocketAddr::from((Ipv6Addr::LOCALHOST, self.vault.port()));
        self
    }

    /// The same, with a proxy on a free port of the loopback.
    #[must_use]
    pub fn with_proxy(mut self) -> Self {
        self.proxy = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        self
    }

    /// The same on a machine of Azure Arc: its agent on a port of the loopback, which is 40342 on real ones, and no
    /// metadata service at its address.
    #[must_use]
    pub fn with_arc(mut self, port: u16) -> Self {
        self.arc = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        self.imds = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        self
    }
}
