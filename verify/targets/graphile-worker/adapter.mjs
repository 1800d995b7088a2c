// Graphile Worker as `kew verify` sees it. A Kew queue is a task; a Kew job is a Graphile Worker job whose payload wraps the
// harness's name and payload. Every worker process runs one pool for all its tasks; a queue's slots are kept by forbidding the
// flag of a queue that is full. Attempts and deduplication (job keys, and a named queue for each) are Graphile Worker's own.
// Its backoff is fixed (eⁿ seconds), so the adapter reschedules a failed job to the policy's; it has no timeout, so the
// handler has one. Every run has a schema of its own, which goes with it.
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { basename } from "node:path";
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const POLL_MS = 250;
const POOL = 48; // handlers of a worker process, over all its queues
const NO_LIMIT = 32767; // attempts of a job that is never given up, the most that the column holds

let pool, utils, schema, role, runner; // set by hello and by the first queue
const policies = {}; // by queue
const slots = {}, running = {}; // by queue: handlers allowed, handlers at work
const tasks = {}; // by queue; the pool sees queues that come later
const ids = new Map(); // the harness's name of a job -> Graphile Worker's id
const handlers = new Map(); // invocation -> { resolve, reject }
let invocations = 0;

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
class Refused extends Error {}
const logger = new Logger(() => (level, message) => { if (level === "error" && !message.startsWith("Failed task")) console.error(message); });
const sql = async (text, values) => (await pool.query(text, values)).rows;

