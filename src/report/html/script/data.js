// What the page was given, and ways to find things in it. Knows nothing of the screen.

const data = JSON.parse(document.getElementById("data").textContent);
const { lanes, jobs, arrows, drained } = data.timeline;

const events = data.timeline.events.map(([line, at, kind, how, lane, jobs, text, beside], index) => (
  { index, line, at, kind, how, lane, jobs, text, beside }
));
const begin = events.length ? events[0].at : 0;
const end = events.length ? Math.max(events[events.length - 1].at, begin + 1) : 1;

const eventOfLine = new Map(events.map((event) => [event.line, event]));

/** Spans get the times of the events that they hang on. */
const timed = (span) => ({
  ...span,
  begins: events[span.from].at,
  ends: span.to === null ? end : events[span.to].at,
});
const handlers = data.timeline.handlers.map(timed);
const sessions = data.timeline.sessions.map(timed);
const ups = data.timeline.ups.map(timed);
const faults = data.timeline.faults.map(timed);

const deliveries = data.timeline.deliveries.map((delivery, index) => (
  { ...delivery, index, begins: events[delivery.event].at, ends: delivery.to, handlers: [] }
));
const leases = data.timeline.leases.map((lease, index) => (
  { ...lease, index, begins: deliveries[lease.delivery].begins, ends: lease.to }
));
for (const delivery of deliveries) {
  delivery.leases = leases.slice(delivery.first, delivery.first + delivery.count);
}

/** Handlers find their delivery by the arrow from its grant. */
{
  const deliveryOf = new Map(deliveries.map((delivery) => [delivery.event, delivery]));
  const grantOf = new Map(arrows.filter(([message]) => message === "grant").map(([, from, to]) => [to, from]));
  for (const handler of handlers) {
    handler.delivery = deliveryOf.get(grantOf.get(handler.from)) ?? null;
    handler.delivery?.handlers.push(handler);
  }
}

const byLane = lanes.map(() => []);
const byJob = jobs.map(() => []);
for (const event of events) {
  if (event.lane !== null) byLane[event.lane].push(event);
  for (const job of new Set(event.jobs)) byJob[job].push(event);
}
const leasesByJob = jobs.map(() => []);
for (const lease of leases) leasesByJob[lease.job].push(lease);

const clauses = data.families.flatMap((family) => family.clauses);
for (const clause of clauses) if (clause.not_offered) clause.state = "not-offered";

/** The first place in `list`, which is in the order of `key`, whose key is not below `value`. */
function place(list, value, key = (item) => item.at) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How much of the end of a long id tells all jobs apart. */
const tail = (() => {
  for (let length = 6; length < 36; length += 1) {
    if (new Set(jobs.map((job) => job.id.slice(-length))).size === jobs.length) return length;
  }
  return 36;
})();

function short(id) {
  return id.length <= 12 ? id : id.slice(-tail);
}

/** A sentence with its long ids cut to what tells them apart. */
function brief(text) {
  return text.replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, short);
}

/** Milliseconds as seconds: `30.204`. */
function seconds(ms, digits = 3) {
  return (ms / 1000).toFixed(digits);
}

/** A length of time in the unit that suits it. */
function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  return `${(ms / 60000).toFixed(1)} min`;
}

function grouped(number) {
  return number.toLocaleString("en");
}

/** `1 job`, `12 jobs`. */
function counted(number, noun) {
  return `${grouped(number)} ${noun}${number === 1 ? "" : "s"}`;
}
