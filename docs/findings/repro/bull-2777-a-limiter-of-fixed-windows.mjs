// The limiter counts in windows that begin with their first job: more than `max` start within `duration` around the end of one
// (OptimalBits/bull#2777, closed as wontfix; BullMQ's works alike).
// needs: bullmq@6.7.0 ioredis@6.0.0
// server: redis
import { Queue, Worker } from "bullmq";

const RUNS = Number(process.env.RUNS ?? 5), MAX = 10, DURATION = 1000;
const connection = { port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
let wrong = 0;
for (let run = 1; run <= RUNS; run += 1) {
  const queue = new Queue(`q${run}`, { connection }), starts = [];
  const worker = new Worker(`q${run}`, async () => { starts.push(Date.now()); }, { connection, concurrency: 20, limiter: { max: MAX, duration: DURATION } });
  await worker.waitUntilReady();
  await queue.add("call", {}); // opens a window …
  await new Promise((done) => setTimeout(done, DURATION - 150));
  await queue.addBulk(Array.from({ length: 30 }, () => ({ name: "call", data: {} }))); // … that ends soon after the others come
  await new Promise((done) => setTimeout(done, 1500));
  await worker.close(true);
  await queue.close();
  const within = starts.map((first) => starts.filter((at) => first <= at && at < first + DURATION));
  const most = within.reduce((a, b) => (b.length > a.length ? b : a));
  console.log(`max ${MAX} per ${DURATION} ms: ${most.length} starts within ${most.at(-1) - most[0]} ms`);
  if (most.length > MAX) wrong += 1;
}
console.log(`more than ${MAX} starts within ${DURATION} ms in ${wrong} of ${RUNS} runs`);
process.exit(0);
