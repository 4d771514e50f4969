//! How many versions stay.

use std::os::unix::fs::symlink;

use super::*;

/// One version a year.
const YEAR: i64 = 365 * 24 * 3600;

fn id(number: i64) -> String {
    format!("{number:032x}")
}

/// Writes these versions, in this order, and lets the links point to the last one.
fn install_all(observed: &ObservedCertificate, numbers: &[i64]) {
    let store = Store::open(std::slice::from_ref(observed), &Network::Own);
    for &number in numbers {
        store.write(observed, &version(&id(number)), &valid_from(1_500_000_000 + number * YEAR)).unwrap();
    }
    store.point(observed, &version(&id(*numbers.last().unwrap()))).unwrap();
}

fn prune(observed: &ObservedCertificate) {
    Store::open(std::slice::from_ref(observed), &Network::Own).finish(std::iter::once(observed));
}

/// The numbers of the versions that have a file.
fn left(world: &World) -> Vec<i64> {
    let number = |name: String| {
        let version = name.strip_prefix("contoso.web.")?.split('.').next()?.to_owned();
        (version.len() == 32).then(|| i64::from_str_radix(&version, 16).unwrap())
    };
    let mut left: Vec<i64> = names(&world.store()).into_iter().filter_map(number).collect();
    left.dedup();
    left
}

#[test]
fn the_versions_whose_validity_began_last_stay_in_every_layout() {
    for (layout, files) in [("combined", 1), ("split", 2), ("both", 3)] {
        let world = World::new();
        let members = format!(r#", "certificateFiles": "{layout}", "keepVersions": 2"#);
        let observed = parsed(&world.store(), &members);
        install_all(&observed, &[3, 1, 2, 4]);
        let links = names(&world.store()).len() - 4 * files;
        prune(&observed);
        assert_eq!(left(&world), [3, 4], "{layout}");
        assert_eq!(names(&world.store()).len(), links + 2 * files, "{layout}");
        assert!(find(&observed, &id(4)).unwrap().is_some() && find(&observed, &id(3)).unwrap().is_some());
        let before = state(&world.store());
        prune(&observed);
        assert_eq!(state(&world.store()), before, "{layout}");
    }
}

#[test]
fn nothing_is_removed_without_a_number_or_from_another_certificate() {
    let world = World::new();
    install_all(&world.observed(&[]), &[1, 2, 3]);
    let before = state(&world.store());
    prune(&world.observed(&[]));
    assert_eq!(state(&world.store()), before);
    let other = Settings::parse(
        serde_json::json!({"secretsManagementSettings": {"keepVersions": 1, "observedCertificates": [{
            "url": "https://contoso.vault.azure.net/secrets/we", "certificateStoreLocation": world.store(),
        }]}})
        .to_string()
        .as_bytes(),
        &Clouds::built_in(),
    );
    prune(&other.unwrap().certificates[0]);
    assert_eq!(state(&world.store()), before);
}

#[test]
fn what_a_link_leads_to_stays_whoever_made_the_link() {
    let world = World::new();
    let observed = parsed(&world.store(), r#", "certificateFiles": "split", "keepVersions": 1"#);
    install_all(&observed, &[1, 2, 3, 5, 4]);
    symlink(world.store().join(format!("contoso.web.{}.pem.{}", id(2), 1_500_000_000 + 2 * YEAR)), world.path("x"))
        .unwrap();
    fs::rename(world.path("x"), world.store().join("pinned-by-hand")).unwrap();
    prune(&observed);
    assert_eq!(left(&world), [2, 4, 5], "linked by hand, in use, newest");
    assert_eq!(names(&world.store()).iter().filter(|name| name.contains(&id(2))).count(), 2, "with its key");
}

#[test]
fn what_we_did_not_write_or_is_not_as_we_wrote_it_stays() {
    let world = World::new();
    let observed = parsed(&world.store(), r#", "keepVersions": 1"#);
    install_all(&observed, &[1, 2, 3]);
    let theirs = [
        format!("contoso.web.{}", id(10)),
        format!("contoso.web.{}.1600000000.1700000000.PEM", id(11)),
        format!("contoso.web.{}.keyid.1711111111", id(12)),
        format!("contoso.web.{}.bak", id(1)),
    ];
    for name in &theirs {
        fs::write(world.store().join(name), pem(&certificate())).unwrap();
    }
    fs::write(file(&world, &id(1)), "edited").unwrap();
    fs::create_dir(file(&world, &id(13))).unwrap();
    prune(&observed);
    assert_eq!(left(&world), [1, 3, 10, 11, 12, 13]);
    assert!(theirs.iter().all(|name| world.store().join(name).exists()));
}
