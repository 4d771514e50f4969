//! Which version of each certificate its applications have read: the memory that outlives a crash between an installation
//! and what follows from it. A link that leads to another version than the ledger says has moved, whenever that was.

use std::collections::{BTreeMap, BTreeSet};

use common::settings::{Action, AfterRenewal};
use serde::{Deserialize, Serialize};

use super::note::Leaf;

/// All that is known, by the first path of each certificate.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    certificates: BTreeMap<String, Entry>,
}

/// One certificate.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// What applications have read; nothing before the first installation.
    served: Option<Leaf>,
    /// What they shall read.
    pending: Option<Pending>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    leaf: Leaf,
    done: BTreeSet<Action>,
    /// Whether something was begun: who was told of this version may have read it.
    is_begun: bool,
}

impl Ledger {
    /// Whether nothing is known of a certificate.
    pub(crate) fn is_new(&self, place: &str) -> bool {
        !self.certificates.contains_key(place)
    }

    /// Notes what was in place before this service looked at it first.
    pub(crate) fn begin(&mut self, place: &str, found: Option<Leaf>) {
        self.certificates.insert(place.to_owned(), Entry { served: found, pending: None });
    }

    /// Forgets the certificates that the settings do not name.
    pub(crate) fn keep_only(&mut self, places: &BTreeSet<String>) {
        self.certificates.retain(|place, _| places.contains(place));
    }

    /// Learns what the link leads to; true when actions are due that were not before.
    pub(crate) fn learn(&mut self, place: &str, leaf: &Leaf, wanted: &AfterRenewal) -> bool {
        let entry = self.certificates.entry(place.to_owned()).or_insert_with(|| Entry {
            // Nobody knows what was there before.
            served: Some(leaf.clone()),
            pending: None,
        });
        if entry.pending.as_ref().is_some_and(|pending| pending.leaf == *leaf) {
            return false;
        }
        if let Some(overtaken) = entry.pending.take().filter(|pending| pending.is_begun) {
            entry.served = Some(overtaken.leaf);
        }
        let is_first = entry.served.is_none();
        if entry.served.as_ref() == Some(leaf) {
            return false;
        }
        if (is_first && !wanted.on_first_install) || wanted.actions.is_empty() {
            entry.served = Some(leaf.clone());
            return false;
        }
        entry.pending = Some(Pending { leaf: leaf.clone(), done: BTreeSet::new(), is_begun: false });
        true
    }

    /// What has moved and is not finished: from what, to what, and which of the `wanted` actions are still to be done.
    pub(crate) fn pending(&self, place: &str, wanted: &AfterRenewal) -> Option<(Option<&Leaf>, &Leaf, Vec<Action>)> {
        let entry = self.certificates.get(place)?;
        let pending = entry.pending.as_ref()?;
        let left = wanted.actions.iter().filter(|action| !pending.done.contains(action)).cloned().collect();
        Some((entry.served.as_ref(), &pending.leaf, left))
    }

    /// What the link leads to, as far as is known.
    pub(crate) fn current(&self, place: &str) -> Option<&Leaf> {
        let entry = self.certificates.get(place)?;
        entry.pending.as_ref().map(|pending| &pending.leaf).or(entry.served.as_ref())
    }

    /// Somebody is told of this version.
    pub(crate) fn begun(&mut self, place: &str, leaf: &Leaf) {
        if let Some(pending) = self.pending_of(place, leaf) {
            pending.is_begun = true;
        }
    }

    /// An action for this version was done.
    pub(crate) fn done(&mut self, place: &str, leaf: &Leaf, action: &Action) {
        if let Some(pending) = self.pending_of(place, leaf) {
            pending.done.insert(action.clone());
        }
    }

    /// Closes a certificate of which all is done; true when it was open.
    pub(crate) fn close(&mut self, place: &str, wanted: &AfterRenewal) -> bool {
        let Some(entry) = self.certificates.get_mut(place) else { return false };
        let is_done = |pending: &mut Pending| wanted.actions.iter().all(|action| pending.done.contains(action));
        let Some(finished) = entry.pending.take_if(is_done) else { return false };
        entry.served = Some(finished.leaf);
        true
    }

