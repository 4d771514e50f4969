// Fetches secrets with Microsoft's Node SDK: client.mjs MODULES VAULT_URL NAME...
//
// MODULES is the folder in which the SDK was installed. Prints one JSON object a line: name, version and SHA-256 of
// the value, or name, status and code of the error.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, vault, ...names] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { ManagedIdentityCredential } = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

const retryOptions = { maxRetries: 1 };
const client = new SecretClient(vault, new ManagedIdentityCredential(), { retryOptions });
for (const name of names) {
  let result;
  try {
    const secret = await client.getSecret(name);
    const sha256 = createHash("sha256").update(secret.value).digest("hex");
    result = { version: secret.properties.version, sha256 };
  } catch (error) {
    if (!error.statusCode) throw error;
    result = { status: error.statusCode, code: error.code };
  }
  console.log(JSON.stringify({ name, ...result }));
}
