// job.retry() of a job that stalled too often does not set its stall count back: it fails at its next stall (taskforcesh/bullmq#3555).
// needs: bullmq@6.7.0 ioredis@6.0.0
// server: redis
import { fork } from "node:child_process";
import { Queue, Worker } from "bullmq";

const connection = { port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
if (process.argv[2] === "worker") {
  new Worker("q", async () => { process.send("begun"); await new Promise(() => {}); }, { connection, lockDuration: 1000, stalledInterval: 500, maxStalledCount: 1 });
} else {
  const queue = new Queue("q", { connection });
  const job = await queue.add("work", {}, { attempts: 3 });
  const kills = async () => { // how many workers it takes until it has failed
    for (let deaths = 0; ;) {
      const worker = fork(process.argv[1], ["worker"]);
      const begun = await Promise.race([new Promise((done) => worker.once("message", () => done(true))), new Promise((done) => setTimeout(() => done(false), 4000))]);
      worker.kill("SIGKILL");
      if (begun) deaths += 1;
      await new Promise((done) => setTimeout(done, 1500));
      if (await job.isFailed() || deaths > 4) return deaths;
    }
  };
  console.log(`maxStalledCount 1: failed when ${await kills()} workers had died: ${(await queue.getJob(job.id)).failedReason}`);
  await (await queue.getJob(job.id)).retry("failed", { resetAttemptsMade: true, resetAttemptsStarted: true });
  const deaths = await kills();
  console.log(`after job.retry(): failed when ${deaths} workers had died; stalledCounter ${(await queue.getJob(job.id)).stalledCounter}`);
  console.log(deaths === 1 ? "the stall count of before the retry counts" : "the stall count was set back");
  process.exit(0);
}