const operations = {
  async hello({ server, dir, role: told }) {
    role = told;
    const [host, port] = server.split(":");
    schema = `kew_graphile_${basename(dir).replace(/\W/g, "_").toLowerCase()}`;
    pool = new pg.Pool({ host, port: Number(port), user: process.env.PGUSER ?? "postgres", database: process.env.PGDATABASE ?? "postgres", max: 5 });
    pool.on("error", (error) => console.error("postgres:", error.message));
    pool.on("connect", (client) => client.on("error", () => {})); // Graphile Worker asks for it; the pool tells of the same
    utils = await makeWorkerUtils({ pgPool: pool, schema, logger });
    if (role === "client") {
      await utils.migrate();
      await sql(`CREATE TABLE IF NOT EXISTS ${schema}.kew_names (id bigint PRIMARY KEY, job text NOT NULL)`);
    }
    const [{ version }] = await sql("SELECT current_setting('server_version') AS version");
    return {
      system: "Graphile Worker", version: JSON.parse(readFileSync("node_modules/graphile-worker/package.json")).version, backend: `PostgreSQL ${version.split(" ")[0]}`, quantum_ms: POLL_MS,
      capabilities: {
        attempts: { is: "native", note: "maxAttempts" },
        infinite_attempts: { is: "native", note: "maxAttempts: 32767, the most there is" },
        exponential_backoff: { is: "emulated", note: "its own is e to the attempt, in seconds; the adapter reschedules the job", jitter: false },
        timeout: { is: "emulated", note: "a timer in the handler", stops: true },
        crash: { is: "absent", note: "a dead worker's job comes back after four hours; sooner in Worker Pro" },
        dead_letters: { is: "emulated", note: "the failed jobs that have no attempts left", errors: true },
        redrive: { is: "native", note: "reschedule_jobs with attempts := 0" },
        batch: { is: "absent", note: "payloads of one job key can be gathered, but with no limit to their number" },
        deduplication: { is: "native", note: "jobKey, preserve_run_at; a named queue for each key" },
        idempotency_key: { is: "absent", note: "a job key is free again when its job is done" },
        cancel: { is: "native", note: "completeJobs" },
        status: { is: "absent", note: "a completed job is deleted" },
        attempt_number: "native",
      },
    };
  },

  async configure({ queue, policy, slots: allowed }) {
    policies[queue] = policy;
    if (role === "client") return {};
    slots[queue] = allowed;
    running[queue] = 0;
    tasks[queue] = (payload, { job }) => handle(queue, payload, job);
    runner ??= work();
    await runner;
    return {};
  },

  async enqueue({ queue, job, payload, user, key }) {
    const attempts = policies[queue].attempts === "infinite" ? NO_LIMIT : policies[queue].attempts;
    const data = { job, payload, user };
    const { id, name } = key ? await addKeyed(queue, `${queue}/${key}`, data, attempts)
      : { id: (await utils.addJob(queue, data, { maxAttempts: attempts, flags: [queue] })).id, name: job };
    ids.set(name, id);
    return name === job ? {} : { job: name };
  },

  async dead_letters({ queue }) {
    if (!policies[queue].dead_letter_queue) return { jobs: [] };
    const rows = await sql(`SELECT j.payload, j.last_error FROM ${schema}._private_jobs j JOIN ${schema}._private_tasks t ON t.id = j.task_id
      WHERE t.identifier = $1 AND j.attempts >= j.max_attempts AND j.locked_at IS NULL`, [queue]);
    return { jobs: rows.map(({ payload, last_error }) => ({ job: payload.job, payload: payload.payload, error: last_error })) };
  },

  async redrive({ job }) {
    // In SQL, for rescheduleJobs() of 0.18.0 takes attempts: 0 for none given.
    const [letter] = await sql(`SELECT * FROM ${schema}.reschedule_jobs(
      (SELECT array_agg(id) FROM ${schema}._private_jobs WHERE id = $1 AND attempts >= max_attempts), run_at := now(), attempts := 0)`, [idOf(job)]);
    if (!letter) throw new Refused(`no dead letter ${job}`);
    return {};
  },
  async cancel({ job }) {
    const [gone] = await utils.completeJobs([idOf(job)]);
    if (!gone) throw new Refused(`${job} does not wait`);
    return {};
  },

  async bye() {
    const drop = () => sql(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    if (role === "client") await drop().catch(drop); // workers that are still at it can get in its way
    return {};
  },
};

// The worker pool. Its loops look for jobs one after the other, so that none takes a job of a queue which another has just filled.
async function work() {
  const events = new EventEmitter();
  let looked = Promise.resolve(), done = () => {};
  const forbiddenFlags = async () => {
    const before = looked;
    let mine;
    looked = new Promise((resolve) => (mine = resolve));
    await before;
    done = mine;
    return Object.keys(slots).filter((queue) => running[queue] >= slots[queue]);
  };
  events.on("job:start", ({ job }) => { running[job.task_identifier] += 1; done(); });
  events.on("job:complete", ({ job }) => { running[job.task_identifier] -= 1; });
  for (const event of ["worker:getJob:empty", "worker:getJob:error"]) events.on(event, () => done());
  return run({
    pgPool: pool, taskList: tasks, events, forbiddenFlags, logger, noHandleSignals: true,
    preset: { worker: { schema, concurrentJobs: POOL, pollInterval: POLL_MS } },
  });
}

// One delivery: told to the harness, and ended as the harness says or at the policy's timeout, whichever comes first.
async function handle(queue, { job: name, payload }, job) {
  const { deduplication, timeout_ms, backoff } = policies[queue];
  const invocation = `${process.pid}-${++invocations}`;
  if (deduplication) name = await nameOf(job.id);
  const ended = new Promise((resolve, reject) => handlers.set(invocation, { resolve, reject }));
  say({ event: "invoke", invocation, queue, jobs: [{ job: name, attempt: job.attempts, payload }] });
  const timer = setTimeout(() => {
    say({ event: "stopped", invocation, why: "timeout" });
    handlers.get(invocation).reject(new Error("timed out"));
  }, Math.min(timeout_ms, 2 ** 31 - 1));
  try {
    await ended;
  } catch (error) {
    const { first_ms = 0, max_ms = 0 } = backoff?.exponential ?? {};
    if (job.attempts < job.max_attempts) reschedule(job.id, new Date(Date.now() + Math.min(first_ms * 2 ** (job.attempts - 1), max_ms)));
    throw error;
  } finally {
    clearTimeout(timer);
    handlers.delete(invocation);
  }
}
function outcome({ invocation, jobs: [{ result, error }] }) {
  const handler = handlers.get(invocation); // none: it was stopped
  if (result === "completed") handler?.resolve(); else handler?.reject(new Error(error ?? "failed"));
}

// A job is locked until Graphile Worker has written its failure down, and can be rescheduled from then on.
async function reschedule(id, runAt) {
  for (let tries = 0; tries < 100; tries += 1) {
    await new Promise((done) => setTimeout(done, 5));
    const [waits] = await sql(`SELECT locked_at IS NULL AS failed FROM ${schema}._private_jobs WHERE id = $1`, [id]);
    if (!waits) return;
    if (waits.failed) return utils.rescheduleJobs([id], { runAt });
  }
}

// A job key replaces a waiting job's payload, and with it the harness's name; so a keyed job's name is kept beside, by its id.
async function addKeyed(queue, entity, data, attempts) {
  const [added] = await sql(`WITH added AS (
      SELECT id FROM ${schema}.add_job($1, payload := $2, max_attempts := $3, flags := ARRAY[$1], job_key := $4, job_key_mode := 'preserve_run_at', queue_name := $4)
    ), named AS (INSERT INTO ${schema}.kew_names SELECT id, $5 FROM added ON CONFLICT DO NOTHING RETURNING job)
    SELECT id, coalesce((SELECT job FROM named), (SELECT job FROM ${schema}.kew_names k WHERE k.id = added.id)) AS name FROM added`,
    [queue, data, attempts, entity, data.job]);
  return added;
}
async function nameOf(id) {
  const [row] = await sql(`SELECT job FROM ${schema}.kew_names WHERE id = $1`, [id]);
  return row.job;
}
function idOf(job) {
  if (!ids.has(job)) throw new Refused(`no job ${job}`);
  return ids.get(job);
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
      say({ id, [error instanceof Refused ? "refused" : "unknown"]: error.message });
    }
    if (op === "bye") process.exit(0);
  })
  .on("close", () => { // the harness is gone
    setTimeout(() => process.exit(0), 5000);
    operations.bye().finally(() => process.exit(0));
  });
