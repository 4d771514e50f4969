//! Which certificate a TLS server of this machine shows: the proof that a renewal has reached the application.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::report::Thumbprint;
use common::settings::Verify;
use common::text::bounded;
use openssl::pkey::Id;
use openssl::sha::sha1;
use openssl::x509::X509;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use zeroize::Zeroizing;

use super::note::{Failure, Leaf, Move};
use crate::system::own_address;

/// For the connection, and then for the handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a library's explanation, in characters.
const QUOTED: usize = 300;

/// Whether `server` shows the new version of one of these certificates, or one of the others that are to be shown.
pub(super) fn verify(server: &Verify, moves: &[Move], unmoved: &[Leaf]) -> Result<(), Failure> {
    let der = leaf_of(server, kind_of(moves)).map_err(|cause| {
        let cause = bounded(&cause, QUOTED);
        failure(format!("its certificate cannot be looked at: {cause}"))
    })?;
    let thumbprint = Thumbprint(sha1(&der)).to_string();
    if moves.iter().map(|moved| &moved.new).chain(unmoved).any(|leaf| leaf.thumbprint == thumbprint) {
        return Ok(());
    }
    let old = moves.iter().filter_map(|moved| moved.old.as_ref()).find(|old| old.thumbprint == thumbprint);
    let version = old.map(|old| format!("version {}, ", old.version)).unwrap_or_default();
    let expires = X509::from_der(&der).map(|leaf| leaf.not_after().to_string());
    let expires = expires.unwrap_or_else(|_| "nobody knows when".to_owned());
    Err(failure(format!("still serves {version}thumbprint {thumbprint}, which expires {expires}")))
}

/// The kind of key of the certificate that is looked for: a server may have one of each.
fn kind_of(moves: &[Move]) -> Option<Id> {
    let pem = Zeroizing::new(fs::read(moves.first()?.paths.first()?).ok()?);
    Some(X509::from_pem(&pem).ok()?.public_key().ok()?.id())
}

fn leaf_of(server: &Verify, kind: Option<Id>) -> Result<Vec<u8>, String> {
    let said = |cause: &dyn std::error::Error| cause.to_string();
    let address = server.connect;
    own_address(address.ip()).map_err(|cause| format!("{} is no address of this machine: {cause}", address.ip()))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|cause| said(&cause))?;
    let name = ServerName::try_from(server.server_name.as_str().to_owned()).map_err(|cause| said(&cause))?;
    let provider = Arc::new(ring::default_provider());
    let witness = Arc::new(Witness { provider: Arc::clone(&provider), kind });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|cause| said(&cause))?.dangerous().with_custom_certificate_verifier(witness);
    let session = ClientConnection::new(Arc::new(config.with_no_client_auth()), name);
    let mut session = session.map_err(|cause| said(&cause))?;
    // A read at a time: a server that sends a byte now and then does not get all of the time again for each.
    let deadline = Instant::now() + PATIENCE;
    let late = || format!("the handshake takes longer than {} s", PATIENCE.as_secs());
    let failed = |cause: io::Error| match cause.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => late(),
        _ => cause.to_string(),
    };
    while session.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        let limits = stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)));
        limits.map_err(|cause| said(&cause))?;
        if session.wants_write() {
            session.write_tls(&mut stream).map_err(failed)?;
        } else if session.read_tls(&mut stream).map_err(failed)? == 0 {
            return Err("the server ended the connection".to_owned());
        } else {
            session.process_new_packets().map_err(|cause| said(&cause))?;
        }
    }
    let chain = session.peer_certificates().and_then(<[_]>::first);
    chain.map(|leaf| leaf.to_vec()).ok_or_else(|| "the server shows none".to_owned())
}

/// Takes any certificate whose key the server has: it is compared with the one on the disk, a stronger proof than a chain.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    kind: Option<Id>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let is_wanted = |scheme: &SignatureScheme| {
            let name = format!("{scheme:?}");
            match self.kind {
                Some(Id::RSA) => name.starts_with("RSA"),
                Some(Id::EC) => name.starts_with("ECDSA"),
                _ => true,
            }
        };
        let all = self.provider.signature_verification_algorithms.supported_schemes();
        all.into_iter().filter(is_wanted).collect()
    }
}

fn failure(reason: String) -> Failure {
    Failure { reason, output: String::new() }
}