    fn pending_of(&mut self, place: &str, leaf: &Leaf) -> Option<&mut Pending> {
        self.certificates.get_mut(place)?.pending.as_mut().filter(|pending| pending.leaf == *leaf)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLACE: &str = "/srv/certs/contoso.web";

    fn leaf(version: &str) -> Leaf {
        Leaf { version: version.to_owned(), thumbprint: format!("{version}{version}") }
    }

    fn wanted(on_first_install: bool) -> AfterRenewal {
        let actions = [json!({"hook": "deploy"}), json!({"reload": "nginx.service"})];
        let actions = actions.into_iter().map(|action| serde_json::from_value(action).unwrap()).collect();
        AfterRenewal { actions, splay: None, on_first_install }
    }

    fn left(ledger: &Ledger) -> usize {
        ledger.pending(PLACE, &wanted(false)).map_or(0, |(_, _, left)| left.len())
    }

    #[test]
    fn a_link_that_moved_is_pending_until_all_is_done_also_after_a_crash() {
        let mut ledger = Ledger::default();
        let wanted = wanted(false);
        ledger.begin(PLACE, Some(leaf("a")));
        assert!(!ledger.learn(PLACE, &leaf("a"), &wanted));
        assert!(ledger.learn(PLACE, &leaf("b"), &wanted));
        assert!(!ledger.learn(PLACE, &leaf("b"), &wanted), "known");
        ledger.done(PLACE, &leaf("b"), &wanted.actions[0]);
        assert!(!ledger.close(PLACE, &wanted));
        let mut ledger: Ledger = serde_json::from_value(serde_json::to_value(&ledger).unwrap()).unwrap();
        assert_eq!(
            ledger.pending(PLACE, &wanted),
            Some((Some(&leaf("a")), &leaf("b"), vec![wanted.actions[1].clone()]))
        );
        ledger.done(PLACE, &leaf("b"), &wanted.actions[1]);
        assert!(ledger.close(PLACE, &wanted) && ledger.pending(PLACE, &wanted).is_none());
        assert!(!ledger.learn(PLACE, &leaf("b"), &wanted));
    }

    #[test]
    fn a_first_installation_counts_only_where_it_is_said() {
        for counts in [false, true] {
            let mut ledger = Ledger::default();
            ledger.begin(PLACE, None);
            assert_eq!(ledger.learn(PLACE, &leaf("a"), &wanted(counts)), counts);
            assert_eq!(left(&ledger), if counts { 2 } else { 0 });
        }
        let mut unknown = Ledger::default();
        assert!(!unknown.learn(PLACE, &leaf("a"), &wanted(true)), "it may have been there for a year");
    }

    #[test]
    fn a_way_back_is_a_renewal_when_somebody_was_told_of_the_way_there() {
        for is_begun in [false, true] {
            let mut ledger = Ledger::default();
            ledger.begin(PLACE, Some(leaf("a")));
            ledger.learn(PLACE, &leaf("b"), &wanted(false));
            if is_begun {
                ledger.begun(PLACE, &leaf("b"));
            }
            assert_eq!(ledger.learn(PLACE, &leaf("a"), &wanted(false)), is_begun);
            assert_eq!(left(&ledger), if is_begun { 2 } else { 0 });
        }
    }

    #[test]
    fn what_is_done_for_one_version_is_not_done_for_the_next() {
        let mut ledger = Ledger::default();
        ledger.begin(PLACE, Some(leaf("a")));
        ledger.learn(PLACE, &leaf("b"), &wanted(false));
        ledger.learn(PLACE, &leaf("c"), &wanted(false));
        ledger.done(PLACE, &leaf("b"), &wanted(false).actions[0]);
        assert_eq!(left(&ledger), 2);
        assert_eq!(ledger.pending(PLACE, &wanted(false)).unwrap().1, &leaf("c"));
    }
}
