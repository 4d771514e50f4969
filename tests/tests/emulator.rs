//! The emulator itself, asked by clients that are as plain as they can be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use tests::azure::{Addresses, Azure};
use tests::pkcs12::Pfx;
use tests::pki::{Authority, Request};
use tests::world::World;

#[test]
fn curl_meets_the_emulator_under_real_names_and_addresses() {
    let world = World::enter().unwrap();
    let azure = Azure::start(Addresses::real()).unwrap();
    azure.create_vault("contoso");
    let authority = Authority::new("Contoso", 1).unwrap();
    let issued = authority.issue(&Request::new("www.contoso.com")).unwrap();
    let bundle = issued.pfx(&Pfx::KEY_VAULT).unwrap();
    let version = azure.put("contoso", "web", bundle).unwrap();
    world.connect(&azure).unwrap();
    let mut script = world.command("sh");
    script.arg("-c").arg(
        "set -e; T=$(curl -sf -H Metadata:true 'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net' | sed 's/.*access_token\":\"//;s/\".*//')\n\
         curl -sS -i -H \"Authorization: Bearer $T\" 'https://contoso.vault.azure.net/secrets/web?api-version=7.4'; curl -si https://contoso.vault.azure.net/secrets/web",
    );
    let output = script.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("{text} {:?}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(&version), "{text} {output:?}");
    let ids = world.processes().unwrap();
    assert!(ids.is_empty(), "{ids:?}");
}
