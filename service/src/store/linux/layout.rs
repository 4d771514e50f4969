//! Which links lead to a certificate, and what the files of its versions are called.

use std::cmp::min_by_key;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use common::settings::{Layout, ObservedCertificate, Version};
use rustix::fs::Dir;
use rustix::io::{Errno, retry_on_intr};

use super::directory::Directory;
use super::{StoreError, failed, link};

/// What the name of a link to a chain ends with.
pub(super) const CHAIN_LINK: &str = ".pem";

/// The links of a certificate in one folder; at least one of the two kinds.
pub(super) struct Links {
    /// `<vault>.<certificate>`, which its files are called after.
    pub(super) base: String,
    /// Leads to the file with chain and key.
    pub(super) combined: Option<String>,
    pub(super) split: Option<Split>,
}

/// The links of the layout of release 4.x, and the metadata beside them.
pub(super) struct Split {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) metadata: String,
}

/// The files with chain and key of one version, of which neither is of use without the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Links {
    /// As the settings say; where they say nothing, split links that stand go on beside the combined one, so that none is
    /// left behind: ours, or those of release 4.x, which knew no names from settings.
    pub(super) fn of(observed: &ObservedCertificate, folder: &Directory) -> Self {
        let (base, link) = (observed.base_name(), observed.link_name());
        let split = match observed.target.layout {
            Some(layout) => layout.is_split().then(|| Split::of(&link)),
            None if !folder.has_chains => None,
            None => {
                let names = [Some(&link), (link != base).then_some(&base)].into_iter().flatten();
                names.map(|name| Split::of(name)).find(|split| split.stands(folder, &base))
            }
        };
        let combined = observed.target.layout.is_none_or(Layout::is_combined).then_some(link);
        Self { base, combined, split }
    }

    /// The files of chain and key that the links lead to now.
    pub(super) fn pair(&self, folder: &Directory) -> Result<Option<Pair>, StoreError> {
        self.split.as_ref().map_or(Ok(None), |split| split.current(folder, &self.base))
    }

    /// The files that the links lead to now, those of the combined one first. `None` when there are none, or when the
    /// links to chain and key do not lead to the same version.
    pub(super) fn current(&self, folder: &Directory) -> Result<Option<Vec<String>>, StoreError> {
        if let Some(link) = &self.combined
            && let Some(name) = link::target(folder, link, &self.base)?
        {
            return Ok(Some(vec![name]));
        }
        Ok(self.pair(folder)?.map(|Pair { chain, key }| vec![chain, key]))
    }
}

impl Split {
    fn of(link: &str) -> Self {
        let [chain, key, metadata] = [CHAIN_LINK, ".keyid", ".luma"].map(|ending| format!("{link}{ending}"));
        Self { chain, key, metadata }
    }

    fn stands(&self, folder: &Directory, base: &str) -> bool {
        let target = link::target(folder, &self.chain, base);
        matches!(target, Ok(Some(name)) if Pair::beside(&name).is_some())
    }

    fn current(&self, folder: &Directory, base: &str) -> Result<Option<Pair>, StoreError> {
        let chain = link::target(folder, &self.chain, base)?;
        let key = link::target(folder, &self.key, base)?;
        Ok(chain.as_deref().and_then(Pair::beside).filter(|pair| key.as_ref() == Some(&pair.key)))
    }
}

impl Pair {
    /// `<vault>.<certificate>.<version>.pem.<time>` and `….keyid.<time>`. The time, in seconds since 1970, is when the
    /// leaf's validity begins.
    pub(super) fn of(base: &str, version: &Version, time: i64) -> Self {
        let (version, time) = (version.as_str(), time.max(0));
        Self { chain: format!("{base}.{version}.pem.{time}"), key: format!("{base}.{version}.keyid.{time}") }
    }

