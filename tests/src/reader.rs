//! An application that uses a certificate: reads what its link leads to, over and over.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

/// Reads until it is ended, or finds the file missing or incomplete.
pub struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    thread: thread::JoinHandle<Result<(), String>>,
}

impl Reader {
    /// Starts to read `path`.
    #[must_use]
    pub fn start(path: PathBuf) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), reads.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
                let complete = text.starts_with("-----BEGIN CERTIFICATE-----\n");
                if !complete || !text.ends_with("-----END PRIVATE KEY-----\n") {
                    return Err(format!("incomplete, {} bytes", text.len()));
                }
                counted.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        Self { stop, reads, thread }
    }

    /// Ends it; an error when it ever found the file missing or incomplete, or hardly read at all.
    pub fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let read = self.thread.join().map_err(|_| anyhow!("the reader panicked"))?;
        read.map_err(anyhow::Error::msg)?;
        let reads = self.reads.load(Ordering::Relaxed);
        ensure!(reads > 100, "it read {reads} times only");
        Ok(())
    }
}
