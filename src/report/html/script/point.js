// Finds what lies under a point, and tells it.

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
