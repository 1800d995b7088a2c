// Draws the timeline as `view` says. Changes nothing.

/** What is seen: the times at the left and right edge, how far the rows are scrolled, what is followed and pointed at. */
const view = {
  from: begin,
  to: end,
  scroll: 0,
  width: 0,
  height: 0,
  followed: [],
  layout: layOut([]),
  finding: null,
  hover: null,
  selected: null,
};

let colours = {};
/** The colours of the style sheet, for the canvas. They change with the light. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = [
    "paper", "surface", "stripe", "line", "ink", "dim", "faint", "blue", "blue-soft", "teal", "teal-soft", "amber",
    "amber-soft", "dim-soft", "red", "purple", "rose", "olive",
  ];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  colours.font = style.getPropertyValue("--font").trim();
}

const top = () => AXIS + (view.finding ? PINS : 0);
const plotWidth = () => Math.max(view.width - GUTTER - 12, 50);
const xOf = (at) => GUTTER + ((at - view.from) / (view.to - view.from)) * plotWidth();
const atOf = (x) => view.from + ((x - GUTTER) / plotWidth()) * (view.to - view.from);
const yOf = (y) => y + top() - view.scroll;
const followedSet = () => new Set(view.followed);

function isFollowed(jobs, set) {
  return set.size === 0 || jobs.some((job) => set.has(job));
}

/** Draws everything. `context` is in CSS pixels. */
function draw(context) {
  const set = followedSet();
  context.clearRect(0, 0, view.width, view.height);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, view.width, view.height);
  context.save();
  context.beginPath();
  context.rect(GUTTER, top(), view.width - GUTTER, view.height - top());
  context.clip();
  drawGrid(context);
  const rows = view.layout.rows.filter((row) => yOf(row.y + row.height) > top() && yOf(row.y) < view.height);
  for (const row of rows) if (row.type === "lane") drawLaneGround(context, row);
  for (const row of rows) drawRow(context, row, set);
  drawArrows(context, set);
  drawEnd(context);
  drawFindingLines(context);
  drawPointed(context);
  context.restore();
  drawAxis(context);
  drawPins(context);
  drawGutter(context, rows);
  drawScroll(context);
}

// The time axis.

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 3e4, 6e4, 12e4, 3e5, 6e5, 12e5, 36e5, 72e5, 864e5];
function step() {
  const most = plotWidth() / 95;
  const range = view.to - view.from;
  return STEPS.find((candidate) => range / candidate <= most) ?? range / 4;
}

function ticks() {
  const by = step();
  const list = [];
  for (let at = Math.ceil(view.from / by) * by; at <= view.to; at += by) list.push(at);
  return list;
}

function drawGrid(context) {
  context.fillStyle = colours.line;
  for (const at of ticks()) context.fillRect(Math.round(xOf(at)), top(), 1, view.height);
}

