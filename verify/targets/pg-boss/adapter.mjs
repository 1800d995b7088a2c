// pg-boss as `kew verify` sees it. A Kew queue is a pg-boss queue, consumed by work() in every worker process, with one polling
// loop a slot; a Kew job is a pg-boss job whose data wraps the harness's name and payload. Attempts, backoff, expiration,
// heartbeats, dead letter queues, redrive, batches and deduplication (upsert on a keyed queue) are pg-boss's own, as is all
// that is read of a job. Every run has a schema of its own, which goes with it.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { basename } from "node:path";
import { PgBoss } from "pg-boss";

const POLL_SECONDS = 0.5; // the shortest that pg-boss allows
const HEARTBEAT_SECONDS = 10; // likewise
const NO_LIMIT = 2 ** 31 - 1; // retries of a job that is never given up
const EXPIRATION_MAX = 24 * 3600;

let boss, schema, role; // set by hello
const policies = {}; // by queue
const ids = new Map(); // the harness's name of a job -> pg-boss's id
const redriven = new Set(); // jobs that have a new id since
const handlers = new Map(); // invocation -> { jobs, resolve }
let invocations = 0;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
class Refused extends Error {}
const seconds = (ms) => Math.ceil(ms / 1000);
const deadLetters = (queue) => `${queue}.dlq`;
const uuid = (...of) => createHash("sha1").update(JSON.stringify(of)).digest("hex").replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/, "$1-$2-5$3-8$4-$5");
const sql = async (text, values) => (await boss.getDb().executeSql(text, values)).rows;

const operations = {
  async hello({ server, dir, role: told }) {
    role = told;
    const [host, port] = server.split(":");
    schema = `kew_${basename(dir).replace(/\W/g, "_").toLowerCase()}`;
    boss = new PgBoss({
      host, port: Number(port), user: process.env.PGUSER ?? "postgres", password: process.env.PGPASSWORD, database: process.env.PGDATABASE ?? "postgres",
      schema, max: role === "client" ? 5 : 3, useListenNotify: true, schedule: false, registerInstance: false,
      superviseIntervalSeconds: 1, monitorIntervalSeconds: 1, queueCacheIntervalSeconds: 1,
    });
    boss.on("error", (error) => console.error("pg-boss:", error.message));
    await boss.start();
    await sql(`CREATE TABLE IF NOT EXISTS ${schema}.kew_names (id uuid PRIMARY KEY, job text NOT NULL)`).catch(() => {}); // two at once: one fails
    const [{ version }] = await sql("SELECT current_setting('server_version') AS version");
    return {
      system: "pg-boss", version: JSON.parse(readFileSync("node_modules/pg-boss/package.json")).version, backend: `PostgreSQL ${version.split(" ")[0]}`, quantum_ms: 1000 * POLL_SECONDS,
      capabilities: {
        attempts: { is: "native", note: "retryLimit, one less" },
        infinite_attempts: { is: "native", note: "retryLimit: 2147483647" },
        exponential_backoff: { is: "native", note: "whole seconds; up to twice as long, at random" },
        timeout: { is: "native", note: "expireInSeconds, whole seconds", stops: true },
        crash: { is: "native", note: "heartbeatSeconds: 10, the shortest that there is", recovers_ms: (HEARTBEAT_SECONDS + 2 + POLL_SECONDS) * 1000 + 500 },
        dead_letters: { is: "native", errors: true },
        redrive: "native",
        batch: { is: "native", note: "batchSize, settled job by job", wait: false },
        deduplication: { is: "native", note: "upsert on singletonKey; queue policy stately, or key_strict_fifo where attempts are infinite" },
        idempotency_key: { is: "native", note: "a job id of the client's own" },
        cancel: "native",
        status: { is: "native", times: false },
        attempt_number: { is: "native", note: "retryCount + 1" },
      },
    };
  },

  async configure({ queue, policy, slots }) {
    policies[queue] = policy;
    const { attempts, backoff: { exponential } = {}, timeout_ms, dead_letter_queue, deduplication, batch } = policy;
    const expires = Math.min(seconds(timeout_ms), EXPIRATION_MAX);
    const applied = {};
    if (expires < EXPIRATION_MAX && expires * 1000 !== timeout_ms) applied.timeout_ms = expires * 1000;
    if (exponential) applied.backoff = { exponential: { first_ms: seconds(exponential.first_ms) * 1000, max_ms: seconds(exponential.max_ms) * 1000, jitter_percent: 100 } };
    if (role === "client") {
      if (dead_letter_queue) await boss.createQueue(deadLetters(queue));
      await boss.createQueue(queue, {
        policy: !deduplication ? "standard" : attempts === "infinite" ? "key_strict_fifo" : "stately",
        retryLimit: attempts === "infinite" ? NO_LIMIT : attempts - 1,
        ...(exponential ? { retryBackoff: true, retryDelay: seconds(exponential.first_ms), retryDelayMax: seconds(exponential.max_ms) } : { retryDelay: 0 }),
        expireInSeconds: expires, heartbeatSeconds: HEARTBEAT_SECONDS, notify: true,
        ...(dead_letter_queue && { deadLetter: deadLetters(queue) }),
      });
    } else {
      await boss.work(queue, {
        localConcurrency: slots, batchSize: batch?.size ?? 1, perJobResults: true,
        pollingIntervalSeconds: POLL_SECONDS, notifyPollingIntervalSeconds: POLL_SECONDS, burstWhenReadyExceeds: 1,
      }, (jobs) => handle(queue, jobs));
    }
    return Object.keys(applied).length ? { applied } : {};
  },

  async enqueue({ queue, job, payload, user, key, idempotency_key }) {
    const data = { job, payload, user };
    if (key) {
      const name = await upsert(queue, key, data);
      return name === job ? {} : { job: name };
    }
    const id = idempotency_key ? uuid(user, idempotency_key) : uuid(job);
    if (await boss.send(queue, data, { id })) { ids.set(job, id); return {}; }
    return { job: (await boss.getJobById(queue, id)).data.job };
  },

  async dead_letters({ queue }) {
    if (!policies[queue].dead_letter_queue) return { jobs: [] };
    const letters = await boss.findJobs(deadLetters(queue), { limit: 1000 });
    return { jobs: letters.map(({ data, sourceOutput }) => ({ job: data.job, payload: data.payload, error: sourceOutput?.message ?? sourceOutput?.value?.message })) };
  },

  async redrive({ queue, job }) {
    const [letter] = await boss.findJobs(deadLetters(queue), { data: { job } });
    if (!letter || !await boss.redrive(deadLetters(queue), { ids: [letter.id] })) throw new Refused(`no dead letter ${job}`);
    redriven.add(job);
    return {};
  },

  async status({ queue, job }) {
    const found = await boss.getJobById(queue, await idOf(queue, job));
    if (!found) return { status: null };
    const { state, retryCount, output } = found;
    const status = { created: "pending", retry: "failed", active: "processing", completed: "completed", cancelled: "failed", failed: "failed" }[state];
    return {
      status, final: ["completed", "cancelled", "failed"].includes(state), retry_count: retryCount,
      ...(status === "failed" && { error: state === "cancelled" ? "cancelled" : (output?.message ?? output?.value?.message) }),
    };
  },

  async cancel({ queue, job }) {
    const { affected } = await boss.cancel(queue, await idOf(queue, job));
    if (!affected) throw new Refused(`${job} does not wait`);
    return {};
  },

  async bye() {
    const drop = () => sql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    if (role === "client") await drop().catch(drop); // workers that are still at it can get in its way
    return {};
  },
};

