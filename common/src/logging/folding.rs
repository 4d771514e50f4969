//! Errors that come again and again are counted instead of written: `same error 57 times: …`.
//!
//! Until something changes, or an hour has passed: then the count is written, and the next one again in full.

use std::time::{Duration, Instant};

use log::Level;

use super::Line;

/// How long a repeated error is only counted.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How many different errors are remembered.
const REMEMBERED: usize = 100;

/// The errors and warnings since the last change.
#[derive(Default)]
pub(super) struct Folding {
    known: Vec<Repeated>,
}

struct Repeated {
    line: Line,
    since: Instant,
    /// How often it came after it was written.
    times: usize,
}

impl Folding {
    /// What is to be written at `now` when `line` comes.
    pub(super) fn fold(&mut self, line: Line, now: Instant) -> Vec<Line> {
        let is_change = line.level == Level::Info && !line.is_for_file;
        let mut lines = self.forget(|repeated| is_change || now - repeated.since >= PATIENCE);
        if line.level <= Level::Warn {
            if let Some(repeated) = self.known.iter_mut().find(|repeated| repeated.line.says_the_same_as(&line)) {
                repeated.times += 1;
                return lines;
            }
            if self.known.len() >= REMEMBERED {
                lines.extend(self.known.remove(0).count());
            }
            self.known.push(Repeated { line: line.clone(), since: now, times: 0 });
        }
        lines.push(line);
        lines
    }

    /// Forgets some errors; what is left to say of them.
    fn forget(&mut self, is_over: impl Fn(&Repeated) -> bool) -> Vec<Line> {
        self.known.extract_if(.., |repeated| is_over(repeated)).filter_map(Repeated::count).collect()
    }
}

impl Repeated {
    fn count(self) -> Option<Line> {
        let Self { line, times, .. } = self;
        let kind = if line.level == Level::Error { "error" } else { "warning" };
        let message = match times {
            0 => return None,
            1 => format!("same {kind} once more: {}", line.message),
            _ => format!("same {kind} {times} times: {}", line.message),
        };
        // The others may have been about other certificates.
        Some(Line { message, subject: None, ..line })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, message: &str) -> Line {
        Line { level, is_for_file: false, message: message.to_owned(), subject: None }
    }

    fn routine() -> Line {
        Line { is_for_file: true, ..line(Level::Info, "nothing new") }
    }

    /// The messages that are written when these lines come, each after so many seconds.
    fn written(lines: &[(u64, Line)]) -> Vec<String> {
        let (mut folding, start) = (Folding::default(), Instant::now());
        let fold = |(seconds, line): &(u64, Line)| folding.fold(line.clone(), start + Duration::from_secs(*seconds));
        lines.iter().flat_map(fold).map(|line| line.message).collect()
    }

    #[test]
    fn counts_what_is_repeated_until_something_changes() {
        let no = line(Level::Warn, "no route");
        let mut lines = vec![(0, no.clone()); 58];
        lines.extend([(60, routine()), (61, line(Level::Error, "no route")), (62, line(Level::Info, "installed"))]);
        lines.push((63, no));
        let expected =
            ["no route", "nothing new", "no route", "same warning 57 times: no route", "installed", "no route"];
        assert_eq!(written(&lines), expected);
    }

    #[test]
    fn says_what_goes_on_once_an_hour() {
        let no = line(Level::Error, "no route");
        let lines: Vec<_> = (0..=120).map(|minute| (60 * minute, no.clone())).collect();
        let again = "same error 59 times: no route";
        assert_eq!(written(&lines), ["no route", again, "no route", again, "no route"]);
        let lines = [(0, no.clone()), (10, no), (3600, routine())];
        assert_eq!(written(&lines), ["no route", "same error once more: no route", "nothing new"]);
    }

    #[test]
    fn forgets_nothing_when_there_are_more_errors_than_it_remembers() {
        let different = |n: usize| line(Level::Error, &format!("{n}"));
        let mut lines = vec![(0, different(0)), (0, different(0))];
        lines.extend((1..=REMEMBERED).map(|n| (0, different(n))));
        let written = written(&lines);
        assert_eq!(written.len(), REMEMBERED + 2);
        assert!(written.contains(&"same error once more: 0".to_owned()));
    }

    #[test]
    fn leaves_what_is_no_error_alone() {
        let lines = [(0, routine()), (0, routine()), (0, line(Level::Info, "a")), (0, line(Level::Info, "a"))];
        assert_eq!(written(&lines), ["nothing new", "nothing new", "a", "a"]);
    }
}
