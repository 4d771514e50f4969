//! Azure Arc: the agent names a file that only root and it can read, and gives a token to who knows what is in there.
//!
//! Wire contract: `/metadata/identity/oauth2/token` of the agent (himds), api-version 2020-06-01. It answers 401 with
//! `WWW-Authenticate: Basic realm=PATH`, and a token when the request comes again with `Authorization: Basic CONTENT`, the
//! file's content as it is. Any local process may have taken the agent's port: what is read and sent is decided here.

use common::settings::Identity;
use ureq::http::HeaderValue;

use super::request::Request;
use super::{IdentityError, key_file};
use crate::http::{self, Answer};
use crate::network::Network;

const VERSION: &str = "2020-06-01";
/// A key serves once and not for long: one that came too late is followed by another.
const CHALLENGES: u32 = 2;

/// Asks for a token and answers the challenge.
///
/// # Errors
/// The agent was not reached, did not challenge, or named a file that is not its key file.
pub(super) fn ask(request: &Request<'_>) -> Result<Answer, IdentityError> {
    let mut answer = request.send(VERSION, None)?;
    for _ in 0..CHALLENGES {
        match answer.status {
            // Who gives a token to anybody is not the agent.
            200 => {
                return Err(IdentityError::malformed(request.identity, "it did not ask for the Azure Arc agent's key"));
            }
            401 => {}
            _ => return Ok(answer),
        }
        answer = request.send(VERSION, Some(&authorization(&answer, request.identity, request.network)?))?;
        if answer.status != 401 {
            break;
        }
    }
    Ok(answer)
}

/// What a challenge asks for: the content of the file that it names, when that is the agent's.
///
/// # Errors
/// It names no file, or one that is not the agent's key file.
pub(crate) fn authorization(
    challenge: &Answer,
    identity: &Identity,
    network: &Network,
) -> Result<HeaderValue, IdentityError> {
    let path = challenge.header("www-authenticate").and_then(realm);
    let path =
        path.ok_or_else(|| IdentityError::malformed(identity, "it named no key file, as the Azure Arc agent does"))?;
    let key = key_file::read(path, network)?;
    let authorization = http::secret_header(format!("Basic {}", *key));
    authorization.ok_or_else(|| IdentityError::malformed(identity, "the key in the file that it named is none"))
}

/// The path in `Basic realm=PATH`, which the agent writes without quotes.
fn realm(challenge: &str) -> Option<&str> {
    let (scheme, parameter) = challenge.trim().split_once(' ')?;
    let (name, value) = parameter.trim().split_once('=')?;
    let matches = scheme.eq_ignore_ascii_case("basic") && name.trim().eq_ignore_ascii_case("realm");
    Some(value.trim().trim_matches('"')).filter(|path| matches && !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_path_in_a_challenge() {
        let path = "/var/opt/azcmagent/tokens/0f0e.key";
        for challenge in
            [format!("Basic realm={path}"), format!("basic Realm=\"{path}\""), format!(" Basic  realm = {path} ")]
        {
            assert_eq!(realm(&challenge), Some(path), "{challenge}");
        }
        for challenge in ["", "Basic", "Basic realm=", "Bearer realm=/var/opt", "Basic charset=UTF-8", "realm=/var/opt"]
        {
            assert_eq!(realm(challenge), None, "{challenge}");
        }
    }
}
