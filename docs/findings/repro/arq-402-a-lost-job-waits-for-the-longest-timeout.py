# What a killed worker ran is run again only after the longest timeout of all its functions (python-arq/arq#402).
# needs: arq==0.26.3 redis==5.2.1
# server: redis
import asyncio, os, shutil, signal, subprocess, sys, time

from arq import create_pool, func
from arq.connections import RedisSettings

PORT = int(os.environ["REDIS_PORT"])


async def quick(ctx):
    await ctx["redis"].rpush("begun", time.time())
    if await ctx["redis"].llen("begun") == 1:
        os.kill(os.getpid(), signal.SIGKILL)


async def slow(ctx):
    pass


class WorkerSettings:
    redis_settings = RedisSettings(port=PORT)
    functions = [func(quick, timeout=2), func(slow, timeout=int(os.environ.get("LONGEST", 30)))]
    poll_delay = 0.1


async def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "arq_402.py"))
    for longest in (2, 30):
        pool = await create_pool(RedisSettings(port=PORT))
        await pool.enqueue_job("quick")
        start = lambda: subprocess.Popen(["arq", "arq_402.WorkerSettings"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         env={**os.environ, "LONGEST": str(longest), "PYTHONPATH": sys.prefix})
        start().wait()
        second, begun = start(), time.time()
        while await pool.llen("begun") < 2 and time.time() < begun + 90:
            await asyncio.sleep(0.1)
        first, again = [float(it) for it in await pool.lrange("begun", 0, -1)]
        print(f"timeouts 2 s (the job's) and {longest} s (another function's): killed, and run again {again - first:.1f} s later", flush=True)
        second.kill()
        await pool.flushdb()


if __name__ == "__main__":
    asyncio.run(main())
