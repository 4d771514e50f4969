//! Fetches secrets with Microsoft's Rust SDK: `official-rust-sdk VAULT_URL NAME...`
//!
//! Prints one JSON object a line: name, version and SHA-256 of the value, or name, status and code of the error.

use azure_core::error::{ErrorResponse, Result};
use azure_identity::ManagedIdentityCredential;
use azure_security_keyvault_secrets::SecretClient;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let vault = arguments
        .next()
        .ok_or("usage: official-rust-sdk VAULT_URL NAME...")?;
    let client = SecretClient::new(&vault, ManagedIdentityCredential::new(None)?, None)?;
    for name in arguments {
        let mut result = match fetch(&client, &name).await {
            Ok(result) => result,
            Err(error) => {
                let status = error.http_status().map(u16::from);
                // The error's own `error_code` is the status again when the message holds an escaped line break.
                let detail = ErrorResponse::try_from(error)?.error;
                json!({"status": status, "code": detail.and_then(|detail| detail.code)})
            }
        };
        result["name"] = json!(name);
        println!("{result}");
    }
    Ok(())
}

async fn fetch(client: &SecretClient, name: &str) -> Result<Value> {
    let secret = client.get_secret(name, None).await?.into_model()?;
    let id = secret.id.unwrap_or_default();
    let value = secret.value.unwrap_or_default();
    let digest = Sha256::digest(value.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({"version": id.rsplit('/').next(), "sha256": digest}))
}
