// Cloudflare Queues as `kew verify` sees them: the Worker in worker.mjs, run by Cloudflare's own workerd in miniflare. A Kew
// queue is a Cloudflare queue with one consumer; a delivery calls this process over local HTTP and waits for the outcomes, then
// acknowledges or retries each message. Attempts, batches and dead letter queues are Cloudflare's own; backoff, timeouts and
// job status are the Worker's. Miniflare takes no new queue without losing what waits, so queues that are configured together
// share one instance, which starts shortly after; later ones get another.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { Clock } from "./clock.mjs";
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
console.log = console.info = console.debug = console.error; // standard output is the protocol's
const { Miniflare, Log, LogLevel, _enableControlEndpoints } = await import("miniflare");
_enableControlEndpoints(); // before any new Miniflare()
const clock = new Clock();

const MAX_RETRIES = 100; // the most that Cloudflare Queues allows
const GATHERING_MS = 50; // queues configured within this time of each other share an instance
const policies = {}; // by queue, as they are in force
const groups = {}; // queue -> the instance that it lives in
const waiting = new Map(); // invocation -> what answers the Worker
let handler, gathering, ending = false, invocations = 0;

const whole = (ms) => Math.ceil(ms / 1000) * 1000; // Cloudflare counts delays and batch timeouts in seconds

const operations = {
  async hello({ clock_ms }) {
    if (clock_ms !== undefined) clock.enable(clock_ms); // virtual time
    const server = createServer(deliver).listen(0, "127.0.0.1");
    await new Promise((done) => server.once("listening", done));
    handler = `http://127.0.0.1:${server.address().port}/`;
    const version = (name) => createRequire(import.meta.url)(`${name}/package.json`).version;
    return {
      system: "Cloudflare Queues", version: `miniflare ${version("miniflare")}`, backend: `workerd ${version("workerd")}`, quantum_ms: 200,
      capabilities: {
        attempts: { is: "native", note: "max_retries, one less" },
        infinite_attempts: { is: "emulated", note: "after 100 retries, the most there are, the Worker sends the job anew" },
        exponential_backoff: { is: "emulated", note: "retry({ delaySeconds }) by the number of attempts; whole seconds", jitter: false },
        timeout: { is: "emulated", note: "the handler that the consumer calls stops at its timeout", stops: true },
        dead_letters: { is: "native", note: "a consumer of the dead letter queue keeps them in D1; the error is job_status's", errors: true },
        redrive: { is: "emulated", note: "the Worker sends the dead letter to its queue again" },
        batch: { is: "native", note: "at most 100, whole seconds; ack and retry by message" },
        idempotency_key: { is: "emulated", note: "a unique key in D1" },
        schedule: { is: "emulated", note: "jobs wait in D1; a cron trigger, fired by the adapter, takes them" },
        cancel: { is: "emulated", note: "a mark in D1; the consumer drops the message" },
        status: { is: "emulated", note: "the job_status table in D1", times: false },
        attempt_number: { is: "native", note: "message.attempts" },
      },
    };
  },

  async configure({ queue, policy }) {
    const applied = { slots: 1 }; // one batch at a time
    const { backoff, batch } = policy;
    if (backoff?.exponential) applied.backoff = { exponential: { ...backoff.exponential, first_ms: whole(backoff.exponential.first_ms), max_ms: whole(backoff.exponential.max_ms) } };
    if (batch?.wait_ms) applied.batch = { ...batch, size: Math.min(batch.size, 100), wait_ms: whole(batch.wait_ms) };
    const { slots, ...differs } = applied;
    policies[queue] = { ...policy, ...differs };
    if (gathering) clearTimeout(gathering.timer);
    else {
      gathering = { queues: [] };
      gathering.ready = new Promise((ready) => (gathering.start = () => ready(start(gathering.queues))));
    }
    gathering.queues.push(queue);
    groups[queue] = gathering;
    gathering.timer = setTimeout(() => { gathering.start(); gathering = undefined; }, GATHERING_MS);
    return Object.keys(applied).length ? { applied } : {};
  },

  async enqueue({ queue, job, payload, user, idempotency_key }) {
    const made = await post(queue, "jobs", { queue, job, payload, user, idempotency_key });
    return made.job === job ? {} : made;
  },
  async redrive({ queue, job }) { return post(queue, "redrive", { queue, job }); },

  async dead_letters({ queue }) {
    const db = await database(queue);
    const { results } = await db.prepare("SELECT job, d.payload, error FROM dead_letters d JOIN job_status ON id = job WHERE queue = ?").bind(queue).all();
    return { jobs: results.map(({ job, payload, error }) => ({ job, payload: JSON.parse(payload), error })) };
  },
  async status({ queue, job }) {
    const row = await (await database(queue)).prepare("SELECT * FROM job_status WHERE id = ?").bind(job).first();
    return row ? { status: row.status, final: row.completed_at !== null, retry_count: row.retry_count, ...(row.status === "failed" && { error: row.error }) } : { status: null };
  },
  async cancel({ queue, job }) {
    const { meta } = await (await database(queue))
      .prepare("UPDATE job_status SET status = 'failed', error = 'cancelled', completed_at = CURRENT_TIMESTAMP WHERE id = ? AND status IN ('pending', 'failed') AND completed_at IS NULL").bind(job).run();
    if (meta.changes === 0) throw new Refused(`${job} does not wait`);
    return {};
  },

  async advance({ to_ms }) { await clock.advance(to_ms - clock.now); return {}; },

  async bye() {
    ending = true;
    const instances = await Promise.all([...new Set(Object.values(groups))].map((group) => group.ready));
    await Promise.all(instances.map(({ miniflare }) => miniflare.dispose()));
    return {};
  },
};
class Refused extends Error {}

