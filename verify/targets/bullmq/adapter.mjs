// BullMQ as `kew verify` sees it. A Kew queue is a BullMQ Queue, consumed by one BullMQ Worker in every worker process;
// a Kew job is a BullMQ job whose data wraps the harness's name and payload. Attempts, backoff, rate limit, deduplication,
// pause and crash recovery (locks and stalled checks) are BullMQ's own. A timeout is a timer in the handler, as BullMQ's
// documents advise; the dead letters of a queue are its failed jobs.
import { createInterface } from "node:readline";
import { basename } from "node:path";
import { createRequire } from "node:module";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";

const LOCK_MS = 2000;
const STALLED_CHECK_MS = 1000;
const NO_LIMIT = 2 ** 31 - 1; // attempts of a job that is never given up

let redis, prefix, role; // set by hello; the prefix keeps the keys of one run apart from all others
const policies = {}, queues = {}, workers = {}; // by queue
const ids = new Map(); // the harness's name of a job -> BullMQ's id
const handlers = new Map(); // invocation -> { resolve, reject }
const settling = new Map(); // BullMQ's id -> the invocation that has just told its outcome
const turns = new Map(); // queue and key -> what was asked before, so that enqueues and reads of one key come one by one
const followUps = new Map(); // BullMQ's id of a running job -> the name of the one follow-up of its key
const keys = new Map(); // the harness's name of a job -> its key
let invocations = 0;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
class Refused extends Error {}

const operations = {
  async hello({ server, dir, role: told }) {
    role = told;
    prefix = `kew-${basename(dir)}`;
    const [host, port] = server.split(":");
    redis = new Redis({ host, port: Number(port), maxRetriesPerRequest: null, retryStrategy: () => 200 });
    redis.on("error", (error) => console.error("redis:", error.message));
    const info = /redis_version:(\S+)/.exec(await redis.info("server"))[1];
    return {
      system: "BullMQ", version: createRequire(import.meta.url)("bullmq/package.json").version, backend: `Redis ${info}`, quantum_ms: 10,
      capabilities: {
        attempts: { is: "native", note: "attempts, and maxStartedAttempts so that crashes count" },
        infinite_attempts: { is: "native", note: "attempts: 2147483647" },
        exponential_backoff: { is: "native", jitter: false, cap: false },
        timeout: { is: "emulated", note: "a timer in the handler, as BullMQ's documents advise", stops: true },
        crash: { is: "native", recovers_ms: LOCK_MS + 2 * STALLED_CHECK_MS + 1000 },
        dead_letters: { is: "emulated", note: "the failed jobs of the queue", errors: true },
        redrive: { is: "native", note: "job.retry with both counters reset" },
        rate_limit: "native",
        deduplication: { is: "native", note: "keepLastIfActive", newest: false },
        idempotency_key: { is: "native", note: "a custom job id" },
        cancel: { is: "native", note: "job.remove, which leaves no trace", keeps: false },
        pause: "native",
        status: { is: "native", note: "the job's state", times: false },
        attempt_number: { is: "native", note: "attemptsStarted" },
      },
    };
  },

  async configure({ queue, policy, slots }) {
    policies[queue] = policy;
    if (role === "client") queues[queue] = new Queue(queue, { connection: redis, prefix });
    if (role === "client") return queues[queue].waitUntilReady().then(() => ({}));
    const limit = policy.rate_limit;
    const worker = new Worker(queue, (job) => handle(queue, job), {
      connection: redis, prefix, concurrency: slots,
      lockDuration: LOCK_MS, stalledInterval: STALLED_CHECK_MS, maxStalledCount: NO_LIMIT,
      maxStartedAttempts: policy.attempts === "infinite" ? undefined : policy.attempts,
      limiter: limit && { max: limit.starts, duration: limit.per_ms },
    });
    worker.on("error", (error) => {
      const [, id] = /lock.* for job (\S+?)\.? /i.exec(`${error.message} `) ?? [];
      if (settling.has(id)) say({ event: "rejected", invocation: settling.get(id), error: error.message });
      settling.delete(id);
      console.error("worker:", error.message);
    });
    for (const event of ["completed", "failed"]) worker.on(event, (job) => settling.delete(job?.id));
    workers[queue] = worker;
    await worker.waitUntilReady();
    return {};
  },

  async enqueue({ queue, job, payload, user, key, idempotency_key }) {
    const { attempts, backoff } = policies[queue];
    const id = idempotency_key ? `once-${Buffer.from(JSON.stringify([user, idempotency_key])).toString("base64url")}` : job;
    const add = () => queues[queue].add("job", { job, payload, user, keyed: Boolean(key) }, {
      jobId: id,
      attempts: attempts === "infinite" ? NO_LIMIT : attempts,
      backoff: backoff && { type: "exponential", delay: backoff.exponential.first_ms },
      deduplication: key && { id: key, keepLastIfActive: true },
    });
    if (key) keys.set(job, key);
    const name = await (key ? inTurn(`${queue} ${key}`, async () => nameOf(queue, key, job, await add()))
      : idempotency_key ? add().then((added) => queues[queue].getJob(added.id)).then((kept) => kept.data.job)
      : add().then(() => job));
    if (!key) ids.set(name, id);
    return name === job ? {} : { job: name };
  },

  async dead_letters({ queue }) {
    if (!policies[queue].dead_letter_queue) return { jobs: [] };
    const failed = await queues[queue].getFailed(0, -1);
    return { jobs: failed.map(({ data, failedReason }) => ({ job: data.job, payload: data.payload, error: failedReason })) };
  },

  async status({ queue, job }) {
    const key = keys.get(job);
    return key ? inTurn(`${queue} ${key}`, () => statusOf(queue, job)) : statusOf(queue, job);
  },

  async redrive({ queue, job }) {
    await (await find(queue, job)).retry("failed", { resetAttemptsMade: true, resetAttemptsStarted: true });
    return {};
  },
  async cancel({ queue, job }) {
    const found = await find(queue, job);
    if (found.finishedOn) throw new Refused(`${job} is over`);
    await found.remove();
    return {};
  },
  async pause({ queue }) { return queues[queue].pause().then(() => ({})); },
  async resume({ queue }) { return queues[queue].resume().then(() => ({})); },

  async bye() {
    await Promise.all(Object.values(workers).map((worker) => worker.close(true)));
    if (role === "client") for await (const keys of redis.scanStream({ match: `${prefix}:*`, count: 1000 })) if (keys.length) await redis.unlink(keys);
    return {};
  },
};

