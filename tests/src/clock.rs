//! A clock that can be set for one process, while all others keep the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::story::{Story, finish};

/// Two clocks: that of the wall, and the one that only counts, by which pauses are measured.
pub struct Clock {
    library: PathBuf,
    wall: PathBuf,
    count: PathBuf,
}

impl Clock {
    /// True clocks, in the folder of the story.
    pub fn new(story: &Story) -> Result<Self> {
        let of = |name: &str| story.folder().join(name);
        let clock = Self { library: of("offset.so"), wall: of("wall"), count: of("count") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock/offset.c");
        let mut compiler = Command::new("gcc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&clock.library).arg(source);
        let compiled = finish(&mut compiler)?;
        ensure!(compiled.code == Some(0), "{compiled:?}");
        clock.set(0)?;
        clock.pass(0)?;
        Ok(clock)
    }

    /// Somebody sets the clock on the wall so many seconds from the true time.
    pub fn set(&self, seconds: i64) -> Result<()> {
        replace(&self.wall, seconds)
    }

    /// So many seconds pass by the clock that only counts.
    pub fn pass(&self, seconds: i64) -> Result<()> {
        replace(&self.count, seconds)
    }

    /// What a process needs in its environment to go by these clocks.
    #[must_use]
    pub fn environment(&self) -> [(&str, &str); 3] {
        [
            ("LD_PRELOAD", text(&self.library)),
            ("CLOCK_OFFSET_FILE", text(&self.wall)),
            ("CLOCK_COUNT_FILE", text(&self.count)),
        ]
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// A reader sees the old number or the new one.
fn replace(file: &Path, seconds: i64) -> Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, seconds.to_string())?;
    Ok(fs::rename(fresh, file)?)
}
