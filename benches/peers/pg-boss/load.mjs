// Puts Kew's benchmarks to pg-boss, a job queue in PostgreSQL for Node.js.
//
// Its documents' way to throughput: batches of 1,000 and burstWhenBatchFull, which fetches again at once while batches
// come full. Without `notify`: PostgreSQL commits transactions that notify one after the other, so that creating jobs
// with it is several times as slow.

import pg from "pg";
import { PgBoss } from "pg-boss";

import { IN_FLIGHT, PAYLOAD, PRODUCERS, Window, createFrom, now, printLine, readArguments, until, versionOf }
  from "../common/measure.mjs";

const BATCH = 1000;

const asked = readArguments();
const database = new pg.Pool({ connectionString: asked.place, max: 2 });
const boss = new PgBoss({ connectionString: asked.place });
boss.on("error", console.error);
await boss.start();
await boss.createQueue("pdf");

const create = () => boss.send("pdf", PAYLOAD);

async function addBacklog(jobs) {
  for (let begin = 0; begin < jobs; begin += 1000) {
    await boss.insert("pdf", Array.from({ length: Math.min(1000, jobs - begin) }, () => ({ data: PAYLOAD })));
  }
  await database.query("VACUUM ANALYZE pgboss.job");
}

async function count(states) {
  const result = await database.query(
    "SELECT count(*) AS jobs FROM pgboss.job WHERE name = 'pdf' AND state::text = ANY($1)", [states]);
  return Number(result.rows[0].jobs);
}

const left = () => count(["created", "retry", "active"]);

/** Returning from the handler completes the batch. */
function startWorker(window) {
  const options = { batchSize: BATCH, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
  return boss.work("pdf", options, async (jobs) => {
    for (const _job of jobs) window.leave();
  });
}

/** From the start of the worker until none is left to do. */
async function processBacklog(jobs) {
  const window = new Window();
  const began = now();
  await startWorker(window);
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await boss.offWork("pdf");
  return seconds;
}

async function mixed(jobs) {
  const window = new Window();
  await startWorker(window);
  const began = now();
  await createFrom(IN_FLIGHT, jobs, async () => {
    await window.enter();
    await create();
  });
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await boss.offWork("pdf");
  return seconds;
}

async function measure({ work, jobs, warmUp }) {
  if (work === "enqueue") {
    await createFrom(PRODUCERS, warmUp, create);
    const seconds = await createFrom(PRODUCERS, jobs, create);
    return { seconds, completed: (await left()) - warmUp };
  }
  await addBacklog(warmUp);
  await processBacklog(warmUp);
  if (work === "process") await addBacklog(jobs);
  const seconds = work === "process" ? await processBacklog(jobs) : await mixed(jobs);
  return { seconds, completed: (await count(["completed"])) - warmUp };
}

const measured = await measure(asked);
const postgres = (await database.query("SHOW server_version")).rows[0].server_version.split(" ")[0];
printLine(asked, {
  system: "pg-boss",
  version: `${versionOf("pg-boss", import.meta.url)} (PostgreSQL ${postgres}, Node.js ${process.versions.node})`,
  durability: "A",
  ...measured,
});
process.exit(0);
