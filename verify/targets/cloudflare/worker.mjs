// The architecture that Kew began from (docs/background-processing-architecture.md), as one Cloudflare Worker: a producer
// (fetch), the consumer of every queue and of every dead letter queue (queue), a cron trigger (scheduled), job_status in D1,
// and Analytics Engine. What a job does is the handler's business, which is called over HTTP and says how each job ended.

const MAX_RETRIES = 100; // the most that Cloudflare Queues allows

const active = {}; // queue -> its deliveries that run

export default {
  // Create a job and return its id; or put a dead letter back.
  async fetch(request, env) {
    const asked = await request.json();
    if (new URL(request.url).pathname === "/active") return Response.json(active);
    const create = new URL(request.url).pathname === "/jobs";
    return Response.json(create ? await createJob(env, asked) : await redrive(env, asked));
  },

  async queue(batch, env) {
    active[batch.queue] = (active[batch.queue] ?? 0) + 1;
    return deliver(batch, env).finally(() => active[batch.queue]--);
  },
  // The tick of a scheduled queue: everything that waited in D1 at it is processed, in batches; what fails waits for the next tick.
  async scheduled(controller, env) {
    const queue = controller.cron;
    const { batch } = env.POLICIES[queue];
    const waiting = await env.DB.prepare("SELECT * FROM job_status WHERE type = ? AND status IN ('pending', 'failed') AND completed_at IS NULL AND created_at <= ? ORDER BY rowid")
      .bind(queue, new Date(controller.scheduledTime).toISOString()).all();
    const jobs = waiting.results.map((row) => ({ job: row.id, payload: JSON.parse(row.payload), attempt: row.status === "pending" ? 1 : row.retry_count + 2 }));
    const size = batch?.size ?? 1;
    for (let at = 0; at < jobs.length; at += size) await process(env, queue, jobs.slice(at, at + size), "infinite");
  },
};

async function deliver(batch, env) {
  const queue = Object.keys(env.POLICIES).find((name) => batch.queue === name || batch.queue === `${name}-dlq`);
  if (batch.queue !== queue) return keepDeadLetters(env, queue, batch.messages);
  const { attempts, backoff } = env.POLICIES[queue];
  const jobs = batch.messages.map(({ body, attempts }) => ({ ...body, attempt: (body.earlier ?? 0) + attempts }));
  const results = await process(env, queue, jobs, attempts);
  for (const [i, message] of batch.messages.entries()) {
    if (results[i].result !== "failed") { message.ack(); continue; } // completed, or cancelled before
    const { attempt } = jobs[i];
    const delaySeconds = backoff ? Math.min(backoff.exponential.first_ms * 2 ** (attempt - 1), backoff.exponential.max_ms) / 1000 : 0;
    if (attempts !== "infinite" || message.attempts <= MAX_RETRIES) { message.retry({ delaySeconds }); continue; }
    await env[queue].send({ ...message.body, earlier: attempt }, { delaySeconds }); // a new message, with a hundred retries more
    message.ack();
  }
}

async function createJob(env, { queue, job, payload, user, idempotency_key, now }) {
  if (idempotency_key) {
    await env.DB.prepare("INSERT INTO idempotency_keys VALUES (?, ?, ?) ON CONFLICT DO NOTHING").bind(user, idempotency_key, job).run();
    const first = await env.DB.prepare("SELECT job FROM idempotency_keys WHERE user_id = ? AND key = ?").bind(user, idempotency_key).first("job");
    if (first !== job) return { job: first };
  }
  await env.DB.prepare("INSERT INTO job_status (id, type, status, user_id, payload, created_at) VALUES (?, ?, 'pending', ?, ?, ?)")
    .bind(job, queue, user, JSON.stringify(payload), new Date(now).toISOString()).run();
  if (!env.POLICIES[queue].schedule) await env[queue].send({ job, payload });
  return { job };
}

// One delivery: the rows say `processing`, the handler works until it answers, the rows say the end. What was cancelled is left out.
async function process(env, queue, jobs, attempts) {
  const begun = await env.DB.batch(jobs.map(({ job, attempt }) => env.DB
    .prepare("UPDATE job_status SET status = 'processing', retry_count = ?, updated_at = CURRENT_TIMESTAMP WHERE id = ? AND error IS NOT 'cancelled'").bind(attempt - 1, job)));
  const live = jobs.filter((_, i) => begun[i].meta.changes === 1);
  if (live.length === 0) return jobs.map(() => ({ result: "cancelled" }));
  const answers = await fetch(env.HANDLER, { method: "POST", body: JSON.stringify({ queue, jobs: live }) })
    .then((response) => response.json())
    .catch((error) => live.map(({ job }) => ({ job, result: "failed", error: String(error) })));
  await env.DB.batch(answers.map(({ job, result, error }) => {
    const over = result === "completed" || live.find((each) => each.job === job).attempt === attempts;
    return env.DB.prepare(`UPDATE job_status SET status = ?, error = ?, updated_at = CURRENT_TIMESTAMP, completed_at = ${over ? "CURRENT_TIMESTAMP" : "NULL"} WHERE id = ?`)
      .bind(result, result === "failed" ? error ?? "failed" : null, job);
  }));
  for (const { job, result } of answers) env.EVENTS.writeDataPoint({ indexes: [queue], blobs: [job, result] });
  return jobs.map(({ job }) => answers.find((answer) => answer.job === job) ?? { result: "cancelled" });
}

async function keepDeadLetters(env, queue, messages) {
  await env.DB.batch(messages.map(({ body }) => env.DB.prepare("INSERT INTO dead_letters (queue, job, payload) VALUES (?, ?, ?)").bind(queue, body.job, JSON.stringify(body.payload))));
}

async function redrive(env, { queue, job }) {
  const letter = await env.DB.prepare("DELETE FROM dead_letters WHERE queue = ? AND job = ? RETURNING payload").bind(queue, job).first("payload");
  if (letter === null) return { refused: `no dead letter ${job}` };
  await env.DB.prepare("UPDATE job_status SET status = 'pending', retry_count = 0, error = NULL, completed_at = NULL, updated_at = CURRENT_TIMESTAMP WHERE id = ?").bind(job).run();
  await env[queue].send({ job, payload: JSON.parse(letter) });
  return {};
}
