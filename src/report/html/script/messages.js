// Draws the messages that the events imply.

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
