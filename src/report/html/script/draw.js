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
