// A job whose worker dies twice fails for good, whatever its attempts: stalls have a limit of their own (taskforcesh/bullmq#892, #651).
// needs: bullmq@6.7.0 ioredis@6.0.0
// server: redis
import { fork } from "node:child_process";
import { Queue, Worker } from "bullmq";

const connection = { port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const options = { connection, lockDuration: 1000, stalledInterval: 500 };
if (process.argv[2] === "worker") {
  new Worker("q", async () => { process.send("begun"); await new Promise(() => {}); }, options);
} else {
  const RUNS = Number(process.env.RUNS ?? 3);
  let wrong = 0;
  const queue = new Queue("q", { connection });
  for (let run = 1; run <= RUNS; run += 1) {
    const job = await queue.add("work", {}, { attempts: 10, backoff: { type: "fixed", delay: 100 } });
    let deaths = 0;
    const until = Date.now() + 20_000;
    while (Date.now() < until && !(await job.isFailed())) {
      const worker = fork(process.argv[1], ["worker"]);
      const begun = await Promise.race([new Promise((done) => worker.once("message", () => done(true))), new Promise((done) => setTimeout(() => done(false), 4000))]);
      worker.kill("SIGKILL");
      if (begun) deaths += 1;
      await new Promise((done) => setTimeout(done, 1500));
    }
    const { failedReason, attemptsMade, opts: { attempts } } = await queue.getJob(job.id);
    console.log(`attempts: ${attempts}; its worker was killed ${deaths} times; ${await job.getState()}: ${failedReason}; attemptsMade ${attemptsMade}`);
    if (await job.isFailed()) wrong += 1;
  }
  console.log(`failed for good with attempts left in ${wrong} of ${RUNS} runs`);
  process.exit(0);
}