// An instance with these queues, their dead letter queues, a D1 database and an Analytics Engine dataset.
async function start(queues) {
  const producers = {}, consumers = {};
  for (const queue of queues) {
    const { attempts, batch, dead_letter_queue, schedule } = policies[queue];
    if (schedule) continue;
    producers[queue] = { queueName: queue };
    consumers[queue] = { maxBatchSize: batch?.size ?? 1, maxBatchTimeout: (batch?.wait_ms ?? 0) / 1000, maxRetries: attempts === "infinite" ? MAX_RETRIES : attempts - 1 };
    if (!dead_letter_queue) continue;
    consumers[queue].deadLetterQueue = `${queue}-dlq`;
    consumers[`${queue}-dlq`] = { maxBatchSize: 1, maxBatchTimeout: 0 };
  }
  const miniflare = new Miniflare({
    name: "kew", modules: true, scriptPath: "worker.mjs", compatibilityDate: "2026-07-01", cf: false, log: new Log(LogLevel.WARN),
    bindings: { POLICIES: Object.fromEntries(queues.map((queue) => [queue, policies[queue]])), HANDLER: handler },
    d1Databases: { DB: "kew" }, analyticsEngineDatasets: { EVENTS: { dataset: "events" } }, queueProducers: producers, queueConsumers: consumers,
  });
  const db = await miniflare.getD1Database("DB");
  await db.exec(readFileSync("schema.sql", "utf8").trim());
  const brokers = await miniflare._getInternalDurableObjectNamespace("queues", "queues:queue", "QueueBrokerObject");
  const active = async () => (await miniflare.dispatchFetch("http://kew/active", { method: "POST", body: "{}" })).json();
  for (const name of Object.keys(consumers)) {
    const stub = brokers.get(brokers.idFromName(name));
    const { maxBatchSize, maxBatchTimeout, deadLetterQueue } = consumers[name];
    await clock.add(name, {
      set: (now) => control(stub, "enableFakeTimers", now),
      quiet: () => control(stub, "waitForFakeTasks").catch((error) => { if (!ending) throw error; }),
      ...(maxBatchSize > 1 && maxBatchTimeout > 0 && { active: async () => (await active())[name] ?? 0 }),
      feeds: deadLetterQueue, horizon: (policies[name]?.backoff?.exponential?.max_ms ?? 0) + maxBatchTimeout * 1000 + 1000,
    });
  }
  for (const queue of queues) if (policies[queue].schedule) {
    await clock.add(queue, { quiet: async () => { while (policies[queue].busy) await policies[queue].busy; } });
    tick(queue, await miniflare.getWorker());
  }
  return { miniflare, db };
}

