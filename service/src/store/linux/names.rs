//! Names of users and groups, looked up in the system's name service (files, SSSD, LDAP …) in a thread of
//! their own: a directory server that hangs must not stop a pass.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::settings::Acl;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::acl::{Holder, Subject};

/// For all names of a pass together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the name service says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The entry to write, and the groups that count when directories are checked.
    Known { holder: Holder, subject: Subject },
    /// There is nobody of this name.
    Unknown,
    /// It cannot say, for this reason.
    Silent(String),
}

/// The look-ups of one pass.
pub(super) struct Names {
    deadline: Instant,
    answers: OnceLock<HashMap<Acl, Answer>>,
    /// Taken by whoever waits first.
    arriving: Mutex<Option<Receiver<(Acl, Answer)>>>,
}

impl Names {
    /// Starts looking up these names and does not wait.
    pub(super) fn look_up(wanted: HashSet<Acl>) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let (sender, receiver) = channel();
        if !wanted.is_empty() {
            let work = move || ask_for_all(&wanted, deadline, &sender);
            if let Err(cause) = thread::Builder::new().name("names".into()).spawn(work) {
                log::warn!("cannot start the thread that looks up names: {cause}");
            }
        }
        Self { deadline, answers: OnceLock::new(), arriving: Mutex::new(Some(receiver)) }
    }

    /// The answer for a name; waits for it until the time of the pass is over.
    pub(super) fn answer(&self, name: &Acl) -> Answer {
        let silent = || Answer::Silent("no answer within 5 s".into());
        self.answers.get_or_init(|| self.collect()).get(name).cloned().unwrap_or_else(silent)
    }

    fn collect(&self) -> HashMap<Acl, Answer> {
        let mut answers = HashMap::new();
        let Some(receiver) = lock(&self.arriving).take() else { return answers };
        loop {
            match receiver.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok((name, answer)) => answers.insert(name, answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return answers,
            };
        }
    }
}

/// Whether a thread is inside the name service. There is one at most, or a name service that never returns
/// would gather one more at each pass.
static ASKING: Mutex<bool> = Mutex::new(false);
static ASKED: Condvar = Condvar::new();

fn ask_for_all(names: &HashSet<Acl>, deadline: Instant, sender: &Sender<(Acl, Answer)>) {
    let patience = deadline.saturating_duration_since(Instant::now());
    let waited = ASKED.wait_timeout_while(lock(&ASKING), patience, |asking| *asking);
    let (mut asking, result) = waited.unwrap_or_else(PoisonError::into_inner);
    if result.timed_out() {
        return;
    }
    *asking = true;
    drop(asking);
    for name in names {
        let answer = ask(name).unwrap_or_else(|cause| Answer::Silent(cause.desc().to_owned()));
        if sender.send((name.clone(), answer)).is_err() {
            break; // The pass is over.
        }
    }
    *lock(&ASKING) = false;
    ASKED.notify_all();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All digits are an id only when nobody has them for a name. Every error means that the name service cannot say: who is
/// not there is no error (glibc), but a directory's client that is down is one, `ENOENT` among others.
fn ask(name: &Acl) -> Result<Answer, Errno> {
    match name {
        Acl::User(name) => {
            let (id, user) = match (User::from_name(name)?, id(name)) {
                (Some(user), _) => (user.uid.as_raw(), Some(user)),
                (None, Some(id)) => (id, User::from_uid(Uid::from_raw(id))?),
                (None, None) => return Ok(Answer::Unknown),
            };
            let groups = match user {
                Some(user) => groups(&user)?,
                None => Vec::new(),
            };
            Ok(Answer::Known { holder: Holder::User(id), subject: Subject { user: Some(id), groups } })
        }
        Acl::Group(name) => {
            let Some(id) = Group::from_name(name)?.map(|group| group.gid.as_raw()).or_else(|| id(name)) else {
                return Ok(Answer::Unknown);
            };
            Ok(Answer::Known { holder: Holder::Group(id), subject: Subject { user: None, groups: vec![id] } })
        }
    }
}

fn groups(user: &User) -> Result<Vec<u32>, Errno> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    Ok(getgrouplist(&name, user.gid)?.into_iter().map(Gid::as_raw).collect())
}

fn id(name: &str) -> Option<u32> {
    let is_number = name.bytes().all(|c| c.is_ascii_digit());
    name.parse().ok().filter(|id| is_number && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn answers<const N: usize>(names: [Acl; N]) -> [Answer; N] {
        let service = Names::look_up(names.iter().cloned().collect());
        names.map(|name| service.answer(&name))
    }

    #[test]
    fn knows_the_groups_of_a_user() {
        let [root, daemon] = answers(["root", "daemon"].map(|name| Acl::User(name.into())));
        for (answer, name) in [(root, "root"), (daemon, "daemon")] {
            let primary = User::from_name(name).ok().flatten().map(|user| user.gid.as_raw());
            let Answer::Known { subject, .. } = answer else { panic!("{name}: {answer:?}") };
            assert_eq!(subject.groups.first().copied(), primary, "{name}");
        }
    }

    #[test]
    fn knows_names_and_ids_and_tells_strangers() {
        let user = |name: &str| Acl::User(name.into());
        let group = |name: &str| Acl::Group(name.into());
        let [root, by_id, stranger, everybody, nobody, too_large, signed] = answers([
            user("root"),
            user("0"),
            user("3999999999"),
            group("root"),
            user("no such user here"),
            user("4294967295"),
            user("+5"),
        ]);
        assert_eq!(root, by_id);
        assert!(matches!(root, Answer::Known { holder: Holder::User(0), subject } if subject.groups.contains(&0)));
        let subject = Subject { user: Some(3_999_999_999), groups: Vec::new() };
        assert_eq!(stranger, Answer::Known { holder: Holder::User(3_999_999_999), subject });
        let subject = Subject { user: None, groups: vec![0] };
        assert_eq!(everybody, Answer::Known { holder: Holder::Group(0), subject });
        assert_eq!([nobody, too_large, signed], [Answer::Unknown, Answer::Unknown, Answer::Unknown]);
    }
}
