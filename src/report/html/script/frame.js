// Draws what stays in place: the time axis and the rows' names.

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
  const { id, queue, from, to } = jobs[row.job];
  // A job whose life lies elsewhere has an empty row; its name steps back too.
  context.globalAlpha = view.to < from || (to ?? end) < view.from ? 0.45 : 1;
  context.font = `${row.narrow ? 11 : 12}px ${colours.font}`;
  context.fillStyle = row.narrow ? colours.dim : colours.ink;
  context.fillText(short(id), 14, row.narrow ? y : y - 6, GUTTER - 22);
  const beside = 20 + context.measureText(short(id)).width;
  context.font = `10px ${colours.font}`;
  context.fillStyle = colours.dim;
  if (row.narrow) context.fillText(queue, beside, y, Math.max(GUTTER - beside - 8, 10));
  else context.fillText(queue, 14, y + 7, GUTTER - 22);
  context.globalAlpha = 1;
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
