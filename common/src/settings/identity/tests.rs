//! Endpoints and identities, as the settings, and the endpoint also as the environment, may spell them.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn understands_every_documented_spelling_of_the_endpoint() {
    for (text, meant) in [
        ("http://169.254.169.254", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://169.254.169.254/", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://169.254.169.254/metadata/identity", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://169.254.169.254/metadata/identity/", "http://169.254.169.254/metadata/identity/oauth2/token"),
        (
            "http://169.254.169.254:80/metadata/identity/oauth2/token",
            "http://169.254.169.254/metadata/identity/oauth2/token",
        ),
        (
            "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01",
            "http://169.254.169.254/metadata/identity/oauth2/token",
        ),
        ("http://localhost:40342/metadata/identity", "http://localhost:40342/metadata/identity/oauth2/token"),
        ("http://localhost:50342/oauth2/token", "http://localhost:50342/oauth2/token"),
        ("http://[::1]:40342/metadata/identity", "http://[::1]:40342/metadata/identity/oauth2/token"),
        ("HTTP://LOCALHOST:40342", "http://localhost:40342/metadata/identity/oauth2/token"),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint.to_string(), meant, "{text}");
        assert!(meant.ends_with(endpoint.path()) && endpoint.path().starts_with('/'), "{text}: {}", endpoint.path());
    }
}

#[test]
fn refuses_an_endpoint_on_another_machine() {
    for text in [
        "https://169.254.169.254/metadata/identity",
        "http://169.254.169.254.evil.example/metadata/identity",
        "http://169.254.169.254@evil.example/",
        "http://evil.example/metadata/identity",
        "http://10.0.0.1/metadata/identity",
        "http://localhost.evil.example",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:/",
        "http://[::2]/",
        "http://169.254.169.254/../other",
        "http://169.254.169.254\\@evil.example",
        "http://169.254.169.254/metadata%2fidentity",
        "http://169.254.169.254/metadata identity",
        "http://localhost:40342/metadata#identity",
        "file:///etc/passwd",
        "169.254.169.254",
    ] {
        assert!(Endpoint::parse(text).is_err(), "{text}");
    }
}

#[test]
fn takes_the_port_of_the_arc_agent_for_the_arc_agent() {
    for (text, protocol) in [
        ("http://localhost:40342/metadata/identity", Protocol::Arc),
        ("http://127.0.0.1:40342", Protocol::Arc),
        ("http://[::1]:40342/metadata/identity/oauth2/token", Protocol::Arc),
        ("http://localhost:50342/oauth2/token", Protocol::Metadata),
        ("http://169.254.169.254:40342/metadata/identity", Protocol::Metadata),
        ("http://169.254.169.254/metadata/identity", Protocol::Metadata),
    ] {
        assert_eq!(Endpoint::parse(text).unwrap().protocol(), protocol, "{text}");
    }
}

#[test]
fn takes_the_arc_agent_at_its_word_on_this_machine_only() {
    let other_port = Endpoint::parse_arc("http://localhost:41000/metadata/identity/oauth2/token").unwrap();
    assert_eq!(other_port.protocol(), Protocol::Arc);
    for text in ["http://169.254.169.254/metadata/identity/oauth2/token", "http://10.0.0.1:40342/", "localhost:40342"] {
        assert!(Endpoint::parse_arc(text).is_err(), "{text}");
    }
}

#[test]
fn tells_client_ids_from_resource_ids() {
    assert_eq!(selector("").unwrap(), Selector::SystemAssigned);
    assert_eq!(
        selector("00001111-AAAA-2222-bbbb-3333cccc4444").unwrap(),
        Selector::ClientId("00001111-aaaa-2222-bbbb-3333cccc4444".to_owned())
    );
    let resource = "/subscriptions/00001111-aaaa-2222-bbbb-3333cccc4444/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app1";
    assert_eq!(selector(resource).unwrap(), Selector::ResourceId(resource.to_owned()));
}

#[test]
fn refuses_injected_parameters_in_a_client_id() {
    for text in [
        "00001111-aaaa-2222-bbbb-3333cccc4444&resource=https://graph.microsoft.com",
        "app1",
        "{00001111-aaaa-2222-bbbb-3333cccc4444}",
        "00001111-aaaa-2222-bbbb-3333cccc444g",
        "00001111-aaaa",
        "/subscriptions/x/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app1",
        "/subscriptions/00001111-aaaa-2222-bbbb-3333cccc4444/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a&b=c",
    ] {
        assert!(selector(text).is_err(), "{text}");
    }
}

#[test]
fn an_identity_is_called_as_the_settings_name_it() {
    let object = Selector::ObjectId("22223333-aaaa-2222-bbbb-3333cccc4444".to_owned());
    for (selector, words) in [
        (selector("").unwrap(), "the system-assigned identity"),
        (
            selector("00001111-AAAA-2222-bbbb-3333cccc4444").unwrap(),
            "the user-assigned identity 00001111-aaaa-2222-bbbb-3333cccc4444",
        ),
        (
            object,
            "the user-assigned identity with the object id 22223333-aaaa-2222-bbbb-3333cccc4444: write its client id",
        ),
    ] {
        assert!(selector.to_string().starts_with(words), "{selector}");
    }
}

#[test]
fn the_arc_agent_is_where_both_of_its_variables_say_so() {
    let agent = "http://localhost:40342/metadata/identity/oauth2/token";
    let said = |endpoint: &str, companion: &str| {
        arc_of(|name| match name {
            "IDENTITY_ENDPOINT" => Some(endpoint.to_owned()),
            "IMDS_ENDPOINT" => Some(companion.to_owned()),
            _ => None,
        })
    };
    assert_eq!(said(agent, "http://localhost:40342").as_deref(), Some(agent));
    for (endpoint, companion) in [(agent, ""), (agent, " "), ("", "http://localhost:40342"), ("", "")] {
        assert_eq!(said(endpoint, companion), None, "{endpoint:?} {companion:?}");
    }
}
