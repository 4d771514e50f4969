//! Messages of HTTP/1.1 as the emulated servers see them: a request is parsed, recorded and answered.
//!
//! Knows nothing of what is served; how an answer is put on the wire, well or badly, is [`crate::wire`]'s.

use std::io::{self, BufRead, Read};
use std::time::SystemTime;

use serde_json::Value;

/// The most that the header of a request may take.
const MAX_HEADER: usize = 64 * 1024;

/// The most that the body of a request may take.
const MAX_BODY: usize = 1024 * 1024;

/// Which of the emulated servers was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    /// The instance metadata service.
    Imds,
    /// The Azure Arc agent.
    Arc,
    /// Key Vault, whichever vault.
    Vault,
    /// The proxy.
    Proxy,
    /// The fabric: wire server, host plugin and storage.
    Fabric,
}

/// A request as it is remembered. A bearer token is replaced by its number.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its header was complete.
    pub at: SystemTime,
    /// Which server was asked.
    pub server: Server,
    /// The number of the connection, counted over all servers.
    pub connection: u64,
    /// `GET`, `CONNECT`, …
    pub method: String,
    /// The host that was asked for, in lower case and without its port.
    pub host: String,
    /// The target as it stood in the request line.
    pub target: String,
    /// The path, percent-decoded.
    pub path: String,
    /// The query, percent-decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case, in the order of arrival; credentials are blanked.
    pub headers: Vec<(String, String)>,
    /// The number of the token that was presented, when it is one of ours.
    pub token: Option<u64>,
    /// The status that was answered; `None` when no answer was HTTP.
    pub status: Option<u16>,
    /// How many bytes the body of the answer had.
    pub answered: usize,
}

impl Request {
    /// The first header of this name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of this query parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut query = self.query.iter();
        query.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it came through a proxy, as far as a server can see.
    #[must_use]
    pub fn proxied(&self) -> bool {
        let absolute = self.target.starts_with("http://") || self.target.starts_with("https://");
        absolute || self.header("via").is_some() || self.header("x-forwarded-for").is_some()
    }

    /// The segments of the path; slashes at the end or doubled do not count.
    #[must_use]
    pub fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }
}

/// A request on its way to the server: what is remembered, and the credentials that are not.
pub(crate) struct Incoming {
    pub(crate) request: Request,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// The value of `Proxy-Authorization`.
    pub(crate) proxy_authorization: Option<String>,
    /// Whether the client wants the connection kept open.
    pub(crate) keep_alive: bool,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// An answer before it is put on the wire.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without headers of its own.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// A JSON document.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).header("Content-Type", "application/json; charset=utf-8")
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The status line and all headers, complete with the empty line; `length` is what Content-Length says.
    pub(crate) fn head(&self, length: usize, keep_alive: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {length}\r\n");
        head += if keep_alive { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" };
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

/// Reads the next request of a connection. `None` when the client has closed it.
pub(crate) fn read(stream: &mut impl BufRead, server: Server, connection: u64) -> io::Result<Option<Incoming>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut limited = stream.by_ref().take(MAX_HEADER as u64);
        if limited.read_until(b'\n', &mut head)? == 0 {
            return match head.is_empty() {
                true => Ok(None),
                false => Err(invalid("the connection ended within a header")),
            };
        }
        if head.len() > MAX_HEADER {
            return Err(invalid("a header of more than 64 KiB"));
        }
    }
    let mut slots = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut slots);
    parsed.parse(&head).map_err(invalid)?;
    let mut incoming = Incoming {
        request: Request {
            at: SystemTime::now(),
            server,
            connection,
            method: parsed.method.unwrap_or_default().to_owned(),
            host: String::new(),
            target: parsed.path.unwrap_or_default().to_owned(),
            path: String::new(),
            query: Vec::new(),
            headers: Vec::new(),
            token: None,
            status: None,
            answered: 0,
        },
        authorization: None,
        proxy_authorization: None,
        keep_alive: parsed.version == Some(1),
        body: Vec::new(),
    };
    let mut length = 0;
    for header in parsed.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(header.value).into_owned();
        match name.as_str() {
            "authorization" => incoming.authorization = Some(value),
            "proxy-authorization" => incoming.proxy_authorization = Some(value),
            "content-length" => length = value.parse().map_err(invalid)?,
            "connection" if value.eq_ignore_ascii_case("close") => incoming.keep_alive = false,
            _ => {
                incoming.request.headers.push((name, value));
                continue;
            }
        }
        let shown = String::from_utf8_lossy(header.value);
        let shown = match name.ends_with("authorization") {
            true => shown.split(' ').next().unwrap_or_default().to_owned() + " …",
            false => shown.into_owned(),
        };
        incoming.request.headers.push((name, shown));
    }
    if length > MAX_BODY {
        return Err(invalid("a body of more than 1 MiB"));
    }
    stream.by_ref().take(length as u64).read_to_end(&mut incoming.body)?;
    locate(&mut incoming.request);
    Ok(Some(incoming))
}

/// Fills in host, path and query from the target and the Host header.
fn locate(request: &mut Request) {
    let target = request.target.clone();
    // An origin-form target starts with a slash, and may well hold "://" in its query.
    let absolute = target.split_once("://");
    let (authority, rest) = match absolute.filter(|_| !target.starts_with('/')) {
        Some((_, rest)) => match rest.find('/') {
            Some(slash) => (rest[..slash].to_owned(), &rest[slash..]),
            None => (rest.to_owned(), "/"),
        },
        None if request.method == "CONNECT" => (target.clone(), ""),
        None => {
            let host = request.header("host").unwrap_or_default();
            (host.to_owned(), target.as_str())
        }
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => &authority,
    };
    request.host = host.to_ascii_lowercase();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    request.path = percent_decode(path);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    request.query = pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect();
}

/// Percent-decodes; what is not a valid escape stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
