// Draws what lasts (leases, handlers, waits) and the signs of events.

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
  const labels = [`attempt ${lease.attempt}${by}`, `attempt ${lease.attempt}`, `${lease.attempt}`];
  // On a row that findings mark, the label keeps clear of the mark around the bar's beginning.
  bar(context, yOf(trackTop(row, lease.track)), lease, how, labels, false, row.narrow ? 6 : 11);
}

/** A bar: soft inside, a firm left edge, how it ended at the right, and the first label that fits. */
function bar(context, y, { begins, ends }, how, labels, faded = false, indent = 6) {
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
  label(context, labels, Math.max(left, GUTTER) + indent, y + height / 2, Math.min(right, view.width) - Math.max(left, GUTTER) - indent - 16);
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
