// Puts Kew's benchmarks to Graphile Worker, a job queue in PostgreSQL for Node.js.
//
// `default` takes 10 jobs at once and sets nothing else (its default is 1). `batched` is the preset of its own page on
// performance: 24 jobs at once, a pool of 25, a local queue of 500, and completions in batches (which may leave jobs
// locked after a crash, as the page says).

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

import { IN_FLIGHT, PAYLOAD, PRODUCERS, Window, createFrom, now, printLine, readArguments, until, versionOf }
  from "../common/measure.mjs";

const PRESETS = {
  default: { pool: 12, worker: { concurrentJobs: 10 } },
  batched: {
    pool: 25,
    worker: {
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
};

const asked = readArguments();
const preset = PRESETS[asked.configuration];
const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ connectionString: asked.place, max: preset.pool });
const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();

const create = () => utils.addJob("pdf", PAYLOAD);

async function addBacklog(jobs) {
  for (let begin = 0; begin < jobs; begin += 1000) {
    const length = Math.min(1000, jobs - begin);
    await utils.addJobs(Array.from({ length }, () => ({ identifier: "pdf", payload: PAYLOAD })));
  }
  await pgPool.query("VACUUM ANALYZE graphile_worker._private_jobs");
}

/** Completed jobs are deleted. */
const left = async () =>
  Number((await pgPool.query("SELECT count(*) AS left FROM graphile_worker._private_jobs")).rows[0].left);

const start = (window) =>
  run({ pgPool, logger, preset: { worker: preset.worker }, noHandleSignals: true,
    taskList: { pdf: async () => window.leave() } });

/** From the start of the worker until the table is empty. */
async function processBacklog(jobs) {
  const window = new Window();
  const began = now();
  const runner = await start(window);
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await runner.stop();
  return seconds;
}

async function mixed(jobs) {
  const window = new Window();
  const runner = await start(window);
  const began = now();
  await createFrom(IN_FLIGHT, jobs, async () => {
    await window.enter();
    await create();
  });
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await runner.stop();
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
  return { seconds, completed: jobs - (await left()) };
}

const measured = await measure(asked);
const postgres = (await pgPool.query("SHOW server_version")).rows[0].server_version.split(" ")[0];
printLine(asked, {
  system: "graphile-worker",
  version: `${versionOf("graphile-worker", import.meta.url)} (PostgreSQL ${postgres}, Node.js ${process.versions.node})`,
  durability: "A",
  ...measured,
});
process.exit(0);
