# A job that is scheduled for later holds its lock until then: jobs that came after it do not start (procrastinate-org/procrastinate#1599).
# needs: procrastinate==3.10.0 psycopg[binary,pool]==3.3.9
# server: postgres
import asyncio, logging, os, time

from procrastinate import App, PsycopgConnector

RUNS = int(os.environ.get("RUNS", 3))
logging.basicConfig(level=logging.CRITICAL)
app = App(connector=PsycopgConnector())
ran = {}


@app.task(name="work")
async def work(name):
    ran[name] = time.time()


async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(app.run_worker_async(concurrency=4, fetch_job_polling_interval=0.1, install_signal_handlers=False))
        held = 0
        for run in range(1, RUNS + 1):
            begun = time.time()
            await work.configure(lock=f"l{run}", schedule_in={"seconds": 6}).defer_async(name=f"later-{run}")
            await work.configure(lock=f"l{run}").defer_async(name=f"now-{run}")
            await work.configure(lock=f"other{run}").defer_async(name=f"other-{run}")
            while len([it for it in ran if it.endswith(f"-{run}")]) < 3:
                await asyncio.sleep(0.1)
            waits = {it: ran[f"{it}-{run}"] - begun for it in ("other", "later", "now")}
            print("; ".join(f"{it} ran after {at:.1f} s" for it, at in waits.items()))
            held += waits["now"] > 5
        print(f"a job that was due at once waited for one of its lock that was due 6 s later: {held} of {RUNS} runs")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


asyncio.run(main())
