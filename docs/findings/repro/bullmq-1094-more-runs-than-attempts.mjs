// A job that is fetched while another is being finished does not count its attempt, and so has more than it may (taskforcesh/bullmq#1094).
// needs: bullmq@1.74.1
// server: redis
import * as bullmq from "bullmq";

const { Queue, Worker, QueueScheduler } = bullmq.default ?? bullmq;
const RUNS = Number(process.env.RUNS ?? 5), ATTEMPTS = 2, JOBS = 8;
const connection = { port: Number(process.env.REDIS_PORT) };
let wrong = 0;
for (let run = 1; run <= RUNS; run += 1) {
  const queue = new Queue(`q${run}`, { connection });
  const scheduler = QueueScheduler && new QueueScheduler(`q${run}`, { connection });
  const runs = {};
  for (let n = 0; n < JOBS; n += 1) {
    await queue.add("fail", {}, { jobId: `job-${n}`, attempts: ATTEMPTS });
    for (let m = 0; m < 4; m += 1) await queue.add("ok", {});
  }
  const worker = new Worker(`q${run}`, async ({ name, id }) => {
    if (name === "ok") return;
    runs[id] = (runs[id] ?? 0) + 1;
    throw new Error("no");
  }, { connection });
  await new Promise((done) => setTimeout(done, 3000));
  await Promise.all([worker.close(), scheduler?.close()]);
  const most = Math.max(...Object.values(runs));
  console.log(`${JOBS} jobs that always fail, attempts: ${ATTEMPTS}, among others that succeed: handed over ${JSON.stringify(Object.values(runs))}`);
  if (most > ATTEMPTS) wrong += 1;
  await queue.close();
}
console.log(`more deliveries than attempts in ${wrong} of ${RUNS} runs`);
process.exit(0);
