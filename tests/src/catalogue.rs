//! Secrets and faults by names that people can type, for the emulator as a program.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::fault::Fault;
use crate::hostile;
use crate::imds::Trouble;
use crate::pkcs12::Pfx;
use crate::pki::{Authority, DAY, KeyKind, Request};
use crate::refusal::Refusal;
use crate::wire::Wire;

/// What a secret holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Kind {
    /// RSA-2048 in a PFX as the service writes it (Triple DES)
    RsaPfx,
    /// RSA-2048 in an old PFX (RC2-40), which few programs still read
    RsaLegacyPfx,
    /// RSA-2048 in a PFX of today (AES-256)
    RsaModernPfx,
    /// P-256 in a PFX as the service writes it
    EcPfx,
    /// RSA-2048 in a PEM: key, leaf, chain
    RsaPem,
    /// P-256 in a PEM: key, leaf, chain
    EcPem,
    /// P-256 in a PEM the wrong way round: root first, key last
    ReversedPem,
    /// Ended yesterday
    Expired,
    /// Ends in three days
    Expiring,
    /// Without its private key
    NoKey,
    /// With the key of another certificate
    WrongKey,
    /// A password: no certificate at all
    Password,
}

impl Kind {
    /// A fresh secret of this kind for a certificate with this DNS name.
    pub fn bundle(self, authority: &Authority, name: &str) -> Result<Bundle> {
        let request = Request::new(name);
        let now = SystemTime::now();
        let rsa = request.clone().key(KeyKind::Rsa2048);
        match self {
            Self::RsaPfx => authority.issue(&rsa)?.pfx(&Pfx::KEY_VAULT),
            Self::RsaLegacyPfx => authority.issue(&rsa)?.pfx(&Pfx::LEGACY),
            Self::RsaModernPfx => authority.issue(&rsa)?.pfx(&Pfx::MODERN),
            Self::EcPfx => authority.issue(&request)?.pfx(&Pfx::KEY_VAULT),
            Self::RsaPem => authority.issue(&rsa)?.pem(),
            Self::EcPem => authority.issue(&request)?.pem(),
            Self::ReversedPem => {
                let mut parts = authority.issue(&request)?.parts();
                parts.reverse();
                Bundle::pem(&parts)
            }
            Self::Expired => {
                let ended = request.valid(now - 90 * DAY, now - DAY);
                authority.issue(&ended)?.pfx(&Pfx::KEY_VAULT)
            }
            Self::Expiring => {
                let ending = request.valid(now - 87 * DAY, now + 3 * DAY);
                authority.issue(&ending)?.pfx(&Pfx::KEY_VAULT)
            }
            Self::NoKey => {
                let issued = authority.issue(&request)?;
                Bundle::pfx(&hostile::without_key(&issued), &Pfx::KEY_VAULT)
            }
            Self::WrongKey => hostile::wrong_key(&authority.issue(&request)?),
            Self::Password => Ok(Bundle::text("correct horse battery staple")),
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Breakage {
    /// 403: no role assignment
    Forbidden,
    /// 403: no access policy
    Policy,
    /// 403: the vault's firewall
    Firewall,
    /// 403: private link only
    PrivateLink,
    /// 403: the secret is disabled
    Disabled,
    /// 404: the secret is gone
    NotFound,
    /// 429, to be tried again after ten seconds
    Throttled,
    /// 503
    Unavailable,
    /// No answer
    Hang,
    /// Five seconds late
    Slow,
    /// A TCP reset in the middle of the answer
    Reset,
    /// Bytes that are not HTTP
    Garbage,
    /// The sign-in page of a guest network
    Html,
    /// A redirect to another host
    Redirect,
    /// Of the metadata service: no identity is assigned
    IdentityNotFound,
    /// Of the metadata service: 500
    ImdsUnavailable,
}

impl Breakage {
    /// The fault behind the name.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Self::Forbidden => Refusal::ForbiddenByRbac.into(),
            Self::Policy => Refusal::ForbiddenByPolicy.into(),
            Self::Firewall => Refusal::ForbiddenByFirewall.into(),
            Self::PrivateLink => Refusal::ForbiddenByConnection.into(),
            Self::Disabled => Refusal::SecretDisabled.into(),
            Self::NotFound => Refusal::SecretNotFound.into(),
            Self::Throttled => Refusal::Throttled(Some(10)).into(),
            Self::Unavailable => Refusal::Unavailable(503, None).into(),
            Self::Hang => Wire::Hang.into(),
            Self::Slow => Wire::Delay(Duration::from_secs(5)).into(),
            Self::Reset => Wire::Reset.into(),
            Self::Garbage => Wire::Garbage.into(),
            Self::Html => Fault::Html,
            Self::Redirect => Fault::Redirect("https://elsewhere.example/".to_owned()),
            Self::IdentityNotFound => Trouble::IdentityNotFound.into(),
            Self::ImdsUnavailable => Trouble::Failed(500).into(),
        }
    }

    /// Whether it is the metadata service that breaks.
    #[must_use]
    pub fn of_imds(self) -> bool {
        matches!(self, Self::IdentityNotFound | Self::ImdsUnavailable)
    }
}
