//! Which keys are on a curve without a name, told by the shape of their parameters.

use super::world::*;
use crate::certificate::ber::Reader;
use crate::certificate::curve::{certificate_names_it, sec1_names_it};

/// What is said of a certificate whose key has these parameters, whatever its kind.
fn named(parameters: &[u8]) -> Option<bool> {
    let kind = oid("1.2.840.10045.2.1");
    let key = seq(&[&seq(&[&kind, parameters]), &der(0x03, &[&[0, 4]])]);
    let certificate = |version: &[u8]| {
        let empty = seq(&[]);
        let fields = seq(&[version, &integer(7), &empty, &empty, &empty, &empty, &key]);
        let certificate = seq(&[&fields]);
        certificate_names_it(&Reader::new(&certificate).next().unwrap()).ok()
    };
    let outcome = certificate(&der(0xa0, &[&integer(2)]));
    assert_eq!(certificate(&[]), outcome, "the version is optional");
    outcome
}

#[test]
fn the_shape_of_the_parameters_tells_a_curve_that_is_written_out() {
    let (number, name) = (integer(5), oid("1.2.840.10045.3.1.7"));
    for parameters in [
        &[][..],
        NULL,
        &name,
        &seq(&[]),
        // GOST; RSASSA-PSS; DSA and DH.
        &seq(&[&name, &name]),
        &seq(&[&der(0xa0, &[&seq(&[])])]),
        &seq(&[&der(0xa2, &[&number])]),
        &seq(&[&number, &number, &number]),
    ] {
        assert_eq!(named(parameters), Some(true), "{parameters:02x?}");
    }
    for parameters in [
        &seq(&[&number, &seq(&[&name, &number])])[..],
        &seq(&[&seq(&[&name])]),
        &seq(&[&octets(b"x")]),
        &seq(&[&der(0x80, &[&number])]),
        &octets(b"x"),
        &number,
    ] {
        assert_eq!(named(parameters), Some(false), "{parameters:02x?}");
    }
    assert_eq!(named(&seq(&[&number])), None);
}

#[test]
fn a_key_of_sec1_names_its_curve_or_leaves_it_to_what_is_around() {
    let key = |more: &[&[u8]]| sec1_names_it(&seq(&[&integer(1), &octets(&[7; 32]), &more.concat()])).ok();
    let named = der(0xa0, &[&oid("1.2.840.10045.3.1.7")]);
    let written_out = der(0xa0, &[&seq(&[&integer(1)])]);
    let public = der(0xa1, &[&der(0x03, &[&[0, 4]])]);
    for (more, outcome) in [
        (&[][..], Some(true)),
        (&[&named], Some(true)),
        (&[&public], Some(true)),
        (&[&named, &public], Some(true)),
        (&[&written_out], Some(false)),
        (&[&public, &written_out], Some(false)),
        (&[&octets(b"x")], None),
    ] {
        let more: Vec<_> = more.iter().map(|field| field.as_slice()).collect();
        assert_eq!(key(&more), outcome, "{more:02x?}");
    }
}
