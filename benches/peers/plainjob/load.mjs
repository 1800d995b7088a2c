// Puts Kew's benchmarks to plainjob, a job queue in SQLite for Node.js, as shipped: WAL and synchronous=NORMAL.
//
// Its calls are synchronous, so there is one producer, and one worker takes one job at a time. In `mixed` the worker's
// onCompleted creates the next job, which keeps the window full without a second thread.

import { join } from "node:path";

import Database from "better-sqlite3";
import { better, defineQueue, defineWorker } from "plainjob";

import { IN_FLIGHT, PAYLOAD, now, printLine, readArguments, versionOf } from "../common/measure.mjs";

const DONE = 2; // plainjob's JobStatus.Done, of which it exports the type alone

const asked = readArguments();
const logger = { debug() {}, info() {}, warn() {}, error: console.error };
const database = new Database(join(asked.place, "plainjob.db"));
const queue = defineQueue({ connection: better(database), logger });

const create = () => queue.add("pdf", PAYLOAD);

function createAll(jobs) {
  const began = now();
  for (let i = 0; i < jobs; i += 1) create();
  return now() - began;
}

function addBacklog(jobs) {
  for (let begin = 0; begin < jobs; begin += 1000) {
    queue.addMany("pdf", Array.from({ length: Math.min(1000, jobs - begin) }, () => PAYLOAD));
  }
}

/** Works until so many jobs are done, of which the last ones are created meanwhile. */
async function work(jobs, toCreate) {
  let done = 0;
  let seconds;
  const began = now();
  for (; toCreate > 0 && toCreate > jobs - IN_FLIGHT; toCreate -= 1) create();
  const handle = async (job) => void JSON.parse(job.data);
  const onCompleted = () => {
    done += 1;
    if (toCreate > 0) {
      toCreate -= 1;
      create();
    }
    if (done === jobs) {
      seconds = now() - began;
      worker.stop();
    }
  };
  const worker = defineWorker("pdf", handle, { queue, logger, onCompleted });
  await worker.start();
  return seconds;
}

async function measure({ work: kind, jobs, warmUp }) {
  if (kind === "enqueue") {
    createAll(warmUp);
    const seconds = createAll(jobs);
    return { seconds, completed: queue.countJobs() - warmUp };
  }
  addBacklog(warmUp);
  await work(warmUp, 0);
  if (kind === "process") addBacklog(jobs);
  const seconds = await work(jobs, kind === "process" ? 0 : jobs);
  return { seconds, completed: queue.countJobs({ status: DONE }) - warmUp };
}

const measured = await measure(asked);
const sqlite = database.prepare("SELECT sqlite_version() AS version").get().version;
printLine(asked, {
  system: "plainjob",
  version: `${versionOf("plainjob", import.meta.url)} (SQLite ${sqlite}, Node.js ${process.versions.node})`,
  durability: "B",
  ...measured,
});
process.exit(0);