// One delivery. pg-boss stops waiting for it when it expires or when the heartbeat finds that the job is no longer this worker's.
async function handle(queue, jobs) {
  const invocation = `${process.pid}-${++invocations}`;
  const names = await Promise.all(jobs.map((job) => (policies[queue].deduplication ? nameOf(job) : job.data.job)));
  const told = new Promise((resolve) => handlers.set(invocation, resolve));
  say({ event: "invoke", invocation, queue, jobs: jobs.map(({ data, retryCount }, i) => ({ job: names[i], attempt: retryCount + 1, payload: data.payload })) });
  const stopped = Promise.all(jobs.map(({ signal }) => new Promise((resolve) => signal.addEventListener("abort", resolve)))).then(() => null);
  const outcomes = await Promise.race([told, stopped]);
  handlers.delete(invocation);
  if (outcomes === null) {
    const state = (await boss.getJobById(queue, jobs[0].id))?.state;
    say({ event: "stopped", invocation, why: state === "cancelled" ? "cancelled" : "timeout" });
    throw new Error("stopped");
  }
  return jobs.map(({ id }, i) => {
    const { result, error } = outcomes.find(({ job }) => job === names[i]);
    return { id, status: result, output: result === "failed" ? { message: error ?? "failed" } : undefined };
  });
}

// An upsert replaces a waiting job's data, and with it the harness's name; so a keyed job's name is kept beside, by its id.
const naming = (id, job) => [`INSERT INTO ${schema}.kew_names VALUES ($1, $2) ON CONFLICT DO NOTHING`, [id, job]];
async function upsert(queue, key, data) {
  const { db, commit, rollback } = await boss.getDb().beginTransaction();
  try {
    const { jobs: [id] } = await boss.upsert(queue, data, { singletonKey: key, db });
    if (!id) throw new Error("neither inserted nor updated");
    await db.executeSql(...naming(id, data.job));
    const { rows: [{ job }] } = await db.executeSql(`SELECT job FROM ${schema}.kew_names WHERE id = $1`, [id]);
    await commit();
    ids.set(job, id);
    return job;
  } catch (error) {
    await rollback();
    throw error;
  }
}
async function nameOf({ id, data }) {
  const [row] = await sql(`SELECT job FROM ${schema}.kew_names WHERE id = $1`, [id]);
  return row?.job ?? data.job; // none: it was redriven
}
async function idOf(queue, job) {
  if (!redriven.has(job)) return ids.get(job) ?? uuid(job);
  const found = await boss.findJobs(queue, { data: { job } });
  return found.sort((a, b) => b.createdOn - a.createdOn)[0]?.id ?? uuid(job);
}

process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));
createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, op, ...asked } = JSON.parse(line);
    if (op === "outcome") return handlers.get(asked.invocation)?.(asked.jobs);
    try {
      say({ id, ok: await operations[op](asked) });
    } catch (error) {
      say({ id, [error instanceof Refused ? "refused" : "unknown"]: error.message });
    }
    if (op === "bye") process.exit(0);
  })
  .on("close", () => { // the harness is gone
    setTimeout(() => process.exit(0), 5000);
    operations.bye().finally(() => process.exit(0));
  });
