// The strip above the timeline: the whole run, and the part of it that is seen.

function drawOverview(context) {
  const [width, height] = [overview.clientWidth, overview.clientHeight];
  const xs = (at) => GUTTER + ((at - begin) / (end - begin)) * plotWidth();
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.surface;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colours.faint;
  const list = counts(plotWidth());
  const most = Math.max(...list, 1);
  list.forEach((count, i) => {
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
let density = { width: 0, list: [] };
/** How many events lie in each few pixels of the whole run. */
function counts(width) {
  if (density.width === width) return density.list;
  const list = new Array(Math.max(Math.floor(width / BUCKET), 1)).fill(0);
  for (const event of events) {
    list[Math.min(Math.floor(((event.at - begin) / (end - begin)) * list.length), list.length - 1)] += 1;
  }
  density = { width, list };
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
