//! Which secret the lines of a thread are about, so that who logs deep below need not know.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::settings::SecretUrl;

thread_local! {
    static CURRENT: RefCell<Option<SecretUrl>> = const { RefCell::new(None) };
}

/// The lines of this thread are about one secret until this is dropped.
#[must_use = "it ends when it is dropped"]
pub struct Subject {
    before: Option<SecretUrl>,
    of_this_thread: PhantomData<*const ()>,
}

/// The lines of this thread are about this secret until the answer is dropped.
pub fn about(url: &SecretUrl) -> Subject {
    Subject { before: CURRENT.replace(Some(url.clone())), of_this_thread: PhantomData }
}

impl Drop for Subject {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// What a line of this thread is about now.
pub(super) fn current() -> Option<SecretUrl> {
    CURRENT.with_borrow(Clone::clone)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::Clouds;

    fn name() -> Option<String> {
        current().map(|url| url.name().to_owned())
    }

    #[test]
    fn lasts_as_long_as_it_is_held_and_gives_way_to_the_one_within() {
        let url = |name: &str| {
            SecretUrl::parse(&format!("https://contoso.vault.azure.net/secrets/{name}"), &Clouds::built_in()).unwrap()
        };
        assert_eq!(name(), None);
        let outer = about(&url("web"));
        let inner = about(&url("mail"));
        assert_eq!(name().as_deref(), Some("mail"));
        assert_eq!(std::thread::spawn(name).join().unwrap(), None, "another thread has its own");
        drop(inner);
        assert_eq!(name().as_deref(), Some("web"));
        drop(outer);
        assert_eq!(name(), None);
    }
}
