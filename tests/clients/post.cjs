// Makes the calls it reads from stdin with Segment's Node client, unmodified: `node post.cjs HOST WRITE_KEY FOLDER_OF_THE_CLIENT`.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const [host, writeKey, folder] = process.argv.slice(2);
const { Analytics } = createRequire(join(folder, "package.json"))("@segment/analytics-node");

const analytics = new Analytics({ host, writeKey, maxEventsInBatch: 3, flushInterval: 50 });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
for (const { type, ...call } of JSON.parse(readFileSync(0, "utf8"))) {
  analytics[type]({ ...call, timestamp: new Date(call.timestamp) });
}
analytics.closeAndFlush({ timeout: 60000 });
