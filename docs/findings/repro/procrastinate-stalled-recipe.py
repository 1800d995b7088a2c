# The documented recipe for stalled jobs gives a job that kills its worker another attempt for ever, whatever its retry says.
# needs: procrastinate==3.10.0 psycopg[binary,pool]==3.3.9
# server: postgres
import asyncio, os, shutil, signal, subprocess, sys, time

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(), worker_defaults={"update_heartbeat_interval": 0.5, "stalled_worker_timeout": 2, "fetch_job_polling_interval": 0.2})


@app.task(name="deadly", queue="work")  # no retry: one attempt
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)


@app.periodic(cron="* * * * * *")
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True, queue="recipe")
async def retry_stalled_jobs(context, timestamp):
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=2):
        await app.job_manager.retry_job(job)


async def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "procrastinate_stalled.py"))
    run = lambda queue: subprocess.Popen(["procrastinate", "-a", "procrastinate_stalled.app", "worker", "-q", queue], start_new_session=True,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": sys.prefix})
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        keeper = run("recipe")
        job, deaths, begun = await deadly.defer_async(), [], time.time()
        while len(deaths) < 4 and time.time() < begun + 60:
            worker = run("work")
            while worker.poll() is None and time.time() < begun + 60:
                await asyncio.sleep(0.05)
            deaths.append(time.time() - begun)
        [row] = await app.job_manager.list_jobs_async(id=job)
        print(f"a task without retry killed {len(deaths)} workers, {', '.join(f'{it:.1f} s' for it in deaths)} after it was deferred; its attempts: {row.attempts}")
        os.killpg(keeper.pid, signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
