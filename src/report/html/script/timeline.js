// The timeline as something to use: moves, zooms, points, follows. Drawing is `draw.js`'s.

const canvas = document.getElementById("canvas");
const overview = document.getElementById("overview");
const tip = document.getElementById("tip");
const said = document.getElementById("said");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** No nearer than this many milliseconds from edge to edge. */
const RANGE_MIN = 20;
/** How far beyond the run one may see, as a part of it. */
const MARGIN = 0.02;

// Drawing happens at most once a frame.
let isDue = false;
function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(drawNow);
}

function drawNow() {
  isDue = false;
  draw(fitted(canvas));
  drawOverview(fitted(overview));
  document.getElementById("range").textContent =
    `${seconds(Math.max(view.from, begin))} – ${seconds(Math.min(view.to, end))} s · ${duration(view.to - view.from)}`;
}

/** The context of a canvas whose pixels are those of the screen. */
function fitted(element) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(element.clientWidth * ratio), Math.round(element.clientHeight * ratio)];
  if (element.width !== width || element.height !== height) [element.width, element.height] = [width, height];
  const context = element.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function resize() {
  view.width = canvas.clientWidth;
  view.height = canvas.clientHeight;
  setScroll(view.scroll);
  // At once: the browser has stretched the old picture already.
  drawNow();
}

// Moving.

function setRange(from, to) {
  const whole = end - begin;
  const least = Math.min(RANGE_MIN, whole);
  const length = Math.min(Math.max(to - from, least), whole * (1 + 2 * MARGIN));
  const middle = (from + to) / 2;
  const low = begin - whole * MARGIN;
  const high = end + whole * MARGIN;
  view.from = Math.max(low, Math.min(middle - length / 2, high - length));
  view.to = view.from + length;
  redraw();
}

let moving = 0;
let destination = null;
/** Ends a move where it is. */
function stop() {
  cancelAnimationFrame(moving);
  destination = null;
}

/** Ends a move at its end. */
function arrive() {
  if (destination) setRange(...destination);
  stop();
}

/** Goes to a range, in a few frames so that the eye can follow. */
function goTo(from, to) {
  stop();
  destination = [from, to];
  if (reducedMotion.matches) return arrive();
  const [from0, to0, started] = [view.from, view.to, performance.now()];
  const frame = (now) => {
    const part = Math.min(Math.max((now - started) / 260, 0), 1);
    const eased = 1 - (1 - part) ** 3;
    setRange(from0 + (from - from0) * eased, to0 + (to - to0) * eased);
    if (part < 1) moving = requestAnimationFrame(frame);
    else destination = null;
  };
  moving = requestAnimationFrame(frame);
}

function goToAll() {
  goTo(begin - (end - begin) * MARGIN, end + (end - begin) * MARGIN);
}

