//! The wire form of log lines: Fluentd's forward protocol, version 1, in its Forward mode, in MessagePack.
//!
//! `[tag, [[EventTime, record], …], {"size": n, "chunk": id}]`; the collector acknowledges with `{"ack": id}`.

use std::io;

use common::settings::SecretUrl;
use jiff::Timestamp;
use log::Level;
use rmp::encode::{write_array_len, write_ext_meta, write_map_len, write_str, write_uint};

use super::queue::Batch;

/// A log line on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    pub(super) message: String,
    /// The secret that it is about.
    pub(super) subject: Option<SecretUrl>,
    pub(super) at: Timestamp,
}

/// Who says it.
pub(super) struct Origin {
    pub(super) host: String,
    pub(super) process: u32,
}

/// The bytes of these lines, with a line before them that says how many are missing.
pub(super) fn encode(tag: &str, batch: &Batch, origin: &Origin, id: &str) -> io::Result<Vec<u8>> {
    let missing = missing(batch);
    let lines = || missing.iter().chain(&batch.lines);
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, 3)?;
    write_str(&mut bytes, tag)?;
    let size = u32::try_from(lines().count()).map_err(io::Error::other)?;
    write_array_len(&mut bytes, size)?;
    for line in lines() {
        write_array_len(&mut bytes, 2)?;
        write_time(&mut bytes, line.at)?;
        write_record(&mut bytes, line, origin)?;
    }
    write_map_len(&mut bytes, 2)?;
    write_str(&mut bytes, "size")?;
    write_uint(&mut bytes, size.into())?;
    write_str(&mut bytes, "chunk")?;
    write_str(&mut bytes, id)?;
    Ok(bytes)
}

fn missing(batch: &Batch) -> Option<Line> {
    let first = batch.lines.first().filter(|_| batch.dropped > 0)?;
    let message = format!("{} log lines before this one were dropped: the collector did not take them", batch.dropped);
    Some(Line { level: Level::Warn, message, subject: None, at: first.at })
}

/// EventTime: seconds and nanoseconds, four bytes each.
fn write_time(bytes: &mut Vec<u8>, at: Timestamp) -> io::Result<()> {
    let part = |number: i64| u32::try_from(number).unwrap_or_default().to_be_bytes();
    write_ext_meta(bytes, 8, 0)?;
    bytes.extend(part(at.as_second()));
    bytes.extend(part(at.subsec_nanosecond().into()));
    Ok(())
}

fn write_record(bytes: &mut Vec<u8>, line: &Line, origin: &Origin) -> io::Result<()> {
    let level = line.level.as_str().to_ascii_lowercase();
    let subject = line.subject.as_ref().map(|url| [("vault", url.vault()), ("certificate", url.name())]);
    let texts = [
        ("level", level.as_str()),
        ("message", &line.message),
        ("component", env!("CARGO_BIN_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("host", &origin.host),
    ];
    let texts = texts.into_iter().chain(subject.into_iter().flatten());
    write_map_len(bytes, if subject.is_some() { 8 } else { 6 })?;
    for (name, text) in texts {
        write_str(bytes, name)?;
        write_str(bytes, text)?;
    }
    write_str(bytes, "pid")?;
    write_uint(bytes, origin.process.into())?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_the_protocol_says() {
        let at = Timestamp::new(0x0102_0304, 0x0a).unwrap();
        let line = Line { level: Level::Info, message: "ended".to_owned(), subject: None, at };
        let batch = Batch { lines: vec![line], dropped: 0, end: 1 };
        let origin = Origin { host: "vm1".to_owned(), process: 7 };
        let version = env!("CARGO_PKG_VERSION");
        let length = 0xa0 | u8::try_from(version.len()).unwrap();
        let mut wanted = b"\x93\xa3tag\x91\x92\xd7\x00\x01\x02\x03\x04\x00\x00\x00\x0a\x86".to_vec();
        wanted.extend(b"\xa5level\xa4info\xa7message\xa5ended\xa9component\xadakvvm_service\xa7version");
        wanted.push(length);
        wanted.extend(version.bytes());
        wanted.extend(b"\xa4host\xa3vm1\xa3pid\x07\x82\xa4size\x01\xa5chunk\xa2id");
        assert_eq!(encode("tag", &batch, &origin, "id").unwrap(), wanted);
    }
}
