//! The proxy that the environment names: `HTTPS_PROXY` or `ALL_PROXY`, with the exceptions of `NO_PROXY`, in either case.
//!
//! ureq's own reading would also take `HTTP_PROXY`, which is not meant for https, pass over a value that it does not
//! understand (and connect directly), and know exceptions by their whole names only.

use std::env;

use ureq::{Proxy, ProxyProtocol};

use super::TransportError;

/// The proxy for vaults, if there is one.
///
/// # Errors
/// A variable does not hold the address of a proxy: going around a proxy that was asked for would be wrong.
pub(super) fn of_environment() -> Result<Option<Proxy>, TransportError> {
    let Some((name, value)) = variable("HTTPS_PROXY").or_else(|| variable("ALL_PROXY")) else { return Ok(None) };
    let exceptions = variable("NO_PROXY").map(|(_, exceptions)| exceptions).unwrap_or_default();
    parse(&value, &exceptions).map(Some).ok_or(TransportError::ProxySetting(name))
}

fn variable(name: &str) -> Option<(String, String)> {
    let mut names = [name.to_owned(), name.to_lowercase()].into_iter();
    names.find_map(|name| env::var(&name).ok().filter(|value| !value.trim().is_empty()).map(|value| (name, value)))
}

/// `[http[s]://][USER[:PASSWORD]@]HOST[:PORT][/]`; the login is percent-encoded.
fn parse(value: &str, exceptions: &str) -> Option<Proxy> {
    let given = Proxy::new(value.trim()).ok()?;
    let http = matches!(given.protocol(), ProxyProtocol::Http | ProxyProtocol::Https);
    if !http || given.host().is_empty() || !has_valid_port(&given) || !matches!(given.uri().path(), "" | "/") {
        return None;
    }
    let mut builder = Proxy::builder(given.protocol()).host(given.host()).port(given.port());
    if let Some(user) = given.username() {
        builder = builder.username(user);
    }
    if let Some(password) = given.password() {
        builder = builder.password(password);
    }
    for exception in exceptions.split(',').map(str::trim) {
        // A vault answers on 443 only.
        let exception = exception.strip_suffix(":443").unwrap_or(exception);
        if exception.is_empty() {
            continue;
        }
        builder = builder.no_proxy(exception);
        // As curl, Python and Go read it: a name stands for what is below it, too.
        if !exception.starts_with(['.', '*']) {
            builder = builder.no_proxy(&format!(".{exception}"));
        }
    }
    builder.build().ok()
}

/// ureq takes the usual port for one that is no number.
fn has_valid_port(proxy: &Proxy) -> bool {
    let authority = proxy.uri().authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit('@').next().unwrap_or_default();
    match place.strip_prefix(proxy.host()).and_then(|rest| rest.strip_prefix(':')) {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => true,
    }
}