function zoom(factor, around = (view.from + view.to) / 2) {
  stop();
  setRange(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

function pan(part) {
  stop();
  const by = (view.to - view.from) * part;
  setRange(view.from + by, view.to + by);
}

function setScroll(y) {
  const most = Math.max(view.layout.height - (view.height - top()), 0);
  view.scroll = Math.min(Math.max(y, 0), most);
}

/** Brings an event into sight. */
function reveal(event) {
  const length = view.to - view.from;
  if (event.at < view.from + length * 0.05 || view.to - length * 0.05 < event.at) {
    goTo(event.at - length / 2, event.at + length / 2);
  }
}

// Following jobs, showing findings.

function follow(list) {
  view.followed = [...new Set(list)];
  view.layout = layOut(view.followed);
  setScroll(view.scroll);
  showFollowed();
  redraw();
}

/** A finding may name hundreds of jobs; those that it speaks of, and of the others the first few, get rows. */
const FOLLOWED_MAX = 8;
function jobsOf(finding) {
  const named = finding.lines.flatMap((line) => eventOfLine.get(line)?.jobs ?? []);
  const spoken = new Set(named.filter((job) => finding.says.includes(jobs[job].id)));
  return [...new Set([...spoken, ...named])].slice(0, FOLLOWED_MAX);
}

function showFinding(finding) {
  view.finding = finding;
  view.selected = null;
  if (finding) {
    follow(jobsOf(finding));
    view.scroll = 0;
    goToFinding();
  } else {
    follow([]);
  }
  document.getElementById("to-finding").disabled = !finding;
  redraw();
}

function goToFinding() {
  const shown = findingEvents();
  if (!shown.length) return;
  const [first, last] = [shown[0].at, shown[shown.length - 1].at];
  const room = Math.max((last - first) * 0.12, 400);
  goTo(first - room, last + room);
}

function select(event) {
  view.selected = event;
  if (event) {
    reveal(event);
    say(`${seconds(event.at)} s · line ${event.line} · ${event.text}${event.beside ? ` — ${event.beside}` : ""}`);
  } else {
    say("");
  }
  redraw();
}

function say(text) {
  said.textContent = brief(text);
  said.title = text;
}

// Pointing.

const rowAt = (y) => view.layout.rows.find((row) => yOf(row.y) <= y && y < yOf(row.y + row.height));

/** What lies under a point: a pin, an event, a bar, or a fault. */
function hit(x, y) {
  if (x < GUTTER) return null;
  if (view.finding && AXIS <= y && y < AXIS + PINS) {
    const pin = pins().find((pin) => Math.abs(pin.x - x) < 10 || (pin.broke && 0 < x - pin.x && x - pin.x < 80));
    return pin ? { event: pin.event } : null;
  }
  const row = y < top() ? undefined : rowAt(y);
  if (!row || row.type === "heading") return null;
  return hitEvent(row, x, y) ?? hitBar(row, x, y) ?? hitFault(row, x);
}

const REACH = 7;
function hitEvent(row, x, y) {
  let best = null;
  let nearest = REACH;
  for (let i = place(row.events, atOf(x - REACH)); i < row.events.length; i += 1) {
    const event = row.events[i];
    if (xOf(event.at) > x + REACH) break;
    if (!marks[event.index] || isInBar(row, event)) continue;
    const away = Math.hypot(xOf(event.at) - x, (yOf(spotY(row, event)) - y) * 0.8);
    if (away < nearest) [best, nearest] = [event, away];
  }
  return best && { event: best };
}

function hitBar(row, x, y) {
  const bars = row.type === "job" ? leasesByJob[row.job] : [...deliveriesByLane[row.lane], ...strayByLane[row.lane]];
  const isUnder = (bar) => {
    const above = yOf(trackTop(row, bar.track));
    return xOf(bar.begins) - 2 <= x && x <= Math.max(xOf(bar.ends), xOf(bar.begins) + 2) + 2 && above <= y && y < above + TRACK;
  };
  const bar = bars.findLast(isUnder);
  return bar ? { bar, row } : null;
}

function hitFault(row, x) {
  const fault = row.type === "lane" && faultsByLane[row.lane].find((fault) => (
    xOf(fault.begins) - 2 <= x && x <= Math.max(xOf(fault.ends), xOf(fault.begins) + 3) + 2
  ));
  return fault ? { fault } : null;
}

/** The tip's lines for what is pointed at: a heading and events told. */
function told(target) {
  if (target.event) {
    const { at, line, text, beside } = target.event;
    return { head: `${seconds(at)} s · line ${line}`, lines: [{ text, beside }] };
  }
  if (target.fault) {
    const { kind, on, begins, ends, to } = target.fault;
    const where = on.length ? on.join(" and ") : "everything";
    const lasts = to === null ? "until the end" : duration(ends - begins);
    return { head: `${kind} on ${where}`, lines: [{ text: `${seconds(begins)} – ${seconds(ends)} s, ${lasts}` }] };
  }
  return toldBar(target.bar);
}

function toldBar(bar) {
  const lasts = `${seconds(bar.begins)} – ${seconds(bar.ends)} s · ${duration(bar.ends - bar.begins)}`;
  const delivery = bar.delivery !== undefined && typeof bar.delivery === "number" ? deliveries[bar.delivery] : bar;
  if (delivery.event === undefined) return { head: lasts, lines: eventsTold([bar.from, bar.to]) };
  const work = delivery.handlers.flatMap((handler) => [handler.from, handler.to]);
  const ends = delivery === bar ? bar.leases.map((lease) => lease.end) : [bar.end];
  const list = [...new Set([delivery.event, ...work, ...ends])].filter((index) => index !== null);
  return { head: lasts, lines: eventsTold(list.sort((one, other) => one - other)) };
}

const TOLD_MAX = 6;
function eventsTold(list) {
  const known = list.filter((index) => index !== null && index !== undefined);
  const lines = known.slice(0, TOLD_MAX).map((index) => ({ ...events[index], time: seconds(events[index].at) }));
  return known.length > TOLD_MAX ? [...lines, { text: `and ${known.length - TOLD_MAX} more` }] : lines;
}

function showTip(target, x, y) {
  tip.hidden = !target;
  if (!target) return;
  const { head, lines } = told(target);
  const heading = Object.assign(document.createElement("strong"), { textContent: head });
  const parts = lines.map(({ time, text, beside }) => {
    const line = document.createElement("p");
    if (time) line.append(Object.assign(document.createElement("time"), { textContent: time }), " ");
    line.append(brief(text));
    if (beside) line.append(" ", Object.assign(document.createElement("span"), { className: "dim", textContent: `— ${brief(beside)}` }));
    return line;
  });
  tip.replaceChildren(heading, ...parts);
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(Math.min(x + 14, view.width - width - 8), 8)}px`;
  tip.style.top = `${y + 18 + height > view.height ? Math.max(y - height - 12, 4) : y + 18}px`;
}

function point(x, y) {
  const target = hit(x, y);
  const isSame = target?.event === view.hover?.event && target?.bar === view.hover?.bar && target?.fault === view.hover?.fault;
  view.hover = target;
  showTip(target, x, y);
  canvas.style.cursor = target || (x < GUTTER && rowAt(y)?.type === "job") ? "pointer" : x < GUTTER ? "default" : "grab";
  if (!isSame) redraw();
}

/** A click follows the jobs of what was clicked, or marks the event. */
function click(x, y) {
  const target = hit(x, y);
  if (!target) return x < GUTTER ? clickName(y) : select(null);
  const event = target.event ?? events[target.bar ? (target.bar.event ?? target.bar.from ?? deliveries[target.bar.delivery].event) : target.fault.from];
  select(event);
  if (target.bar) followAlso(target.bar.job !== undefined ? [target.bar.job] : event.jobs);
}

function clickName(y) {
  const row = rowAt(y);
  if (row?.type !== "job") return;
  if (row.narrow) followAlso([row.job]);
  else follow(view.followed.filter((job) => job !== row.job));
}

function followAlso(list) {
  follow([...view.followed, ...list.slice(0, FOLLOWED_MAX)]);
}

// Mouse, touch, keys.

const pointers = new Map();
let dragged = 0;
const placeIn = (event) => {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, placeIn(event));
  dragged = 0;
});

canvas.addEventListener("pointermove", (event) => {
  const now = placeIn(event);
  const before = pointers.get(event.pointerId);
  if (!before) return point(now.x, now.y);
  pointers.set(event.pointerId, now);
  dragged += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
  if (dragged < 4) return undefined;
  if (pointers.size === 2) return pinch(event.pointerId, before, now);
  showTip(null);
  view.hover = null;
  canvas.style.cursor = "grabbing";
  setScroll(view.scroll - (now.y - before.y));
  return pan((before.x - now.x) / plotWidth());
});

function pinch(id, before, now) {
  const [, other] = [...pointers].find(([pointer]) => pointer !== id);
  const factor = Math.max(Math.abs(before.x - other.x), 8) / Math.max(Math.abs(now.x - other.x), 8);
  zoom(factor, atOf(other.x));
}

for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, (event) => {
    const at = placeIn(event);
    if (name === "pointerup" && dragged < 4 && pointers.has(event.pointerId)) click(at.x, at.y);
    pointers.delete(event.pointerId);
    canvas.style.cursor = "grab";
  });
}

canvas.addEventListener("pointerleave", () => {
  view.hover = null;
  showTip(null);
  redraw();
});

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
  const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
  const { x, y } = placeIn(event);
  if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) pan((event.shiftKey ? dx || dy : dx) / plotWidth());
  else if (x < GUTTER || event.altKey) setScroll(view.scroll + dy);
  else zoom(Math.exp(dy * 0.0016), atOf(x));
  point(x, y);
  redraw();
}, { passive: false });

canvas.addEventListener("dblclick", (event) => {
  const { x } = placeIn(event);
  if (x > GUTTER) zoom(0.4, atOf(x));
});

/** The event after or before the one that is selected; of the followed jobs, where there are any. */
function stepEvent(by) {
  const set = followedSet();
  const fits = (event) => marks[event.index] && (set.size ? event.jobs.some((job) => set.has(job)) : true);
  let index = view.selected ? view.selected.index + by : place(events, view.from) - (by < 0 ? 1 : 0);
  while (events[index] && !fits(events[index])) index += by;
  if (!events[index]) return;
  select(events[index]);
  const [spot] = spots(events[index]);
  if (spot) showTip({ event: events[index] }, Math.min(Math.max(spot.x, GUTTER), view.width), spot.y);
}

const KEYS = {
  ArrowLeft: () => pan(-0.1),
  ArrowRight: () => pan(0.1),
  ArrowUp: () => setScroll(view.scroll - 40),
  ArrowDown: () => setScroll(view.scroll + 40),
  "+": () => zoom(0.7),
  "=": () => zoom(0.7),
  "-": () => zoom(1 / 0.7),
  Home: goToAll,
  0: goToAll,
  f: goToFinding,
  n: () => stepEvent(1),
  p: () => stepEvent(-1),
  Enter: () => view.selected && followAlso(view.selected.jobs),
  Escape: () => {
    select(null);
    showTip(null);
    follow(view.finding ? jobsOf(view.finding) : []);
  },
};

canvas.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
  redraw();
});

// The strip above: the whole run, and the part of it that is seen.

function drawOverview(context) {
  const [width, height] = [overview.clientWidth, overview.clientHeight];
  const xs = (at) => GUTTER + ((at - begin) / (end - begin)) * plotWidth();
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colours.faint;
  const most = Math.max(...counts(plotWidth()), 1);
  counts(plotWidth()).forEach((count, i) => {
    const tall = count ? Math.max(Math.sqrt(count / most) * (height - 12), 1) : 0;
    context.fillRect(GUTTER + i * BUCKET, height - 7 - tall, BUCKET - 1, tall);
  });
  for (const fault of faults) {
    context.fillStyle = colours[faultColour(fault.kind)];
    context.fillRect(xs(fault.begins), height - 5, Math.max(xs(fault.ends) - xs(fault.begins), 2), 3);
  }
  context.fillStyle = colours.red;
  for (const event of findingEvents()) context.fillRect(xs(event.at) - 0.5, 0, 1.5, height);
  const [left, right] = [Math.max(xs(view.from), GUTTER), Math.max(Math.min(xs(view.to), width - 1), GUTTER + 2)];
  context.fillStyle = colours.paper;
  context.globalAlpha = 0.62;
  context.fillRect(GUTTER, 0, left - GUTTER, height);
  context.fillRect(right, 0, width - right, height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.dim;
  context.lineWidth = 1;
  context.strokeRect(Math.round(left) + 0.5, 0.5, Math.max(Math.round(right - left) - 1, 2), height - 1);
  context.font = `11px ${colours.font}`;
  context.fillStyle = colours.dim;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillText(counted(events.length, "event"), 14, height / 2);
}

const BUCKET = 3;
let counted_ = { width: 0, list: [] };
/** How many events lie in each few pixels of the whole run. */
function counts(width) {
  if (counted_.width === width) return counted_.list;
  const list = new Array(Math.max(Math.floor(width / BUCKET), 1)).fill(0);
  for (const event of events) {
    list[Math.min(Math.floor(((event.at - begin) / (end - begin)) * list.length), list.length - 1)] += 1;
  }
  counted_ = { width, list };
  return list;
}

function overviewMove(event) {
  const x = event.clientX - overview.getBoundingClientRect().left;
  const at = begin + ((x - GUTTER) / plotWidth()) * (end - begin);
  const half = (view.to - view.from) / 2;
  setRange(at - half, at + half);
}
overview.addEventListener("pointerdown", (event) => {
  overview.setPointerCapture(event.pointerId);
  stop();
  overviewMove(event);
});
overview.addEventListener("pointermove", (event) => {
  if (event.buttons) overviewMove(event);
});
