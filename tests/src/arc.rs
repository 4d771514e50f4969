//! The Azure Arc agent's side of the wire: a token for who can read the file that a challenge names.
//!
//! As on a real machine the keys are files below `/var/opt/azcmagent/tokens`, or in a folder of its own on the disk of Windows,
//! and each serves once.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fault::{Fault, spoil};
use crate::http::{Incoming, Request, Response};
use crate::identity::guid;
use crate::imds::{Trouble, token};
use crate::state::State;
use crate::wire::Wire;

/// Where the agent keeps its keys.
const FOLDER: &str = "/var/opt/azcmagent/tokens";

/// The same on the disk of a machine with Windows, and as that calls it.
const WINDOWS_FOLDER: &str = "ProgramData/AzureConnectedMachineAgent/Tokens";
const WINDOWS_NAME: &str = r"C:\ProgramData\AzureConnectedMachineAgent\Tokens";

/// What the agent's challenges are like.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Challenge {
    /// As they should be.
    #[default]
    Fair,
    /// The named file is not the agent's: this path, whatever is there.
    Elsewhere(String),
    /// The key has more than 4096 bytes.
    TooBig,
    /// A symbolic link to the key is named.
    Symlink,
    /// The file is named `NAME.pem`.
    OtherSuffix,
    /// The file belongs to this user.
    Owner(u32),
    /// Everybody may write the folder.
    OpenFolder,
    /// No header says where the key is.
    NoHeader,
    /// There is none: everybody gets a token.
    None,
    /// The key is used up when it comes, this many times.
    Late(u32),
}

/// The agent of the emulated machine.
pub struct ArcAgent {
    /// What its challenges are like.
    pub challenge: Challenge,
    /// Whether it knows user-assigned identities; older ones answer as the machine, whoever is asked for.
    pub knows_users: bool,
    /// The user whom its folder and its keys belong to.
    pub owner: u32,
    /// The disk of its machine, where that has Windows.
    pub windows: Option<PathBuf>,
    keys: Vec<(PathBuf, String)>,
}

impl Default for ArcAgent {
    fn default() -> Self {
        Self { challenge: Challenge::Fair, knows_users: true, owner: 0, windows: None, keys: Vec::new() }
    }
}

impl ArcAgent {
    /// The keys that wait for their use, for a search for leaks. Not to be printed.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.keys.iter().map(|(_, key)| key.clone()).collect()
    }

    /// Takes a key, which is used up by it.
    fn accept(&mut self, key: &str) -> bool {
        let Some(at) = self.keys.iter().position(|(_, known)| known == key) else { return false };
        let (path, _) = self.keys.remove(at);
        // A file that a test removed is gone as well.
        let _ = fs::remove_file(path);
        match &mut self.challenge {
            Challenge::Late(left) if *left > 0 => {
                *left -= 1;
                false
            }
            _ => true,
        }
    }

    fn challenge(&mut self) -> Response {
        let header = self.lay_down().map(|path| format!("Basic realm={path}"));
        let response = Response::new(401, "").header("Content-Type", "text/plain");
        match (header, &self.challenge) {
            (Ok(_), Challenge::NoHeader) => response,
            (Ok(_), Challenge::Elsewhere(path)) => response.header("Www-Authenticate", &format!("Basic realm={path}")),
            (Ok(header), _) => response.header("Www-Authenticate", &header),
            (Err(error), _) => Response::new(500, format!("{FOLDER}: {error}")),
        }
    }

    /// Writes a fresh key; answers the path that the challenge names.
    fn lay_down(&mut self) -> io::Result<String> {
        let disk = self.windows.as_ref().map(|disk| disk.join(WINDOWS_FOLDER));
        let folder = disk.as_deref().unwrap_or(Path::new(FOLDER));
        fs::create_dir_all(folder)?;
        let is_open = self.challenge == Challenge::OpenFolder;
        fs::set_permissions(folder, Permissions::from_mode(if is_open { 0o777 } else { 0o770 }))?;
        chown(folder, Some(self.owner), None)?;
        let suffix = if self.challenge == Challenge::OtherSuffix { "pem" } else { "key" };
        let name = format!("{}.{suffix}", guid());
        let path = folder.join(&name);
        let length = if self.challenge == Challenge::TooBig { 4097 } else { 64 };
        let key: String = (0..length).map(|_| fastrand::alphanumeric()).collect();
        fs::write(&path, &key)?;
        fs::set_permissions(&path, Permissions::from_mode(0o440))?;
        let owner = if let Challenge::Owner(user) = self.challenge { user } else { self.owner };
        chown(&path, Some(owner), None)?;
        self.keys.push((path.clone(), key));
        if self.windows.is_some() {
            return Ok(format!(r"{WINDOWS_NAME}\{name}"));
        }
        if self.challenge != Challenge::Symlink {
            return Ok(path.display().to_string());
        }
        let link = folder.join(format!("{}.key", guid()));
        symlink(&path, &link)?;
        Ok(link.display().to_string())
    }
}

/// Answers one request to the agent. Its faults strike those that bring a key.
pub(crate) fn answer(state: &mut State, incoming: &mut Incoming) -> (Response, Option<Wire>) {
    let request = &incoming.request;
    let key = incoming.authorization.as_deref().and_then(|value| value.strip_prefix("Basic "));
    let is_free = state.arc.challenge == Challenge::None;
    if request.header("metadata") != Some("true") {
        return (Trouble::MetadataHeaderMissing.response(), None);
    }
    if !is_free && !key.is_some_and(|key| state.arc.accept(key)) {
        return (state.arc.challenge(), None);
    }
    let fault = state.faults.strike(request);
    let response = match &fault {
        Some(Fault::Imds(trouble)) => trouble.response(),
        _ => match identity_token(state, request) {
            Ok(body) => Response::json(200, &body),
            Err(trouble) => trouble.response(),
        },
    };
    spoil(response, fault)
}

/// What the metadata service would say; but the client id is told to those only who asked for it, and never by old agents.
fn identity_token(state: &mut State, request: &Request) -> Result<Value, Trouble> {
    let mut request = request.clone();
    if !state.arc.knows_users {
        request.query.retain(|(name, _)| !matches!(name.as_str(), "client_id" | "object_id" | "msi_res_id"));
    }
    let mut body = token(state, &request)?;
    if let Some(body) = body.as_object_mut().filter(|_| request.parameter("client_id").is_none()) {
        body.remove("client_id");
    }
    Ok(body)
}
