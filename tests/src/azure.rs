//! The emulated Azure as one thing: its servers, and the switches that a story turns while they run.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

pub use crate::addresses::Addresses;
use crate::arc::ArcAgent;
use crate::bundle::Bundle;
use crate::fault::{Fault, Scope, Times, host_of};
use crate::http::{Request, Server};
use crate::identity::{Identity, Machine};
use crate::listener::Listener;
use crate::state::{Shared, State};
use crate::tls::{TlsChannel, TlsServer};
use crate::vault::{Secret, Vault};
use crate::{arc, imds, key_vault, proxy, tls_proxy};

/// A running emulated Azure. Every method may be called while it serves; dropping it ends its servers.
pub struct Azure {
    shared: Shared,
    imds: Listener,
    vault: Listener,
    proxy: Option<Listener>,
    tls_proxy: Option<Listener>,
    arc: Option<Listener>,
    root_pem: String,
    folder: tempfile::TempDir,
}

impl Azure {
    /// Starts the servers. The machine has a system-assigned identity, and there is no vault yet.
    pub fn start(addresses: Addresses) -> Result<Self> {
        let shared = Shared::default();
        let tls = Arc::new(TlsServer::new()?);
        let root_pem = tls.root_pem()?;
        let folder = tempfile::Builder::new().prefix("azure-").tempdir()?;
        fs::write(folder.path().join("ca.pem"), &root_pem).context("cannot write ca.pem")?;
        let imds = Listener::start(addresses.imds, {
            let shared = shared.clone();
            move |connection| {
                let (socket, number) = (connection.socket, connection.number);
                let stop = &connection.stop;
                let served = shared.serve(socket, Server::Imds, number, stop, imds::answer);
                served.map(|_| ())
            }
        })?;
        let vault = Listener::start(addresses.vault, {
            let (shared, tls) = (shared.clone(), Arc::clone(&tls));
            move |connection| {
                let choose = |name: &str| {
                    let state = shared.lock();
                    let vault = state.vaults.get(&name.to_ascii_lowercase());
                    vault.map(|vault| vault.tls).unwrap_or_default()
                };
                let Some(channel) = tls.accept(connection.socket, choose)? else {
                    return Ok(());
                };
                let (number, stop) = (connection.number, &connection.stop);
                let answer = key_vault::answer;
                let served = shared.serve(channel, Server::Vault, number, stop, answer);
                served.and_then(|mut channel: TlsChannel| channel.close())
            }
        })?;
        let vaults = vault.address();
        let proxy = addresses.proxy.map(|address| {
            let shared = shared.clone();
            Listener::start(address, move |connection| proxy::serve(&shared, connection, vaults))
        });
        let proxy = proxy.transpose()?;
        let tls_proxy = proxy.as_ref().map(|proxy| {
            let (plain, any_port) = (proxy.address(), SocketAddr::from((proxy.address().ip(), 0)));
            Listener::start(any_port, move |connection| tls_proxy::serve(&tls, connection, plain))
        });
        let arc = addresses.arc.map(|address| {
            let shared = shared.clone();
            Listener::start(address, move |connection| {
                let (socket, number, stop) = (connection.socket, connection.number, &connection.stop);
                shared.serve(socket, Server::Arc, number, stop, arc::answer).map(|_| ())
            })
        });
        Ok(Self {
            shared,
            imds,
            vault,
            proxy,
            tls_proxy: tls_proxy.transpose()?,
            arc: arc.transpose()?,
            root_pem,
            folder,
        })
    }

    /// The root that clients must trust, in PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The same in a file, which lasts as long as this value.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// `http://ADDRESS[:PORT]/metadata/identity`, for `msiEndpoint`.
    #[must_use]
    pub fn msi_endpoint(&self) -> String {
        let address = self.imds.address();
        match address.port() {
            80 => format!("http://{}/metadata/identity", address.ip()),
            _ => format!("http://{address}/metadata/identity"),
        }
    }

    /// `http://ADDRESS:PORT`, for `HTTPS_PROXY`; `None` without a proxy.
    #[must_use]
    pub fn proxy_url(&self) -> Option<String> {
        let proxy = self.proxy.as_ref()?;
        Some(format!("http://{}", proxy.address()))
    }

    /// The port of the same proxy behind TLS, as [`crate::tls::TLS_PROXY_HOST`]; `None` without a proxy.
    #[must_use]
    pub fn tls_proxy_port(&self) -> Option<u16> {
        self.tls_proxy.as_ref().map(|proxy| proxy.address().port())
    }

    /// Where the vaults' server listens.
    #[must_use]
    pub fn vault_address(&self) -> SocketAddr {
        self.vault.address()
    }

