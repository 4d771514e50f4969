// A collector for Fluentd's forward protocol: collector.mjs MODULES ENDPOINT
//
// MODULES is the folder in which the server was installed; ENDPOINT is a port of 127.0.0.1 or the path of a socket. Prints
// one JSON object a line: {"listening": true} first, then tag, time (seconds and nanoseconds) and record of each event.
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, endpoint] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { FluentServer } = require("@fluent-org/logger");

const place = endpoint.startsWith("/") ? { path: endpoint } : { host: "127.0.0.1", port: Number(endpoint) };
const server = new FluentServer({ listenOptions: place });
server.on("entry", (tag, time, record) => {
  const at = { seconds: time.epoch, nanoseconds: time.nano };
  console.log(JSON.stringify({ tag, time: at, record }));
});
await server.listen();
console.log(JSON.stringify({ listening: true }));
