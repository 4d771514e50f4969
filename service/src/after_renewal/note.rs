//! The note that says what is to be done, and the answer to it: two files in `<state>/after-renewal`.
//!
//! The polling service can start nothing: its sandbox hides the service manager. It leaves a note; who finds it does what it
//! says, writes the answer, and removes the note last. So a note that is there is not done, also after a crash.

use std::io;
use std::path::{Path, PathBuf};

use common::settings::Action;
use common::system::create_private_folder;
use serde::{Deserialize, Serialize};

/// A version of a certificate, as it is told apart on the disk and on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    /// The vault's version.
    pub(crate) version: String,
    /// SHA-1 of the leaf, 40 upper-case hexadecimal digits.
    pub(crate) thumbprint: String,
}

/// A certificate whose links have moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Move {
    /// `<vault>.<certificate>`, or the name of its link.
    pub(crate) name: String,
    /// The links that applications use; the first one names the certificate in this folder's files.
    pub(crate) paths: Vec<String>,
    /// What applications have read, as far as is known; nothing before the first installation.
    pub(crate) old: Option<Leaf>,
    /// What the links lead to.
    pub(crate) new: Leaf,
}

/// An action, and the certificates that it is done for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) action: Action,
    pub(crate) moves: Vec<Move>,
    /// What the links of other certificates with this action lead to: a server may show one of these.
    #[serde(default)]
    pub(crate) unmoved: Vec<Leaf>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Tells this note from any other.
    pub(crate) id: u64,
    pub(crate) tasks: Vec<Task>,
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// For the status: what failed, with an exit code where there is one.
    pub(crate) reason: String,
    /// The end of what the program said, for the local log; may be empty.
    pub(crate) output: String,
}

/// What became of each task of a note, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) note: Note,
    pub(crate) results: Vec<Result<(), Failure>>,
}

/// The folder of notes.
pub(crate) struct Desk {
    state: PathBuf,
    folder: PathBuf,
}

impl Desk {
    pub(crate) fn of(state: &Path) -> Self {
        Self { state: state.to_owned(), folder: state.join("after-renewal") }
    }

    /// The folder that it lies in.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Makes the folder, for its owner only.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        create_private_folder(&self.folder)
    }

    /// Where the note lies; a path unit watches it.
    pub(crate) fn note(&self) -> PathBuf {
        self.folder.join("note.json")
    }

    pub(crate) fn answer(&self) -> PathBuf {
        self.folder.join("answer.json")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger.json")
    }

    /// Held by who acts.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }
}
