// A clock that is moved by hand, for the queue brokers of all miniflare instances and for this process's own timers.
export class Clock {
  now; parts = new Map(); timers = new Set(); ops = new Set(); // now: undefined until enabled, then in ms
  get on() { return this.now !== undefined; }
  time = () => this.now ?? Date.now();
  setTimeout(fn, ms) { // the process's own timers (handler timeouts, ticks)
    if (!this.on) return setTimeout(fn, Math.min(ms, 2 ** 31 - 1));
    const timer = { at: this.now + ms, fn };
    this.timers.add(timer);
    return timer;
  }
  clearTimeout(timer) { this.timers.delete(timer) || clearTimeout(timer); }
  track(promise) { this.ops.add(promise); promise.finally(() => this.ops.delete(promise)).catch(() => {}); return promise; } // what advance() waits for first

  // A part is a queue: quiet() resolves when nothing of it runs; set(now) sets its broker's clock; active(), where batches can
  // overlap, tells how many deliveries run in the Worker; feeds is the key of the part that gets its dead letters; horizon is
  // within how many ms of a send or an answer all that follows from it has begun.
  async add(key, part) {
    this.parts.set(key, (part = { key, parked: 0, arrivals: [], phases: new Map(), horizon: 0, dirty: true, set() {}, ...part }));
    if (this.on) await this.#set(part);
  }
  enable(now) { this.now = now; } // before there is a part: what a broker was sent in real time stays there
  async #set(part) {
    const { now } = this;
    if (part.at === now) return;
    await part.set(now);
    part.at = now;
  }
  // To be called before anything that makes a broker set a timer: a send, an answer.
  async touch(key) {
    const part = this.parts.get(key);
    if (!this.on || !part) return;
    part.phases.set(this.now % 1000, this.now + part.horizon); // delays are whole seconds: all that is set now falls due at this phase
    part.dirty = true;
    await this.#set(part);
  }
  arrived(key) { const part = this.parts.get(key); if (part) { part.parked++; for (const done of part.arrivals.splice(0)) done(); } }
  answered(key) { const part = this.parts.get(key); if (part) { part.parked--; part.dirty = true; } }

  async #settle(part) { // until it runs nothing, or all that runs waits for this process's answer
    part.dirty = false;
    if (part.parked === 0) {
      let arrive;
      const arrival = new Promise((done) => part.arrivals.push((arrive = done)));
      await Promise.race([part.quiet(), arrival]);
      part.arrivals = part.arrivals.filter((done) => done !== arrive);
    }
    while (part.parked > 0 && part.active && (await part.active()) > part.parked) await new Promise((done) => setTimeout(done, 1));
  }
  async settle() {
    for (;;) { // a dead letter queue after the queue that feeds it
      const dirty = [...this.parts.values()].filter((part) => part.dirty);
      if (dirty.length === 0) return;
      await Promise.all(dirty.map(async (part) => { await this.#settle(part); if (part.feeds) this.parts.get(part.feeds).dirty = true; }));
    }
  }
  async advance(ms) { // one step; ms should divide 1000
    while (this.ops.size) await Promise.allSettled([...this.ops]);
    await this.settle();
    this.now += ms;
    await Promise.all([...this.parts.values()].map(async (part) => {
      if (!(this.now <= part.phases.get(this.now % 1000))) return;
      part.dirty = true;
      await this.#set(part); // runs what is due
    }));
    await this.settle();
    for (const timer of [...this.timers].filter(({ at }) => at <= this.now)) if (this.timers.delete(timer)) await timer.fn();
    await this.settle();
  }
}
