// What the load programs written for Node.js share: their arguments, the payload, the window of jobs in flight and the
// line that they print. It knows no queue.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** How many producers create jobs at once, in `enqueue`. */
export const PRODUCERS = 64;

/** How many jobs are created and not yet completed, in `mixed`. */
export const IN_FLIGHT = 1000;

/** The job's payload: 102 bytes as JSON, the same for every system. */
export const PAYLOAD = {
  resume_id: "5f0c7e8a-1b2d-4c3e-9f40-a1b2c3d4e5f6",
  template: "modern",
  format: "pdf",
  pages: [1, 20],
};

/** A measurement that takes longer is void. */
const SECONDS_MAX = 120;

/** `PROGRAM WORK JOBS CONFIGURATION PLACE`, as `run` calls it. */
export function readArguments() {
  const [work, jobs, configuration, place] = process.argv.slice(2);
  if (!["enqueue", "process", "mixed"].includes(work) || !(Number(jobs) > 0) || !place) {
    throw new Error("usage: PROGRAM enqueue|process|mixed JOBS CONFIGURATION PLACE");
  }
  setTimeout(() => {
    console.error(`not done within ${SECONDS_MAX} s`);
    process.exit(1);
  }, SECONDS_MAX * 1000).unref();
  return { work, jobs: Number(jobs), warmUp: Math.max(PRODUCERS, Math.floor(Number(jobs) / 10)), configuration, place };
}

/** Seconds, from a clock that only goes forward. */
export const now = () => Number(process.hrtime.bigint()) / 1e9;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `isSo` resolves to true, asking every few milliseconds. */
export async function until(isSo) {
  while (!(await isSo())) await sleep(2);
}

/** The version of an installed package, told by its own manifest (beside `from`, the caller's import.meta.url). */
export function versionOf(name, from) {
  for (const folder of createRequire(from).resolve.paths(name)) {
    try {
      return JSON.parse(readFileSync(`${folder}/${name}/package.json`, "utf8")).version;
    } catch {
      // It is in one of the next folders.
    }
  }
  return "unknown";
}

/** Prints the one line that `run` reads. `completed` is counted by the system itself. */
export function printLine({ work, jobs, configuration }, { system, version, durability, seconds, completed }) {
  console.log(JSON.stringify({ system, version, configuration, durability, work, jobs, seconds, completed }));
}

/** Single creates, each awaited, from so many producers. Resolves to the seconds that it took. */
export async function createFrom(producers, jobs, create) {
  const began = now();
  let left = jobs;
  const producer = async () => {
    while (left > 0) {
      left -= 1;
      await create();
    }
  };
  await Promise.all(Array.from({ length: producers }, producer));
  return now() - began;
}

/** The window of `mixed`: a job enters before it is created and leaves when its handler has run. */
export class Window {
  #free = IN_FLIGHT;
  #waiting = [];
  #handled = 0;
  #target = Infinity;
  #reached = () => {};

  async enter() {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
  }

  leave() {
    this.#handled += 1;
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
    if (this.#handled === this.#target) this.#reached();
  }

  /** Resolves when so many handlers have run. */
  handled(jobs) {
    if (this.#handled >= jobs) return Promise.resolve();
    this.#target = jobs;
    return new Promise((resolve) => (this.#reached = resolve));
  }
}