function drawAxis(context) {
  context.font = `11px ${colours.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = colours.dim;
  const digits = step() < 10 ? 3 : step() < 100 ? 2 : step() < 1000 ? 1 : 0;
  for (const at of ticks()) {
    const x = xOf(at);
    if (x < GUTTER + 14) continue;
    context.fillText(`${seconds(at, digits)} s`, Math.min(x, view.width - 26), AXIS / 2 + 1);
  }
  context.fillStyle = colours.line;
  context.fillRect(0, top() - 1, view.width, 1);
}

// Rows.

function drawLaneGround(context, row) {
  const y = yOf(row.y);
  context.fillStyle = colours.line;
  context.fillRect(GUTTER, Math.round(y + row.height) - 1, view.width, 1);
  if (lanes[row.lane].group === "processor" && upsByLane[row.lane].length) drawDown(context, row, y);
  for (const fault of faultsByLane[row.lane]) drawFault(context, row, y, fault);
  context.fillStyle = colours["teal-soft"];
  for (const session of sessionsByLane[row.lane]) {
    if (session.ends < view.from || view.to < session.begins) continue;
    const [left, right] = span(session.begins, session.ends);
    context.fillRect(left, y + row.height - 4, right - left, 2);
  }
}

/** The edges of a span, cut to what is seen so that no coordinate gets huge. */
function span(begins, ends, least = 0) {
  const left = Math.max(xOf(begins), GUTTER - 40);
  return [left, Math.min(Math.max(xOf(ends), left + least), view.width + 40)];
}

function drawDown(context, row, y) {
  let since = begin;
  const gaps = [];
  for (const up of upsByLane[row.lane]) {
    if (since < up.begins) gaps.push([since, up.begins]);
    since = up.ends;
  }
  if (since < end) gaps.push([since, end]);
  for (const [begins, ends] of gaps) {
    if (ends < view.from || view.to < begins) continue;
    const [left, right] = span(begins, ends);
    hatch(context, left, y, right - left, row.height - 1, colours["dim-soft"]);
  }
}

/** Fills a box with slanted lines. They stand still on the page while the box moves. */
function hatch(context, x, y, width, height, colour) {
  if (width < 1) return;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  const left = Math.max(x, GUTTER - 10);
  const right = Math.min(x + width, view.width + 10);
  for (let line = Math.floor((left - height) / 6) * 6; line < right; line += 6) {
    context.moveTo(line, y + height);
    context.lineTo(line + height, y);
  }
  context.stroke();
  context.restore();
}

function drawFault(context, row, y, fault) {
  if (fault.ends < view.from || view.to < fault.begins) return;
  const colour = colours[faultColour(fault.kind)];
  const [left, right] = span(fault.begins, fault.ends, 3);
  context.globalAlpha = view.hover?.fault === fault ? 0.3 : 0.16;
  context.fillStyle = colour;
  context.fillRect(left, y, right - left, row.height - 1);
  context.globalAlpha = 1;
  context.fillRect(left, y, right - left, 2);
  const shown = Math.max(left, GUTTER);
  if (right - shown < 13) return;
  glyph(context, fault.kind, shown + 9, y + 10, 4.5, colour);
  context.font = `10px ${colours.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  if (right - shown > 22 + context.measureText(fault.kind).width) context.fillText(fault.kind, shown + 17, y + 10.5);
}

function drawRow(context, row, set) {
  if (row.type === "job") drawJob(context, row);
  else if (row.type === "lane") {
    if (lanes[row.lane].group === "processor") drawDeliveries(context, row, set);
    drawMarks(context, row, set);
  }
}

/** A job from its first event to its end: a line while it waits, dashes until a retry, a bar for each lease. */
function drawJob(context, row) {
  const job = jobs[row.job];
  const y = yOf(trackTop(row, 0) + TRACK / 2 - 1);
  const [left, right] = span(job.from, job.to ?? end);
  context.fillStyle = colours.faint;
  context.fillRect(left, y - 0.5, right - left, 1);
  for (const [begins, ends] of job.waits) drawWait(context, begins, ends, y);
  for (const lease of leasesByJob[row.job]) drawLease(context, row, lease);
  drawMarks(context, row, new Set());
  if (job.end && view.from <= job.to && job.to <= view.to) {
    const how = job.end === "dead-letter" ? { sign: "box", colour: "red" } : OUTCOMES[job.end];
    glyph(context, how.sign, xOf(job.to) + 8, y, 4.4, colours[how.colour]);
  }
}

function drawWait(context, begins, ends, y) {
  if (ends < view.from || view.to < begins || ends <= begins) return;
  const [left, right] = span(begins, ends);
  context.strokeStyle = colours.amber;
  context.lineWidth = 1.5;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(left, y);
  context.lineTo(right, y);
  context.stroke();
  context.setLineDash([]);
}

function drawLease(context, row, lease) {
  if (lease.ends < view.from || view.to < lease.begins) return;
  const delivery = deliveries[lease.delivery];
  const how = OUTCOMES[lease.outcome] ?? NO_OUTCOME;
  const by = delivery.lane === null ? "" : ` · ${lanes[delivery.lane].name}`;
  bar(context, yOf(trackTop(row, lease.track)), lease, how, [`attempt ${lease.attempt}${by}`, `attempt ${lease.attempt}`, `${lease.attempt}`]);
}

/** A bar: soft inside, a firm left edge, how it ended at the right, and the first label that fits. */
function bar(context, y, { begins, ends }, how, labels, faded = false) {
  const [left, right] = span(begins, ends, 2);
  const height = TRACK - 3;
  const width = right - left;
  context.globalAlpha = faded ? 0.35 : 1;
  context.fillStyle = colours[`${how.colour}-soft`] ?? colours["blue-soft"];
  context.fillRect(left, y, width, height);
  if (how.sign === "gone" && how.colour === "dim") hatch(context, left, y, width, height, colours.faint);
  context.fillStyle = colours[how.colour];
  context.fillRect(left, y, Math.min(2, width), height);
  if (width > 26) glyph(context, how.sign, Math.min(right, view.width) - 8, y + height / 2, 3.4, colours[how.colour]);
  label(context, labels, Math.max(left, GUTTER) + 6, y + height / 2, Math.min(right, view.width) - Math.max(left, GUTTER) - 22);
  context.globalAlpha = 1;
}

function label(context, labels, x, y, room) {
  if (room < 7) return;
  context.font = `10px ${colours.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  const text = labels.find((candidate) => context.measureText(candidate).width <= room);
  if (!text) return;
  context.fillStyle = colours.ink;
  context.fillText(text, x, y + 0.5);
}

/** What a processor holds: the lease as a frame, the handler as the bar in it. */
function drawDeliveries(context, row, set) {
  for (const delivery of deliveriesByLane[row.lane]) {
    if (delivery.ends < view.from || view.to < delivery.begins) continue;
    const faded = !isFollowed(delivery.leases.map((lease) => lease.job), set);
    const y = yOf(trackTop(row, delivery.track));
    const [left, right] = span(delivery.begins, delivery.ends, 2);
    context.globalAlpha = faded ? 0.3 : 1;
    context.strokeStyle = colours.faint;
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, y + 0.5, right - left - 1, TRACK - 4);
    context.globalAlpha = 1;
    for (const handler of delivery.handlers) drawHandler(context, y, handler, deliveryLabels(delivery), faded);
  }
  for (const handler of strayByLane[row.lane]) {
    if (handler.ends < view.from || view.to < handler.begins) continue;
    const mine = events[handler.from].jobs;
    drawHandler(context, yOf(trackTop(row, handler.track)), handler, [], !isFollowed(mine, set));
  }
}

function drawHandler(context, y, handler, labels, faded) {
  const isOver = handler.to !== null;
  const how = handler.outcome ? OUTCOMES[handler.outcome] : isOver ? OUTCOMES.lost : NO_OUTCOME;
  bar(context, y, handler, how, labels, faded);
}

function deliveryLabels(delivery) {
  const [first] = delivery.leases;
  if (delivery.count !== 1) return [counted(delivery.count, "job"), `${delivery.count}`];
  const id = short(jobs[first.job].id);
  return [`${jobs[first.job].queue} ${id} · attempt ${first.attempt}`, `${id} · ${first.attempt}`, id];
}

/** The signs of a row. Those on the same pixel are drawn once. */
function drawMarks(context, row, set) {
  const first = place(row.events, view.from - (view.to - view.from) / 50);
  const taken = {};
  for (let i = first; i < row.events.length; i += 1) {
    const event = row.events[i];
    const x = xOf(event.at);
    if (x > view.width + 8) break;
    const mark = marks[event.index];
    if (!mark || isInBar(row, event)) continue;
    const faded = !isFollowed(event.jobs, set);
    const key = `${event.kind}${event.how}${faded}`;
    if (x - (taken[key] ?? -9) < 1.5) continue;
    taken[key] = x;
    context.globalAlpha = faded ? 0.28 : 1;
    glyph(context, mark.sign, x, yOf(spotY(row, event)), row.type === "job" ? 3 : mark.radius, colours[mark.colour], mark.hollow);
  }
  context.globalAlpha = 1;
}

/** Whether a bar's edge says it already. */
function isInBar(row, event) {
  if (row.type === "job") return ["granted", "started", "finished", "processor"].includes(event.kind) || isItsEnd(event);
  return (event.kind === "started" || event.kind === "finished") && handlerOfEvent.has(event.index);
}

function isItsEnd(event) {
  return event.kind === "settled" && event.how !== "refused";
}

// Messages.

/** With more arrows than these only those of followed jobs are drawn. */
const ARROWS_MAX = 220;

function drawArrows(context, set) {
  const rowOf = new Map(view.layout.rows.filter((row) => row.type === "lane").map((row) => [row.lane, row]));
  const seen = arrows.filter(([, from, to]) => events[to].at >= view.from && events[from].at <= view.to);
  const mine = set.size ? seen.filter(([, , to]) => isFollowed(events[to].jobs, set)) : seen;
  const all = seen.length <= ARROWS_MAX;
  const drawn = new Set();
  for (const arrow of all ? seen : mine.length <= ARROWS_MAX ? mine : []) {
    const strength = set.size === 0 ? 0.5 : isFollowed(events[arrow[2]].jobs, set) ? 0.75 : 0.14;
    // A batch's arrows lie on each other; drawn once they are no darker than others.
    const key = [arrow[0], strength, ...arrow.slice(1).flatMap((index) => [events[index].lane, Math.round(xOf(events[index].at))])].join();
    if (!drawn.has(key)) drawArrow(context, rowOf, arrow, strength);
    drawn.add(key);
  }
}

function drawArrow(context, rowOf, [message, from, to], alpha) {
  const [fromRow, toRow] = [rowOf.get(events[from].lane), rowOf.get(events[to].lane)];
  if (!fromRow || !toRow) return;
  // When a handler sent what was stored is not seen; it was under way by then.
  const x0 = message === "store" ? xOf(events[to].at) : xOf(events[from].at);
  const [y0, x1, y1] = [yOf(spotY(fromRow, events[from])), xOf(events[to].at), yOf(spotY(toRow, events[to]))];
  const length = Math.hypot(x1 - x0, y1 - y0);
  if (length < 12) return;
  const [dx, dy] = [(x1 - x0) / length, (y1 - y0) / length];
  context.globalAlpha = alpha;
  context.strokeStyle = colours.dim;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x0 + dx * 5, y0 + dy * 5);
  context.lineTo(x1 - dx * 6, y1 - dy * 6);
  context.moveTo(x1 - dx * 10 - dy * 2.6, y1 - dy * 10 + dx * 2.6);
  context.lineTo(x1 - dx * 6, y1 - dy * 6);
  context.lineTo(x1 - dx * 10 + dy * 2.6, y1 - dy * 10 - dx * 2.6);
  context.stroke();
  context.globalAlpha = 1;
}

// What stands out.

function drawEnd(context) {
  if (!drained) return;
  const x = xOf(events[drained.event].at);
  if (x < GUTTER || x > view.width) return;
  const colour = drained.ok ? colours.teal : colours.red;
  dashedLine(context, x, colour);
  const text = drained.ok ? "drained" : "not drained";
  context.font = `600 10px ${colours.font}`;
  context.fillStyle = colour;
  context.textAlign = x > view.width - 90 ? "right" : "left";
  context.textBaseline = "alphabetic";
  context.fillText(text, x + (context.textAlign === "right" ? -5 : 5), view.height - 6);
}

function dashedLine(context, x, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(Math.round(x) + 0.5, top());
  context.lineTo(Math.round(x) + 0.5, view.height);
  context.stroke();
  context.setLineDash([]);
}

/** The lines of the finding that is shown, as events. */
function findingEvents() {
  return (view.finding?.lines ?? []).map((line) => eventOfLine.get(line)).filter(Boolean);
}

function drawFindingLines(context) {
  const shown = findingEvents();
  shown.forEach((event, i) => {
    const x = xOf(event.at);
    if (x < GUTTER - 4 || x > view.width + 4) return;
    const isLast = i + 1 === shown.length;
    context.globalAlpha = isLast ? 1 : 0.3;
    context.fillStyle = colours.red;
    context.fillRect(Math.round(x) - (isLast ? 0.5 : 0), top(), isLast ? 1.5 : 1, view.height);
    context.globalAlpha = 1;
    for (const { x, y } of spots(event)) halo(context, x, y, isLast ? 8 : 6.5, colours.red);
  });
}

/** Where an event is drawn: on its lane, and on the rows of its jobs. */
function spots(event) {
  const places = view.layout.rows.filter((row) => (
    (row.type === "lane" && row.lane === event.lane) || (row.type === "job" && event.jobs.includes(row.job))
  ));
  return places.map((row) => ({ x: xOf(event.at), y: yOf(row.type === "job" && isInBar(row, event) ? jobBarY(row, event) : spotY(row, event)) }));
}

function jobBarY(row, event) {
  const lease = leasesByJob[row.job].find((lease) => deliveries[lease.delivery].event === event.index || lease.end === event.index);
  return trackTop(row, lease ? lease.track : 0) + TRACK / 2 - 1;
}

function halo(context, x, y, radius, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1.6;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

function drawPointed(context) {
  for (const event of [view.selected, view.hover?.event]) {
    if (!event) continue;
    for (const { x, y } of spots(event)) halo(context, x, y, 7, colours.ink);
  }
}

/** A finding's lines as numbered pins above the rows; pins that would lie on each other share one. */
function pins() {
  const all = findingEvents();
  const list = [];
  all.forEach((event, i) => {
    const pin = { x: xOf(event.at), first: i + 1, last: i + 1, event, broke: i + 1 === all.length };
    const before = list[list.length - 1];
    if (before && pin.x - before.x < 19) Object.assign(before, { last: pin.last, broke: pin.broke, event });
    else list.push(pin);
  });
  return list.filter((pin) => pin.x >= GUTTER - 8 && pin.x <= view.width);
}

function drawPins(context) {
  context.textAlign = "center";
  context.textBaseline = "middle";
  const all = view.finding ? pins() : [];
  all.forEach((pin, i) => {
    const { x, first, last, broke } = pin;
    const numbers = first === last ? `${first}` : `${first}–${last}`;
    const next = all[i + 1];
    const room = (next ? next.x : view.width) - x;
    const text = broke && room > 90 ? `${numbers} broken here` : numbers;
    context.font = `600 10px ${colours.font}`;
    const width = Math.max(context.measureText(text).width + 10, 17);
    const left = broke && text !== numbers ? x - 8.5 : x - width / 2;
    context.fillStyle = broke ? colours.red : colours.surface;
    context.strokeStyle = colours.red;
    context.lineWidth = 1.2;
    context.beginPath();
    context.roundRect(left, AXIS + 0.5, width, 15, 7.5);
    context.fill();
    context.stroke();
    context.fillStyle = broke ? colours.paper : colours.red;
    context.fillText(text, left + width / 2, AXIS + 8.5);
  });
}

function drawGutter(context, rows) {
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, GUTTER, view.height);
  context.fillStyle = colours.line;
  context.fillRect(GUTTER - 1, 0, 1, view.height);
  context.save();
  context.beginPath();
  context.rect(0, top(), GUTTER - 1, view.height - top());
  context.clip();
  for (const row of rows) drawName(context, row);
  context.restore();
  context.fillStyle = colours.line;
  context.fillRect(0, top() - 1, GUTTER, 1);
}

function drawName(context, row) {
  const y = yOf(row.y) + row.height / 2;
  context.textBaseline = "middle";
  context.textAlign = "left";
  if (row.type === "heading") {
    context.font = `600 10px ${colours.font}`;
    context.fillStyle = colours.dim;
    context.fillText(row.text.toUpperCase(), 14, y + 2);
    return;
  }
  if (row.type === "lane") drawLaneName(context, lanes[row.lane], y);
  else drawJobName(context, row, y);
}

function drawLaneName(context, { name, group }, y) {
  context.font = `12px ${colours.font}`;
  context.fillStyle = colours.ink;
  context.fillText(name, 14, y, GUTTER - 22);
  if (group !== "users" || name === "users") return;
  context.font = `10px ${colours.font}`;
  context.fillStyle = colours.dim;
  context.textAlign = "right";
  context.fillText("user", GUTTER - 10, y);
}

/** The end of a job's id, and its queue beside it, or under it where there is room. */
function drawJobName(context, row, y) {
  const { id, queue } = jobs[row.job];
  context.font = `${row.narrow ? 11 : 12}px ${colours.font}`;
  context.fillStyle = row.narrow ? colours.dim : colours.ink;
  context.fillText(short(id), 14, row.narrow ? y : y - 6, GUTTER - 22);
  const beside = 20 + context.measureText(short(id)).width;
  context.font = `10px ${colours.font}`;
  context.fillStyle = row.narrow ? colours.faint : colours.dim;
  if (row.narrow) context.fillText(queue, beside, y, Math.max(GUTTER - beside - 8, 10));
  else context.fillText(queue, 14, y + 7, GUTTER - 22);
}

/** How far the rows are scrolled, at the right edge. */
function drawScroll(context) {
  const room = view.height - top();
  if (view.layout.height <= room) return;
  const part = room / view.layout.height;
  context.fillStyle = colours.faint;
  context.globalAlpha = 0.6;
  context.beginPath();
  context.roundRect(view.width - 6, top() + view.scroll * part + 2, 4, Math.max(room * part - 4, 12), 2);
  context.fill();
  context.globalAlpha = 1;
}