// A control operation of miniflare's queue broker (its Timers): enableFakeTimers(now), again to move the time; waitForFakeTasks().
async function control(stub, name, ...args) {
  const response = await stub.fetch("http://placeholder/", { cf: { miniflare: { controlOp: { name, args } } } });
  if (!response.ok) throw new Error(`${name}: ${await response.text()}`);
  return response.json();
}
const database = async (queue) => (await groups[queue].ready).db;

// Miniflare does not fire cron triggers by itself, and Cloudflare's know no less than a minute: this is the clock.
function tick(queue, worker) {
  const policy = policies[queue];
  const next = (Math.floor(clock.time() / policy.schedule.every_ms) + 1) * policy.schedule.every_ms;
  clock.setTimeout(() => {
    tick(queue, worker);
    clock.touch(queue);
    policy.due = next;
    fire(policy, queue, worker);
  }, next - clock.time());
}

// One run at a time: ticks that come meanwhile are one more run after it.
function fire(policy, queue, worker) {
  if (policy.busy || policy.due === undefined) return;
  const scheduledTime = new Date(policy.due);
  policy.due = undefined;
  policy.busy = worker.scheduled({ cron: queue, scheduledTime }).finally(() => {
    policy.busy = undefined;
    fire(policy, queue, worker);
  });
}

async function post(queue, path, asked) {
  const { miniflare } = await groups[queue].ready;
  await clock.touch(queue);
  const response = await miniflare.dispatchFetch(`http://kew/${path}`, { method: "POST", body: JSON.stringify({ ...asked, now: clock.time() }) });
  if (!response.ok) throw new Error(await response.text());
  const answer = await response.json();
  if (answer.refused) throw new Refused(answer.refused);
  return answer;
}

// The Worker calls for a delivery; the answer is written when the harness has told the outcome, or at the policy's timeout.
function deliver(request, response) {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const invocation = `i${++invocations}`;
    const { queue, jobs } = JSON.parse(body);
    clock.arrived(queue);
    const answer = async (results) => {
      clock.clearTimeout(timer);
      waiting.delete(invocation);
      await clock.touch(queue);
      clock.answered(queue);
      response.end(JSON.stringify(results));
    };
    const timer = clock.setTimeout(() => {
      say({ event: "stopped", invocation, why: "timeout" });
      return answer(jobs.map(({ job }) => ({ job, result: "failed", error: "timed out" })));
    }, policies[queue].timeout_ms);
    waiting.set(invocation, answer);
    say({ event: "invoke", invocation, queue, jobs: jobs.map(({ job, attempt, payload }) => ({ job, attempt, payload })) });
  });
}

process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));
createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, op, ...asked } = JSON.parse(line);
    if (op === "outcome") return clock.track(Promise.resolve(waiting.get(asked.invocation)?.(asked.jobs))); // none: it was stopped
    try {
      const done = operations[op](asked);
      say({ id, ok: await (op === "advance" ? done : clock.track(done)) });
    } catch (error) {
      say({ id, [error instanceof Refused ? "refused" : "unknown"]: error.message });
    }
    if (op === "bye") process.exit(0);
  })
  .on("close", () => operations.bye().finally(() => process.exit(0)));
