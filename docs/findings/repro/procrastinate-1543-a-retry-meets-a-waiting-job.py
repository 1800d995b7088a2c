# A job that is to be retried while another with its queueing_lock waits stays "doing", and its lock stops the key
# (procrastinate-org/procrastinate#1543, and #1446 by the recovery of stalled jobs).
# needs: procrastinate==3.10.0 psycopg[binary,pool]==3.3.9
# server: postgres
import asyncio, logging, os

from procrastinate import App, PsycopgConnector

RUNS = int(os.environ.get("RUNS", 3))
logging.basicConfig(level=logging.CRITICAL)
app = App(connector=PsycopgConnector())  # PGHOST, PGUSER, PGDATABASE
calls, hold = [], {}


@app.task(name="sync", retry=5)
async def sync(entity, value):
    calls.append((entity, value))
    if value == "old" and calls.count((entity, value)) == 1:
        await hold[entity].wait()
        raise RuntimeError("no network")


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(app.run_worker_async(concurrency=4, fetch_job_polling_interval=0.1, install_signal_handlers=False))
        wedged = 0
        for run in range(1, RUNS + 1):
            entity = f"contact-{run}"
            hold[entity] = asyncio.Event()
            defer = lambda value: sync.configure(lock=entity, queueing_lock=entity).defer_async(entity=entity, value=value)
            old = await defer("old")
            while (entity, "old") not in calls:
                await asyncio.sleep(0.05)
            new = await defer("new")  # while old runs: allowed, as only one waits
            hold[entity].set()  # old fails, and has four retries left
            await asyncio.sleep(5)
            states = {it.id: it.status for it in await app.job_manager.list_jobs_async(lock=entity)}
            print(f"{entity}: old failed once (retry=5), new waits; 5 s later: old is {states[old]!r}, new is {states[new]!r}; calls {[v for e, v in calls if e == entity]}")
            wedged += states[old] == "doing" and states[new] == "todo"
        print(f"neither is ever run again, while the worker lives: {wedged} of {RUNS} runs")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


asyncio.run(main())
