//! Types and file formats that the handler and the service share.
//!
//! Nothing here speaks HTTP or knows a certificate's encoding: settings come in through [`settings`], what happened
//! goes out through [`status`], and the rest is where things are and how files are written.

pub mod ends;
pub mod environment;
pub mod files;
pub mod folders;
pub mod instance;
pub mod lock;
pub mod logging;
pub mod report;
pub mod run;
pub mod sequence;
pub mod settings;
pub mod status;
pub mod system;
pub mod text;
