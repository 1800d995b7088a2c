// Puts Kew's benchmarks to BullMQ, a job queue on Redis for Node.js.
//
// Its documents' settings: AOF on and maxmemory-policy=noeviction (which `run` gives the server), a worker that takes
// 50 jobs at once, and completed jobs removed at once. `always` and `everysec` name the server's appendfsync.

import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

import { IN_FLIGHT, PAYLOAD, PRODUCERS, Window, createFrom, now, printLine, readArguments, until, versionOf }
  from "../common/measure.mjs";

const CONCURRENCY = 50;

const asked = readArguments();
const address = new URL(asked.place);
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null };

const queue = new Queue("pdf", { connection, defaultJobOptions: { removeOnComplete: true } });
await queue.waitUntilReady();

const create = () => queue.add("pdf", PAYLOAD);

async function addBacklog(jobs) {
  for (let begin = 0; begin < jobs; begin += 1000) {
    const length = Math.min(1000, jobs - begin);
    await queue.addBulk(Array.from({ length }, () => ({ name: "pdf", data: PAYLOAD })));
  }
}

/** A connected worker, not yet running. `completed` is told once Redis has it. */
async function connectWorker(window) {
  const worker = new Worker("pdf", async () => {}, { connection, concurrency: CONCURRENCY, autorun: false });
  worker.on("completed", () => window.leave());
  worker.on("error", (error) => console.error(error));
  await worker.waitUntilReady();
  return worker;
}

const left = async () => Object.values(await queue.getJobCounts("wait", "active", "delayed", "failed", "prioritized"))
  .reduce((sum, count) => sum + count, 0);

/** From the start of the worker until Redis has none left. */
async function processBacklog(jobs) {
  const window = new Window();
  const worker = await connectWorker(window);
  const began = now();
  worker.run();
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await worker.close();
  return seconds;
}

async function mixed(jobs) {
  const window = new Window();
  const worker = await connectWorker(window);
  const began = now();
  worker.run();
  await createFrom(IN_FLIGHT, jobs, async () => {
    await window.enter();
    await create();
  });
  await window.handled(jobs);
  await until(async () => (await left()) === 0);
  const seconds = now() - began;
  await worker.close();
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
const redis = (await new Redis(asked.place).info("server")).match(/redis_version:(\S+)/)[1];
printLine(asked, {
  system: "bullmq",
  version: `${versionOf("bullmq", import.meta.url)} (Redis ${redis}, Node.js ${process.versions.node})`,
  durability: asked.configuration === "always" ? "A" : "B",
  ...measured,
});
await queue.close();
process.exit(0);
