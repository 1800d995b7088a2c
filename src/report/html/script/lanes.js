// Where things stand: which rows there are, how high each is, and in which track of its row a bar lies.

const GUTTER = 164;
const AXIS = 26;
const PINS = 20;
const TRACK = 15;

/** Puts bars that overlap into tracks of their own. Gives each its track, and how many there are. */
function stack(bars) {
  const free = [];
  const sorted = [...bars].sort((one, other) => one.begins - other.begins || other.ends - one.ends);
  for (const bar of sorted) {
    let track = free.findIndex((ends) => ends <= bar.begins);
    if (track < 0) track = free.length;
    free[track] = Math.max(bar.ends, bar.begins + 1);
    bar.track = track;
  }
  return Math.max(free.length, 1);
}

const deliveriesByLane = lanes.map(() => []);
for (const delivery of deliveries) {
  if (delivery.lane !== null) deliveriesByLane[delivery.lane].push(delivery);
}
const strayByLane = lanes.map(() => []);
for (const handler of handlers) {
  if (handler.delivery === null && handler.lane !== null) strayByLane[handler.lane].push(handler);
}
const tracksByLane = lanes.map((_, lane) => stack([...deliveriesByLane[lane], ...strayByLane[lane]]));
const sessionsByLane = lanes.map((_, lane) => sessions.filter((session) => session.lane === lane));
const upsByLane = lanes.map((_, lane) => ups.filter((up) => up.lane === lane));
const faultsByLane = lanes.map((_, lane) => faults.filter((fault) => fault.lanes.includes(lane)));
const tracksByJob = leasesByJob.map(stack);

const HEIGHTS = { users: 32, operator: 24, api: 22, broker: 40, notifier: 22, outside: 24, other: 22 };

function laneHeight(lane) {
  if (lanes[lane].group !== "processor") return HEIGHTS[lanes[lane].group];
  return Math.min(tracksByLane[lane], 8) * TRACK + 7;
}

/** With more jobs than these the rest get rows only when they are followed. */
const JOBS_MAX = 5000;

/** The rows from top to bottom: the jobs that are followed, the hosts, and all other jobs in narrower rows. */
function layOut(followed) {
  const rows = [];
  let y = 0;
  const add = (row, height) => {
    rows.push({ ...row, y, height });
    y += height;
  };
  if (followed.length) add({ type: "heading", text: "jobs followed" }, 20);
  for (const job of followed) add({ type: "job", job, events: byJob[job] }, Math.min(tracksByJob[job], 6) * TRACK + 15);
  if (followed.length) add({ type: "heading", text: "hosts" }, 24);
  lanes.forEach((_, lane) => add({ type: "lane", lane, events: byLane[lane] }, laneHeight(lane)));
  const others = jobs.map((_, job) => job).filter((job) => !followed.includes(job)).slice(0, JOBS_MAX);
  if (others.length) add({ type: "heading", text: followed.length ? "other jobs" : "jobs" }, 26);
  for (const job of others) add({ type: "job", job, events: [], narrow: true }, Math.min(tracksByJob[job], 6) * TRACK + 4);
  return { rows, height: y + 10 };
}

/** The top of a bar in a row. */
function trackTop(row, track) {
  const tracks = Math.floor((row.height - 4) / TRACK);
  return row.y + (row.narrow ? 2 : 4) + Math.min(track, tracks - 1) * TRACK;
}

/** How high in its row an event stands. */
function spotY(row, event) {
  if (row.narrow) return row.y + row.height / 2;
  if (row.type === "job") return row.y + row.height - 6;
  const mark = marks[event.index];
  if (event.kind === "started" || event.kind === "finished") {
    const handler = handlerOfEvent.get(event.index);
    if (handler) return trackTop(row, (handler.delivery ?? handler).track) + TRACK / 2 - 1;
  }
  return row.y + row.height * (mark ? mark.level : 0.5);
}

const handlerOfEvent = new Map();
for (const handler of handlers) {
  handlerOfEvent.set(handler.from, handler);
  if (handler.to !== null && !handlerOfEvent.has(handler.to)) handlerOfEvent.set(handler.to, handler);
}