    /// What a program needs in its environment to meet this Azure instead of the real one: nothing at the real
    /// addresses, the proxy and the CA file elsewhere.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let ca = self.root_file().display().to_string();
        let proxy = self.proxy_url().map(|url| vec![("HTTPS_PROXY".to_owned(), url), ("SSL_CERT_FILE".to_owned(), ca)]);
        proxy.unwrap_or_default()
    }

    /// Creates a vault, by its name (`contoso`, in the public cloud) or its whole host name. Every identity may read
    /// it. Answers the host.
    pub fn create_vault(&self, vault: &str) -> String {
        let host = host_of(vault);
        let mut state = self.shared.lock();
        let fresh = || Vault::new(&host);
        state.vaults.entry(host.clone()).or_insert_with(fresh);
        host
    }

    /// The hosts of all vaults.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.shared.lock().vaults.keys().cloned().collect()
    }

    /// Looks at a vault or changes it. Fails when there is no such vault.
    pub fn vault<T>(&self, vault: &str, look: impl FnOnce(&mut Vault) -> T) -> Result<T> {
        let host = host_of(vault);
        let mut state = self.shared.lock();
        let vault = state.vaults.get_mut(&host);
        Ok(look(vault.with_context(|| format!("{host}: no such vault; create it first"))?))
    }

    /// Looks at a secret or changes it. Fails when it never existed.
    pub fn secret<T>(&self, vault: &str, name: &str, look: impl FnOnce(&mut Secret) -> T) -> Result<T> {
        let found = self.vault(vault, |vault| vault.secret_mut(name).map(look))?;
        found.with_context(|| format!("{}: no secret {name}", host_of(vault)))
    }

    /// Creates a secret, or a new version of it, which is the newest from now on. Answers the version.
    pub fn put(&self, vault: &str, name: &str, bundle: Bundle) -> Result<String> {
        self.vault(vault, |vault| vault.put(name, bundle))
    }

    /// `https://HOST/secrets/NAME`.
    #[must_use]
    pub fn url(&self, vault: &str, name: &str) -> String {
        format!("https://{}/secrets/{name}", host_of(vault))
    }

    /// Disables the newest version of a secret, or enables it again.
    pub fn enable_newest(&self, vault: &str, name: &str, enabled: bool) -> Result<()> {
        self.secret(vault, name, |secret| {
            if let Some(newest) = secret.versions.last_mut() {
                newest.enabled = enabled;
            }
        })
    }

    /// Disables the newest version of a secret.
    pub fn disable(&self, vault: &str, name: &str) -> Result<()> {
        self.enable_newest(vault, name, false)
    }

    /// Deletes a secret; putting a new version recovers it.
    pub fn delete(&self, vault: &str, name: &str) -> Result<()> {
        self.secret(vault, name, |secret| secret.deleted = true)
    }

    /// Gives an identity the role to read a vault's secrets (which it has until it is revoked).
    pub fn grant(&self, vault: &str, identity: &Identity) -> Result<()> {
        self.vault(vault, |vault| vault.grant(identity))
    }

    /// Takes the role away: `ForbiddenByRbac` from now on.
    pub fn revoke(&self, vault: &str, identity: &Identity) -> Result<()> {
        self.vault(vault, |vault| vault.revoke(identity))
    }

    /// Looks at the machine's identities and tokens, or changes them.
    pub fn machine<T>(&self, look: impl FnOnce(&mut Machine) -> T) -> T {
        look(&mut self.shared.lock().machine)
    }

    /// Looks at the machine's Azure Arc agent, or changes it.
    pub fn arc<T>(&self, look: impl FnOnce(&mut ArcAgent) -> T) -> T {
        look(&mut self.shared.lock().arc)
    }

    /// Invalidates every token that was given out.
    pub fn revoke_tokens(&self) {
        self.shared.lock().tokens.revoke();
    }

    /// How many tokens were given out.
    #[must_use]
    pub fn tokens_issued(&self) -> u64 {
        self.shared.lock().tokens.issued()
    }

    /// The texts of all tokens, for a search for leaks. Not to be printed.
    #[must_use]
    pub fn token_texts(&self) -> Vec<String> {
        self.shared.lock().tokens.texts()
    }

    /// Demands Basic credentials of the proxy's clients, as `user:password`.
    pub fn demand_proxy_login(&self, login: Option<&str>) {
        self.shared.lock().proxy_login = login.map(str::to_owned);
    }

    /// Makes something go wrong. Faults of the same scope strike in the order in which they were added. Faults of
    /// vaults strike requests with a valid token only, so a client's unauthenticated first request uses none up.
    pub fn fault(&self, scope: Scope, fault: impl Into<Fault>, times: Times) {
        self.shared.lock().faults.add(scope, fault.into(), times);
    }

    /// Ends all faults of exactly this scope.
    pub fn repair(&self, scope: &Scope) {
        self.shared.lock().faults.remove(scope);
    }

    /// All requests so far, in the order of their answers, those to the proxy included.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests().to_vec()
    }

    /// The requests to one server.
    #[must_use]
    pub fn requests_to(&self, server: Server) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.server == server);
        requests
    }

    /// The requests for one secret, for any of its versions.
    #[must_use]
    pub fn requests_for(&self, vault: &str, name: &str) -> Vec<Request> {
        let host = host_of(vault);
        let mut requests = self.requests_to(Server::Vault);
        requests.retain(|request| {
            let segments = request.segments();
            let asked = segments.get(1).copied().unwrap_or_default();
            request.host == host && asked.eq_ignore_ascii_case(name)
        });
        requests
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        State::forget_requests(&mut self.shared.lock());
    }

    /// How many TCP connections a server accepted so far.
    #[must_use]
    pub fn connections(&self, server: Server) -> u64 {
        match server {
            Server::Imds => self.imds.accepted(),
            Server::Arc => self.arc.as_ref().map_or(0, Listener::accepted),
            Server::Vault => self.vault.accepted(),
            Server::Proxy => self.proxy.as_ref().map_or(0, Listener::accepted),
            Server::Fabric => 0,
        }
    }

    /// Copies the root certificate to `folder/ca.pem`.
    pub fn write_root(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("ca.pem");
        fs::write(&path, &self.root_pem).with_context(|| format!("{}", path.display()))?;
        Ok(path)
    }
}
