//! Which versions of a certificate shall be in place, by the vault's list of them. Pure.
//!
//! A list says of each version when it was created and whether it is enabled; its order means nothing. An operator rolls
//! back by disabling the newest version, so it is the newest enabled one that counts.

use std::cmp::Reverse;

use common::settings::Version;

/// A version as a list shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) version: Version,
    pub(crate) is_enabled: bool,
    /// Seconds since 1970.
    pub(crate) created: i64,
}

/// What a list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The newest enabled version, which the link shall lead to.
    pub(crate) newest: Version,
    /// The enabled version before it.
    pub(crate) second: Option<Version>,
    /// The newest of all, where it is not that one because it is disabled.
    pub(crate) disabled: Option<Version>,
}

/// Reads a list. `None` when it does not say which version is the newest: none is enabled, or two are of the same second.
pub(crate) fn choose(list: &[Listed]) -> Option<Choice> {
    let mut enabled: Vec<&Listed> = list.iter().filter(|listed| listed.is_enabled).collect();
    enabled.sort_by_key(|listed| Reverse(listed.created));
    let newest = *enabled.first()?;
    // A version that was added while the pages were read may be on two of them.
    let second = enabled.into_iter().find(|listed| listed.version != newest.version);
    if second.is_some_and(|second| second.created == newest.created) {
        return None;
    }
    let disabled = list.iter().filter(|listed| !listed.is_enabled && listed.created > newest.created);
    Some(Choice {
        newest: newest.version,
        second: second.map(|listed| listed.version),
        disabled: disabled.max_by_key(|listed| listed.created).map(|listed| listed.version),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn version(digit: char) -> Version {
        Version::parse(&digit.to_string().repeat(32)).unwrap()
    }

    /// Versions `1`, `2`, … with these times of creation; a negative one is disabled.
    fn list(created: &[i64]) -> Vec<Listed> {
        let listed = |(digit, &created): (char, &i64)| Listed {
            version: version(digit),
            is_enabled: created > 0,
            created: created.abs(),
        };
        ('1'..='9').zip(created).map(listed).collect()
    }

    fn chosen(created: &[i64]) -> Option<(Version, Option<Version>, Option<Version>)> {
        choose(&list(created)).map(|choice| (choice.newest, choice.second, choice.disabled))
    }

    #[test]
    fn takes_the_two_newest_enabled_ones_in_whatever_order_they_come() {
        let [one, two, three] = ['1', '2', '3'].map(version);
        assert_eq!(chosen(&[10]), Some((one, None, None)));
        assert_eq!(chosen(&[10, 30, 20]), Some((two, Some(three), None)));
        assert_eq!(chosen(&[30, 10, 20]), Some((one, Some(three), None)));
        assert_eq!(chosen(&[30, -29, 20]), Some((one, Some(three), None)));
    }

    #[test]
    fn passes_over_what_is_disabled_and_says_so() {
        let [one, two, three, four] = ['1', '2', '3', '4'].map(version);
        assert_eq!(chosen(&[10, -20]), Some((one, None, Some(two))));
        assert_eq!(chosen(&[-40, 10, 20, -30]), Some((three, Some(two), Some(one))));
        assert_eq!(chosen(&[-30, 10, 20, -40]), Some((three, Some(two), Some(four))));
        assert_eq!(chosen(&[-10, 20]), Some((two, None, None)), "an old one is nobody's concern");
    }

    #[test]
    fn leaves_open_what_the_list_does_not_say() {
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[-10, -20]), None);
        assert_eq!(chosen(&[20, 10, 20]), None);
        let [one, three] = ['1', '3'].map(version);
        assert_eq!(
            chosen(&[30, 10, 20, 10]),
            Some((one, Some(three), None)),
            "old ones may well be of the same second"
        );
    }

    #[test]
    fn counts_a_version_on_two_pages_once() {
        let mut twice = list(&[10, 20]);
        twice.push(twice[1]);
        assert_eq!(choose(&twice).map(|choice| choice.second), Some(Some(version('1'))));
    }
}
