//! The POSIX access control list of one file or directory as a value: its form in the extended attribute
//! `system.posix_acl_access`, whom it lets through, and how a right is added without giving anybody else one.
//!
//! It knows ids only: names are resolved elsewhere (`names`), and which rights somebody shall have is
//! decided elsewhere (`grants`).

use std::collections::BTreeMap;

/// The extended attribute that holds the list (`acl(5)`, Linux).
pub(super) const ATTRIBUTE: &str = "system.posix_acl_access";

/// To read a file, or to list a directory.
pub(super) const READ: u8 = 4;
/// To pass through a directory.
pub(super) const TRAVERSE: u8 = 1;
const ALL: u8 = 7;

/// `POSIX_ACL_XATTR_VERSION` and the tags of `linux/posix_acl.h`.
const VERSION: u32 = 2;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// `ACL_UNDEFINED_ID`: the id of an entry that names nobody.
const NOBODY: u32 = u32::MAX;

/// Somebody whom an entry of a list names. The order is the one the kernel wants entries in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    User(u32),
    Group(u32),
}

/// Somebody as the kernel sees him when he opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// `None` for "any member of the groups".
    pub(super) user: Option<u32>,
    /// The primary group and the supplementary ones.
    pub(super) groups: Vec<u32>,
}

/// Owner and group of a file, without whom its list has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// The permissions of one file: bits of [`READ`], write (2) and [`TRAVERSE`] for everybody concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessList {
    owner: u8,
    owning_group: u8,
    named: BTreeMap<Holder, u8>,
    /// Limits all entries but the owner's and `other`; present whenever somebody is named.
    mask: Option<u8>,
    other: u8,
}

impl AccessList {
    /// The list that the mode bits of a file without an extended one stand for.
    pub(super) fn from_mode(mode: u32) -> Self {
        let bits = |shift: u32| (mode >> shift) as u8 & ALL;
        Self { owner: bits(6), owning_group: bits(3), named: BTreeMap::new(), mask: None, other: bits(0) }
    }