// One delivery: told to the harness, and ended as the harness says or at the policy's timeout, whichever comes first.
async function handle(queue, job) {
  const invocation = `${process.pid}-${++invocations}`;
  const name = job.data.keyed ? await nameGiven(job) : job.data.job;
  const ended = new Promise((resolve, reject) => handlers.set(invocation, { resolve, reject }));
  say({ event: "invoke", invocation, queue, jobs: [{ job: name, attempt: job.attemptsStarted, payload: job.data.payload }] });
  const timer = setTimeout(() => {
    say({ event: "stopped", invocation, why: "timeout" });
    handlers.get(invocation).reject(new Error("timed out"));
  }, Math.min(policies[queue].timeout_ms, NO_LIMIT));
  try { await ended; } finally {
    clearTimeout(timer);
    handlers.delete(invocation);
    settling.set(job.id, invocation);
  }
}

function outcome({ invocation, jobs: [{ result, error }] }) {
  const handler = handlers.get(invocation); // none: it was stopped
  if (result === "completed") handler?.resolve(); else handler?.reject(new Error(error ?? "failed"));
}

// The name that the one job has which stands for this enqueue of a key. BullMQ answers with the running job's id also when it
// keeps the payload for a follow-up, and names the follow-up after the latest enqueue; to the harness it has the name of the first.
async function nameOf(queue, key, job, added) {
  let name = job, id = job;
  if (added.id !== job) {
    const kept = await keptNext(queue, key) === job || await queues[queue].getJob(job);
    if (!kept) return redis.hget(`${prefix}:names`, added.id);
    name = followUps.get(added.id) ?? job;
    followUps.set(added.id, name);
  }
  ids.set(name, id);
  await redis.hset(`${prefix}:names`, job, name);
  return name;
}
async function nameGiven(job) {
  for (;;) {
    const name = await redis.hget(`${prefix}:names`, job.id);
    if (name) return name;
    await new Promise((done) => setTimeout(done, 5)); // the client is about to write it
  }
}
// A follow-up is no job yet while the job before it runs: its payload is kept by key.
const keptNext = (queue, key) => redis.hget(`${prefix}:${queue}:dn:${key}`, "jid");
async function keptFor(queue, job) {
  return keys.has(job) && await keptNext(queue, keys.get(job)) === ids.get(job);
}
// A job's state and its fields are read one after the other: again, until they belong together.
async function statusOf(queue, job) {
  for (;;) {
    const before = await find(queue, job, null);
    if (!before && await keptFor(queue, job)) return { status: "pending", final: false, retry_count: 0 };
    const state = await before?.getState();
    const read = await find(queue, job, null);
    if (!before && !read) return { status: null };
    if (!before || !read) continue; // what was kept has just become a job, or a job was just removed
    if (["attemptsStarted", "attemptsMade", "finishedOn"].some((field) => before[field] !== read[field])) continue;
    const status = { active: "processing", completed: "completed", failed: "failed" }[state] ?? (read.attemptsStarted ? "failed" : "pending");
    const started = Math.min(read.attemptsStarted, read.opts.attempts); // a start beyond the limit runs no handler
    return { status, final: ["completed", "failed"].includes(state), retry_count: Math.max(started - 1, 0), ...(status === "failed" && { error: read.failedReason ?? "stalled" }) };
  }
}
function inTurn(turn, act) {
  const next = (turns.get(turn) ?? Promise.resolve()).then(act, act);
  turns.set(turn, next);
  return next;
}

async function find(queue, job, otherwise) {
  const found = await queues[queue].getJob(ids.get(job) ?? job);
  if (!found && otherwise !== null) throw new Refused(`no job ${job}`);
  return found;
}

process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));
createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, op, ...asked } = JSON.parse(line);
    if (op === "outcome") return outcome(asked);
    try {
      say({ id, ok: await operations[op](asked) });
    } catch (error) {
      const refused = error instanceof Refused || /could not be removed|is not in the|missing key|custom id/i.test(error.message);
      say({ id, [refused ? "refused" : "unknown"]: error.message });
    }
    if (op === "bye") process.exit(0);
  })
  .on("close", () => { // the harness is gone
    setTimeout(() => process.exit(0), 5000);
    operations.bye().finally(() => process.exit(0));
  });
