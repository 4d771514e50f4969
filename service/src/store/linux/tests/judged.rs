//! What was remarked on a chain, and a machine that trusts others since.

use std::time::Duration;

use super::*;
use crate::certificate::validation::DISTRUSTED;

#[test]
fn a_chain_is_judged_again_when_the_trust_has_changed_since_its_file_was_written() {
    let world = World::new();
    let odd = "it is odd".to_owned();
    let before = format!("{DISTRUSTED}: somebody was not trusted");
    let remarks = vec![odd.clone(), before];
    // Nobody trusts who issues the certificates of these tests.
    let trust = Arc::new(Trust::load(Arc::new(rustls::crypto::ring::default_provider())).unwrap());
    for members in ["", r#", "certificateFiles": "split""#] {
        let observed = parsed(&world.store(), members);
        let store = Store::open(std::slice::from_ref(&observed), &Network::Own).judging_by(Some(Arc::clone(&trust)));
        store.install(&observed, &version(NEW), &certificate(), remarks.clone()).unwrap();
        let remarks_of_file_written = |time| {
            for name in names(&world.store()) {
                fs::File::open(world.store().join(name)).unwrap().set_modified(time).unwrap();
            }
            store.find(&observed, &version(NEW)).unwrap().unwrap().warnings
        };
        let after = remarks_of_file_written(trust.changed() + Duration::from_nanos(1));
        assert_eq!(after, remarks, "{members}: what was found out by this trust is still so");
        for earlier in [Duration::ZERO, Duration::from_secs(1)] {
            let again = remarks_of_file_written(trust.changed() - earlier);
            let [kept, found] = &again[..] else { panic!("{members}: {again:?}") };
            assert_eq!(*kept, odd, "{members}");
            assert!(found.starts_with(DISTRUSTED) && found.contains("web.example"), "{members}: {found}");
        }
    }
}
