// A job that waited in the backlog for longer than the timeout is given back the moment it starts, and runs twice at once.
// needs: plainjob@0.0.14 better-sqlite3@11.10.0
import Database from "better-sqlite3";
import { better, defineQueue, defineWorker } from "plainjob";

const RUNS = Number(process.env.RUNS ?? 3), TIMEOUT_MS = 1000;
const logger = { error() {}, warn() {}, info() {}, debug() {} };
let wrong = 0;
for (let run = 1; run <= RUNS; run += 1) {
  const queue = defineQueue({ connection: better(new Database(":memory:")), timeout: TIMEOUT_MS, maintenanceInterval: 100, logger });
  queue.add("render", {});
  await new Promise((done) => setTimeout(done, TIMEOUT_MS + 300)); // a backlog: no worker was free
  const begun = Date.now(), calls = [];
  let beside = 0, running = 0;
  const workers = [1, 2].map((n) => defineWorker("render", async (job) => {
    calls.push(`worker ${n} begins job ${job.id} at ${Date.now() - begun} ms`);
    running += 1;
    beside = Math.max(beside, running);
    await new Promise((done) => setTimeout(done, 600)); // well within the timeout
    running -= 1;
  }, { queue, logger, pollIntervall: 20 }));
  workers.forEach((worker) => worker.start());
  await new Promise((done) => setTimeout(done, 1500));
  await Promise.all(workers.map((worker) => worker.stop()));
  queue.close();
  console.log(calls.join("; "));
  if (beside > 1) wrong += 1;
}
console.log(`one job ran twice at once, though it took 600 ms of a timeout of ${TIMEOUT_MS} ms: ${wrong} of ${RUNS} runs`);
