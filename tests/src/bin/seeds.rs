//! Writes into folders what the tests have of each kind of input, for fuzzers to begin with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::json;
use tests::catalogue::Kind;
use tests::hostile;
use tests::http::Response;
use tests::imds::Trouble;
use tests::pkcs12::{Cipher, Digest, EmptyPassword, Pfx};
use tests::pki::{Authority, KeyKind, Request};
use tests::refusal::{Refusal, Scene};
use tests::settings::{cases, samples};

/// Writes seeds for the fuzzers
#[derive(Parser)]
struct Arguments {
    /// A folder, which gets one for each kind of input
    folder: PathBuf,
}

/// What a fuzzer reads at most, in bytes.
const LONGEST: usize = 65_536;

fn main() -> Result<()> {
    let Arguments { folder } = Arguments::parse();
    let settings =
        samples()?.into_iter().map(|sample| sample.settings).chain(cases().into_iter().map(|case| case.settings));
    write(&folder.join("settings"), settings.map(|settings| settings.to_string().into_bytes()))?;
    let (pfx, pem): (Vec<_>, Vec<_>) = values()?.into_iter().partition(|value| value.starts_with(&[0x30]));
    write(&folder.join("pfx"), pfx)?;
    write(&folder.join("pem"), pem)?;
    write(&folder.join("secret"), refusals().iter().map(raw))?;
    write(&folder.join("identity"), answers().iter().map(raw))
}

/// Secrets' values, as bytes: good ones in every form, and bad ones.
fn values() -> Result<Vec<Vec<u8>>> {
    let authority = Authority::new("Contoso", 2)?;
    let issued = authority.issue(&Request::new("www.contoso.com").key(KeyKind::P256))?;
    let mut bundles = Vec::new();
    for kind in Kind::value_variants() {
        bundles.push(kind.bundle(&authority, "www.contoso.com")?);
    }
    for cipher in [Cipher::Rc2, Cipher::TripleDes, Cipher::Aes128(Digest::Sha1), Cipher::Aes256(Digest::Sha256)] {
        for password in [EmptyPassword::Terminated, EmptyPassword::Absent] {
            for mac in [None, Some(Digest::Sha1), Some(Digest::Sha256)] {
                let form = Pfx { key: cipher, certificates: cipher, password, mac, ..Pfx::KEY_VAULT };
                bundles.push(issued.pfx(&form)?);
            }
        }
    }
    bundles.extend(hostile::all(&issued)?.into_iter().map(|(_, bundle)| bundle));
    bundles.iter().map(|bundle| bundle.bytes().or_else(|_| Ok(bundle.value.clone().into_bytes()))).collect()
}

/// What a vault says in place of a secret.
fn refusals() -> Vec<Response> {
    let scene =
        Scene { host: "contoso.vault.azure.net", secret: "web", caller: "appid=x;oid=y;iss=z", action: "getSecret" };
    let refusals = [
        Refusal::TokenMissing,
        Refusal::InvalidAudience("https://management.azure.com".to_owned()),
        Refusal::InvalidIssuer,
        Refusal::InvalidToken,
        Refusal::ForeignChallenge("https://evil.example".to_owned()),
        Refusal::SecretDisabled,
        Refusal::ForbiddenByRbac,
        Refusal::AccessDenied,
        Refusal::ForbiddenByPolicy,
        Refusal::ForbiddenByFirewall,
        Refusal::ForbiddenByConnection,
        Refusal::SecretNotFound,
        Refusal::BadParameter("The request URI contains an invalid name".to_owned()),
        Refusal::Conflict,
        Refusal::Throttled(Some(7)),
        Refusal::Unavailable(503, None),
    ];
    let redirect = Response::new(302, "").header("Location", "https://evil.example");
    refusals.iter().map(|refusal| refusal.response(&scene)).chain([redirect]).collect()
}

/// What the metadata service says: a token in each of its forms, and what it says in place of one.
fn answers() -> Vec<Response> {
    let token = "eyJ0.eyJhcHBpZCI6IngifQ.x";
    let tokens = [
        json!({"access_token": token, "client_id": "x", "expires_in": "3599", "expires_on": "1700000000"}),
        json!({"access_token": token, "expires_in": 3599, "expires_on": 1_700_000_000, "token_type": "Bearer"}),
        json!({"access_token": token, "expires_in": "soon", "not_before": null}),
        json!({"access_token": "eyJ0 x\r\n", "expires_in": -1}),
    ];
    let troubles = [
        Trouble::IdentityNotFound,
        Trouble::MultipleIdentities,
        Trouble::MetadataHeaderMissing,
        Trouble::InvalidResource("https://vault.azure.net".to_owned()),
        Trouble::Unauthorized("unknown_source".to_owned()),
        Trouble::Denied,
        Trouble::NotFound,
        Trouble::Gone,
        Trouble::Throttled(Some(7)),
        Trouble::Failed(500),
    ];
    let challenge = Response::new(401, "").header("WWW-Authenticate", "Basic realm=/var/opt/azcmagent/tokens/a.key");
    let tokens = tokens.iter().map(|token| Response::json(200, token));
    tokens.chain(troubles.iter().map(Trouble::response)).chain([challenge]).collect()
}

/// An answer as the fuzzers read it: a status, lines of headers, an empty line, a body.
fn raw(answer: &Response) -> Vec<u8> {
    let headers: String = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    [format!("{}\n{headers}\n", answer.status).as_bytes(), &answer.body].concat()
}

fn write(folder: &Path, inputs: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (number, input) in inputs.into_iter().filter(|input| input.len() <= LONGEST).enumerate() {
        let file = folder.join(format!("seed-{number}"));
        fs::write(&file, input).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
