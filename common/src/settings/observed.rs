//! The list `observedCertificates`: bare URLs of 1.x, objects of 3.x, each a certificate, where it comes from and where it goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::keys::Place;
use super::reader::{Findings, Node};
use super::target::{Defaults, Target};
use super::{AfterRenewal, Clouds, Identity, SecretUrl, identity};

/// A certificate to keep installed: where it comes from and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedCertificate {
    /// The secret that holds the certificate with its key.
    pub url: SecretUrl,
    /// The identity that may read it.
    pub identity: Arc<Identity>,
    /// Where this system keeps it.
    pub target: Target,
    /// What is done when its link has moved.
    pub after_renewal: Option<Arc<AfterRenewal>>,
}

impl ObservedCertificate {
    /// `<vault>.<certificate>`, what the files of this certificate are called after.
    pub fn base_name(&self) -> String {
        [self.url.vault(), ".", self.url.name()].concat()
    }

    /// The name of the link that applications use.
    pub fn link_name(&self) -> String {
        self.target.link_name(&self.base_name())
    }

    /// The files of this certificate, which other entries may share.
    pub fn files(&self) -> String {
        self.target.place(&self.base_name())
    }

    /// The same, sharing memory with its neighbour in the list.
    fn sharing(self, other: &Self) -> Self {
        Self { url: self.url.sharing(&other.url), target: self.target.sharing(&other.target), ..self }
    }

    /// Where applications find it: the file with chain and key, or the chain beside its key.
    pub fn place(&self) -> String {
        self.places().into_iter().next().unwrap_or_default()
    }

    /// All the paths that applications use.
    pub fn places(&self) -> Vec<String> {
        self.target.names(&self.link_name()).iter().map(|name| self.target.place(name)).collect()
    }
}

/// What holds for certificates that do not say otherwise.
pub(super) struct Usual<'a> {
    pub(super) identity: Option<&'a Arc<Identity>>,
    pub(super) target: &'a Defaults,
    pub(super) after_renewal: Option<&'a Arc<AfterRenewal>>,
}

/// Reads the list. An entry that is refused is left out.
pub(super) fn parse(
    list: &Node<'_>,
    usual: &Usual<'_>,
    clouds: &Clouds,
    findings: &mut Findings,
) -> Vec<ObservedCertificate> {
    let Some(items) = list.list(findings) else { return Vec::new() };
    let mut items = items.peekable();
    if items.peek().is_none() {
        findings.warning(list.path(), "is empty: nothing will be installed");
    }
    let mut list =
        Certificates { kept: Vec::with_capacity(items.size_hint().1.unwrap_or(0)), ..Certificates::default() };
    for item in items {
        if let Some(certificate) = read(&item, usual, clouds, findings) {
            list.add(item.path(), certificate, findings);
        }
    }
    list.kept
}

fn read(item: &Node<'_>, usual: &Usual<'_>, clouds: &Clouds, findings: &mut Findings) -> Option<ObservedCertificate> {
    let url_node = if item.text().is_some() {
        item.clone()
    } else if item.is_object() {
        item.warn_about_all_but(Place::Certificate, findings);
        let Some(url) = item.child("url") else {
            findings.error(
                &format!("{}.url", item.path()),
                "is missing: write the secret's URL, https://VAULT.vault.azure.net/secrets/NAME",
            );
            return None;
        };
        url
    } else {
        findings
            .error(item.path(), format!("must be the URL of a secret or an object with \"url\", not {}", item.kind()));
        return None;
    };
    let url = url_node.parsed(findings, |text| SecretUrl::parse(text, clouds));
    let target = Target::parse(item, usual.target, findings);
    let identity = match item.child("authenticationOverride") {
        Some(node) => identity::parse_override(&node, usual.identity.map(Arc::as_ref), findings).map(Arc::new),
        None => usual.identity.cloned(),
    };
    let after_renewal = match item.child("afterRenewal") {
        Some(node) => AfterRenewal::parse(&node, findings).map(Arc::new),
        None => usual.after_renewal.cloned(),
    };
    Some(ObservedCertificate { url: url?, identity: identity?, target: target?, after_renewal })
}

/// The list as it grows. Two certificates must not take the same link in the same folder; the very same entry twice is
/// only said.
#[derive(Default)]
struct Certificates {
    kept: Vec<ObservedCertificate>,
    paths: Vec<String>,
    places: HashMap<String, usize>,
    /// The first entry of each certificate in each folder: others share its files.
    files: HashMap<String, usize>,
}

impl Certificates {
    fn add(&mut self, path: &str, mut certificate: ObservedCertificate, findings: &mut Findings) {
        let files = certificate.target.place(&certificate.base_name().to_ascii_lowercase());
        let first = self.files.get(&files).copied().unwrap_or(self.kept.len());
        if let Some(first_kept) = self.kept.get(first)
            && !certificate.target.agrees_with(&first_kept.target)
        {
            findings.error(
                path,
                format!(
                    "shares its file with {}, which gives it another owner, group, mode or keepVersions: write the same in both, or \
                     choose another certificateStoreLocation",
                    self.paths[first]
                ),
            );
            return;
        }
        if let Some(first_kept) = self.kept.get(first)
            && certificate.url.spell_like(&first_kept.url)
        {
            findings.warning(
                path,
                format!(
                    "names a secret that {} spells in another case: it is one, and called as there",
                    self.paths[first]
                ),
            );
        }
        let places = certificate.places();
        let taken = places.iter().find_map(|place| Some((place, *self.places.get(place)?)));
        let Some((place, earlier)) = taken else {
            self.files.insert(files, first);
            self.places.extend(places.into_iter().map(|place| (place, self.kept.len())));
            self.paths.push(path.to_owned());
            self.kept.push(match self.kept.last() {
                Some(last) => certificate.sharing(last),
                None => certificate,
            });
            return;
        };
        let (earlier_path, earlier) = (&self.paths[earlier], &self.kept[earlier]);
        if *earlier == certificate {
            findings.warning(path, format!("is the same as {earlier_path}: installed once"));
        } else {
            findings.error(
                path,
                format!(
                    "would take the same place, {place}, as {earlier_path} ({}): give one of them another \
                     customSymbolicLinkName or certificateStoreLocation",
                    earlier.url
                ),
            );
        }
    }
}
