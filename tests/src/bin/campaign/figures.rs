//! What a campaign is asked for, and what it answers: figures, each beside its goal.

use std::fmt::Display;
use std::time::Duration;

use clap::ValueEnum;

/// How much of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// Seconds: does it still work, and does a sample hold?
    Smoke,
    /// Minutes.
    Bounded,
    /// As long as the goals take.
    Long,
}

impl Size {
    /// The number for this size.
    pub(crate) fn of<T>(self, smoke: T, bounded: T, long: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Bounded => bounded,
            Self::Long => long,
        }
    }
}

/// The figures of one run.
#[derive(Default)]
pub(crate) struct Figures {
    /// Name, figure, goal.
    rows: Vec<[String; 3]>,
    missed: Vec<String>,
}

impl Figures {
    /// A figure without a goal.
    pub(crate) fn note(&mut self, name: &str, figure: impl Display) {
        self.rows.push([name.to_owned(), figure.to_string(), String::new()]);
    }

    /// A figure that must be this one.
    pub(crate) fn exactly<T: Display + PartialEq>(&mut self, name: &str, figure: T, goal: T) {
        self.judge(name, &figure, &goal, figure == goal);
    }

    /// A figure that must not be less.
    pub(crate) fn at_least<T: Display + PartialOrd>(&mut self, name: &str, figure: T, goal: T) {
        self.judge(name, &figure, &format!("at least {goal}"), figure >= goal);
    }

    /// A figure that must not be more.
    pub(crate) fn at_most<T: Display + PartialOrd>(&mut self, name: &str, figure: T, goal: T) {
        self.judge(name, &figure, &format!("at most {goal}"), figure <= goal);
    }

    fn judge(&mut self, name: &str, figure: &impl Display, goal: &impl Display, met: bool) {
        self.rows.push([name.to_owned(), figure.to_string(), goal.to_string()]);
        if !met {
            self.missed.push(format!("{name}: {figure}, the goal is {goal}"));
        }
    }

    /// Which goals were missed.
    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }

    /// All of them as a table of Markdown.
    pub(crate) fn table(&self, campaign: &str, size: Size, took: Duration) -> String {
        let mut table = format!("### {campaign}, {size:?}, {} s\n\n", took.as_secs()).to_lowercase();
        table += "| what | figure | goal |\n| --- | --- | --- |\n";
        for [name, figure, goal] in &self.rows {
            table += &format!("| {name} | {figure} | {goal} |\n");
        }
        table
    }
}
