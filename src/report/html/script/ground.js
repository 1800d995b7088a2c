// Draws what the rows stand on: who is up, which faults strike, whose session is open.

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
