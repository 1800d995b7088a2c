// Draws what stands out: the finding's lines, what is pointed at, where the play ended.

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

/** Where an event is drawn: on its lane, and on the rows of those of its jobs that are followed. */
function spots(event) {
  if (event.kind === "fault") return faultSpots(event);
  const places = view.layout.rows.filter((row) => (
    (row.type === "lane" && row.lane === event.lane) || (row.type === "job" && !row.narrow && event.jobs.includes(row.job))
  ));
  return places.map((row) => ({ x: xOf(event.at), y: yOf(row.type === "job" && isInBar(row, event) ? jobBarY(row, event) : spotY(row, event)) }));
}

function faultSpots(event) {
  const fault = faults.find((fault) => fault.from === event.index || fault.to === event.index);
  const rows = view.layout.rows.filter((row) => row.type === "lane" && fault?.lanes.includes(row.lane));
  return rows.map((row) => ({ x: xOf(event.at), y: yOf(row.y + row.height / 2) }));
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
