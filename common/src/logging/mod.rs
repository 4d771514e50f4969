//! Log lines: one event, one line, no control characters. Everything goes to a file of bounded size; the system's journal
//! gets changes and errors only, and so does a collector; a person who runs a program by hand reads it on standard error.

mod folding;
mod rotating;
mod subject;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use env_filter::Filter;
use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::settings::SecretUrl;
use crate::{status, system, text};
use folding::Folding;
use rotating::Rotating;
pub use subject::{Subject, about};

/// The longest line, in characters.
const LONGEST_LINE: usize = 2000;

/// The target of lines that are for the log file, not for the journal: what is said at every poll although nothing changed,
/// and texts of others that name accounts and addresses, because a journal is often sent elsewhere.
pub const FILE: &str = "akvvm_service::file";

/// Sends log lines to `<folder>/<name>.log`, or to standard error without a folder; and to the journal, where standard error
/// leads there.
///
/// `RUST_LOG` chooses what is logged, `level` without it; never more than `debug`, because the HTTP client's `trace` lines
/// are the bytes of its connections, tokens and keys included. A log that cannot be written never stops anything.
pub fn start(folder: Option<&Path>, name: &str, level: LevelFilter) {
    let mut filter = env_filter::Builder::new();
    filter.filter_level(level);
    let choice = std::env::var("RUST_LOG").unwrap_or_default();
    let misspelt = filter.try_parse(&choice).err();
    let filter = filter.build();
    let file = folder.map(|folder| Sink::File(Rotating::new(folder.join(format!("{name}.log")))));
    let journal = system::errors_go_to_journal().then_some(Sink::Journal);
    let terminal = (file.is_none() && journal.is_none()).then_some(Sink::Terminal);
    let most = filter.filter().min(LevelFilter::Debug);
    let sinks: Vec<_> = [file, journal, terminal].into_iter().flatten().collect();
    let logger = Logger { filter, output: Mutex::new(Output { folding: Folding::default(), sinks }) };
    // A second start in one process keeps the first.
    if log::set_logger(LOGGER.get_or_init(|| logger)).is_ok() {
        log::set_max_level(most);
        if folder.is_some() {
            std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
        }
        if let Some(error) = misspelt {
            log::warn!("RUST_LOG={choice} is not understood: {error}");
        }
    }
}

/// Tells `listener` every line, from now on, that a journal would get, and which secret it is [`about`]. It is called
/// where something is logged, so it must neither wait nor log.
pub fn tell(listener: impl FnMut(Level, &str, Option<&SecretUrl>, Timestamp) + Send + 'static) {
    if let Some(logger) = LOGGER.get() {
        logger.output().sinks.push(Sink::Listener(Box::new(listener)));
    }
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    filter: Filter,
    output: Mutex<Output>,
}

impl Logger {
    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            let message = text::bounded(&record.args().to_string(), LONGEST_LINE);
            let is_for_file = record.target() == FILE;
            let line = Line { level: record.level(), is_for_file, message, subject: subject::current() };
            self.output().take(line, Instant::now(), Timestamp::now());
        }
    }

    fn flush(&self) {}
}

/// What is to be written, made safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    level: Level,
    is_for_file: bool,
    message: String,
    subject: Option<SecretUrl>,
}

impl Line {
    /// Whether it tells a reader the same, be it about another certificate.
    fn says_the_same_as(&self, other: &Self) -> bool {
        (self.level, self.is_for_file, &self.message) == (other.level, other.is_for_file, &other.message)
    }
}

/// Where lines go.
struct Output {
    folding: Folding,
    sinks: Vec<Sink>,
}

impl Output {
    fn take(&mut self, line: Line, now: Instant, at: Timestamp) {
        for line in self.folding.fold(line, now) {
            for sink in &mut self.sinks {
                // A log that cannot be written must not stop anything.
                let _ = sink.write(&line, at);
            }
        }
    }
}

enum Sink {
    /// Everything.
    File(Rotating),
    /// Changes and errors; the journal knows the time, and takes the level from a prefix (sd-daemon(3)).
    Journal,
    /// Everything, on standard error.
    Terminal,
    /// Somebody in this process, with the journal's choice of lines.
    Listener(Box<Listener>),
}

/// What is called with a line's level, message, subject and time.
type Listener = dyn FnMut(Level, &str, Option<&SecretUrl>, Timestamp) + Send;

impl Sink {
    fn write(&mut self, line: &Line, at: Timestamp) -> io::Result<()> {
        let Line { level, is_for_file, message, subject } = line;
        let dated = || format!("{} {level:<5} {message}\n", status::seconds(at));
        match self {
            Self::File(file) => file.append(dated().as_bytes()),
            Self::Terminal => io::stderr().write_all(dated().as_bytes()),
            Self::Journal | Self::Listener(_) if *is_for_file => Ok(()),
            Self::Journal => match priority(*level) {
                Some(priority) => io::stderr().write_all(format!("<{priority}>{message}\n").as_bytes()),
                None => Ok(()),
            },
            Self::Listener(hear) => {
                if priority(*level).is_some() {
                    hear(*level, message, subject.as_ref(), at);
                }
                Ok(())
            }
        }
    }
}

/// The number of syslog's priority, for what the journal gets.
fn priority(level: Level) -> Option<u8> {
    match level {
        Level::Error => Some(3),
        Level::Warn => Some(4),
        Level::Info => Some(6),
        Level::Debug | Level::Trace => None,
    }
}