    /// Reads the attribute's value. `None` when it is not a list that the kernel would have stored.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (version, entries) = value.split_first_chunk::<4>()?;
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != VERSION || !rest.is_empty() {
            return None;
        }
        let (mut owner, mut owning_group, mut other) = (None, None, None);
        let (mut named, mut mask) = (BTreeMap::new(), None);
        for &[t0, t1, p0, p1, i0, i1, i2, i3] in entries {
            let rights = u8::try_from(u16::from_le_bytes([p0, p1])).ok().filter(|rights| *rights <= ALL)?;
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            let twice = match u16::from_le_bytes([t0, t1]) {
                OWNER => owner.replace(rights),
                USER => named.insert(Holder::User(id), rights),
                OWNING_GROUP => owning_group.replace(rights),
                GROUP => named.insert(Holder::Group(id), rights),
                MASK => mask.replace(rights),
                OTHER => other.replace(rights),
                _ => return None,
            };
            if twice.is_some() {
                return None;
            }
        }
        if mask.is_none() && !named.is_empty() {
            return None;
        }
        Some(Self { owner: owner?, owning_group: owning_group?, named, mask, other: other? })
    }

    /// The attribute's value: a header and one entry of eight bytes each, sorted, little-endian.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        let mut entry = |tag: u16, rights: u8, id: u32| {
            value.extend(tag.to_le_bytes());
            value.extend(u16::from(rights).to_le_bytes());
            value.extend(id.to_le_bytes());
        };
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for (holder, &rights) in &self.named {
            match *holder {
                Holder::User(id) => users.push((id, rights)),
                Holder::Group(id) => groups.push((id, rights)),
            }
        }
        entry(OWNER, self.owner, NOBODY);
        users.iter().for_each(|&(id, rights)| entry(USER, rights, id));
        entry(OWNING_GROUP, self.owning_group, NOBODY);
        groups.iter().for_each(|&(id, rights)| entry(GROUP, rights, id));
        if let Some(mask) = self.mask {
            entry(MASK, mask, NOBODY);
        }
        entry(OTHER, self.other, NOBODY);
        value
    }

    /// Whether the entry of this holder gives all these rights.
    pub(super) fn grants(&self, holder: Holder, rights: u8) -> bool {
        self.named.get(&holder).is_some_and(|given| given & self.limit() & rights == rights)
    }

    /// Gives a holder more rights, and nobody else any: when the mask has to grow, entries that it kept without
    /// effect are cut down to what they really gave.
    pub(super) fn grant(&mut self, holder: Holder, rights: u8) {
        if rights & !self.limit() != 0 {
            self.apply_mask();
        }
        *self.named.entry(holder).or_insert(0) |= rights;
        self.mask = Some(self.mask.unwrap_or(self.owning_group) | rights);
    }

    /// Takes rights from a holder's entry, and the entry away when it gives nothing any more.
    pub(super) fn revoke(&mut self, holder: Holder, rights: u8) {
        let Some(given) = self.named.get_mut(&holder) else { return };
        *given &= !rights;
        if *given == 0 {
            self.named.remove(&holder);
        }
        if self.named.is_empty() {
            self.apply_mask();
            self.mask = None;
        } else {
            let given = self.named.values().fold(self.owning_group, |all, rights| all | rights);
            self.mask = self.mask.map(|mask| mask & given);
        }
    }

    /// Takes all rights from those who are neither owner nor group nor named.
    pub(super) fn shut_others_out(&mut self) {
        self.other = 0;
    }

    /// Gives owner and owning group what a mode gives them, and nobody else anything.
    pub(super) fn set_mode(&mut self, mode: u32) {
        let Self { owner, owning_group, .. } = Self::from_mode(mode);
        self.apply_mask();
        (self.owner, self.owning_group) = (owner, owning_group);
        let given = self.named.values().fold(owning_group, |all, rights| all | rights);
        self.mask = (!self.named.is_empty()).then_some(given);
    }

    /// Takes all rights from the owning group.
    pub(super) fn shut_group_out(&mut self) {
        self.owning_group = 0;
        if self.named.is_empty() {
            self.mask = None;
        }
    }

    /// Gives the owner rights.
    pub(super) fn grant_owner(&mut self, rights: u8) {
        self.owner |= rights;
    }

    /// Turns the rights of the owning group into an entry that names it, for a file of another group.
    pub(super) fn name_owning_group(&mut self, group: u32) {
        let rights = self.owning_group & self.limit();
        self.owning_group = 0;
        if rights != 0 {
            self.grant(Holder::Group(group), rights);
        }
    }

    /// Whether the kernel lets this subject do all this, by the algorithm of `acl(5)` ("access check").
    pub(super) fn allows(&self, owner: Owner, subject: &Subject, rights: u8) -> bool {
        let enough = |given: u8| given & rights == rights;
        if let Some(user) = subject.user {
            if user == owner.user {
                return enough(self.owner);
            }
            if let Some(given) = self.named.get(&Holder::User(user)) {
                return enough(given & self.limit());
            }
        }
        let mut of_groups = subject
            .groups
            .iter()
            .flat_map(|group| {
                let owning = (*group == owner.group).then_some(self.owning_group);
                owning.into_iter().chain(self.named.get(&Holder::Group(*group)).copied())
            })
            .peekable();
        if of_groups.peek().is_some() {
            return of_groups.any(|given| enough(given & self.limit()));
        }
        enough(self.other)
    }

    fn limit(&self) -> u8 {
        self.mask.unwrap_or(ALL)
    }

    fn apply_mask(&mut self) {
        let limit = self.limit();
        self.owning_group &= limit;
        self.named.values_mut().for_each(|rights| *rights &= limit);
    }
}

#[cfg(test)]
mod tests;