    /// The pair that a chain's file belongs to.
    fn beside(chain: &str) -> Option<Self> {
        let (version, time) = chain.rsplit_once(".pem.")?;
        Some(Self { chain: chain.to_owned(), key: format!("{version}.keyid.{time}") })
    }

    /// `<vault>.<certificate>.<version>`.
    fn version(&self) -> &str {
        self.chain.rsplit_once(".pem.").map_or(&self.chain, |(version, _)| version)
    }

    fn time(&self) -> u64 {
        self.chain.rsplit_once('.').and_then(|(_, time)| time.parse().ok()).unwrap_or(u64::MAX)
    }
}

/// The pairs in a folder, for versions that no link leads to.
#[derive(Default)]
pub(super) struct Pairs(Mutex<Known>);

/// Both by `<vault>.<certificate>.<version>`.
#[derive(Default)]
struct Known {
    /// In this pass.
    written: HashMap<String, Pair>,
    /// What the folder held when it was first asked for one.
    listed: Option<HashMap<String, Pair>>,
}

impl Pairs {
    /// The files of a version, whole or not. For the one that was just written, or that the links lead to, the folder is
    /// not read.
    pub(super) fn find(
        &self,
        folder: &Directory,
        links: (&Split, &str),
        version: &Version,
    ) -> Result<Option<Pair>, StoreError> {
        let (split, base) = links;
        let name = format!("{base}.{}", version.as_str());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = known.written.get(&name) {
            return Ok(Some(pair.clone()));
        }
        if let Ok(Some(pair)) = split.current(folder, base)
            && link::version_part(&pair.chain, base) == Some(version.as_str())
        {
            return Ok(Some(pair));
        }
        let listed = match &mut known.listed {
            Some(listed) => listed,
            unknown => unknown.insert(list(folder).map_err(failed("list the files in the folder", &folder.path))?),
        };
        Ok(listed.get(&name).cloned())
    }

    /// A pair was written.
    pub(super) fn learn(&self, pair: &Pair) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.written.insert(pair.version().to_owned(), pair.clone());
    }
}

/// All pairs by their versions. Of several of one version the earliest counts: ours, as release 4.x took a later time.
fn list(folder: &Directory) -> Result<HashMap<String, Pair>, Errno> {
    let mut pairs = HashMap::<String, Pair>::new();
    for entry in retry_on_intr(|| Dir::read_from(&folder.fd))? {
        let entry = entry?;
        let Some(pair) = entry.file_name().to_str().ok().and_then(Pair::beside) else { continue };
        let earliest = match pairs.remove(pair.version()) {
            Some(other) => min_by_key(other, pair, Pair::time),
            None => pair,
        };
        pairs.insert(earliest.version().to_owned(), earliest);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pair_is_known_by_its_chain() {
        let key = |chain: &str| Pair::beside(chain).map(|pair| pair.key);
        assert_eq!(key("v.c.01.pem.17"), Some("v.c.01.keyid.17".into()));
        assert_eq!(key("v.c.pem"), None);
        assert_eq!(key("v.c.01.keyid.17"), None);
    }

    #[test]
    fn of_several_pairs_of_a_version_the_earliest_counts() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["v.c.01.pem.9", "v.c.01.pem.17", "v.c.01.pem.x", "v.c.02.pem.17", "v.c.02.pem.9", "v.c.03.pem.x"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let directory = Directory::open(folder.path().to_owned(), std::fs::File::open(folder.path()).unwrap()).unwrap();
        let mut chains: Vec<_> = list(&directory).unwrap().into_values().map(|pair| pair.chain).collect();
        chains.sort();
        assert_eq!(chains, ["v.c.01.pem.9", "v.c.02.pem.9", "v.c.03.pem.x"]);
        let times = ["v.c.01.pem.0", "v.c.01.pem.17", "v.c.01.pem.x"].map(|chain| Pair::beside(chain).unwrap().time());
        assert_eq!(times, [0, 17, u64::MAX]);
    }
}
