//! Names of users and groups, looked up in the system's name service in a thread of their own: a directory server that hangs
//! must not stop a pass.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::settings::Acl;

use super::acl::{Holder, Subject};
use crate::network::Network;
use crate::system::{Account, find_account};

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
    /// Starts looking up these names, by way of `network`, and does not wait.
    pub(super) fn look_up(wanted: HashSet<Acl>, network: &Network) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let (sender, receiver) = channel();
        if !wanted.is_empty() {
            let network = network.clone();
            let work = move || ask_for_all(&wanted, &network, deadline, &sender);
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

fn ask_for_all(names: &HashSet<Acl>, network: &Network, deadline: Instant, sender: &Sender<(Acl, Answer)>) {
    let patience = deadline.saturating_duration_since(Instant::now());
    let waited = ASKED.wait_timeout_while(lock(&ASKING), patience, |asking| *asking);
    let (mut asking, result) = waited.unwrap_or_else(PoisonError::into_inner);
    if result.timed_out() {
        return;
    }
    *asking = true;
    drop(asking);
    for name in names {
        if sender.send((name.clone(), ask(name, network))).is_err() {
            break; // The pass is over.
        }
    }
    *lock(&ASKING) = false;
    ASKED.notify_all();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What this process finds out, or the one that has a network in its stead.
fn ask(name: &Acl, network: &Network) -> Answer {
    let found = match network {
        Network::Own => find_account(name),
        Network::Dialer(dialer) => dialer.account(name, PATIENCE),
    };
    match found {
        Ok(Some(Account::User { id, groups })) => {
            Answer::Known { holder: Holder::User(id), subject: Subject { user: Some(id), groups } }
        }
        Ok(Some(Account::Group { id })) => {
            Answer::Known { holder: Holder::Group(id), subject: Subject { user: None, groups: vec![id] } }
        }
        Ok(None) => Answer::Unknown,
        Err(cause) => Answer::Silent(cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_is_counted_by_is_an_id() {
        let user = |name: &str| Acl::User(name.into());
        let group = |name: &str| Acl::Group(name.into());
        let names = [user("3999999999"), group("root"), user("no such user here")];
        let service = Names::look_up(names.iter().cloned().collect(), &Network::Own);
        let [by_id, everybody, nobody] = names.map(|name| service.answer(&name));
        let subject = Subject { user: Some(3_999_999_999), groups: Vec::new() };
        assert_eq!(by_id, Answer::Known { holder: Holder::User(3_999_999_999), subject });
        let subject = Subject { user: None, groups: vec![0] };
        assert_eq!(everybody, Answer::Known { holder: Holder::Group(0), subject });
        assert_eq!(nobody, Answer::Unknown);
    }
}
