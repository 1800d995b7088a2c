// Moves the timeline: which part of the run is seen. Drawing is `draw.js`'s.

const canvas = document.getElementById("canvas");
const overview = document.getElementById("overview");
const tip = document.getElementById("tip");
const said = document.getElementById("said");
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** No nearer than this many milliseconds from edge to edge. */
const RANGE_MIN = 20;
/** How far beyond the run one may see, as a part of what is seen. */
const MARGIN = 0.02;

/** Drawing happens at most once a frame. */
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

function setRange(from, to) {
  [view.from, view.to] = within(from, to);
  redraw();
}

/** The range that is nearest to what was asked for: not too near, not too far, and not beyond the run. */
function within(from, to) {
  const whole = end - begin;
  const least = Math.min(RANGE_MIN, whole);
  const length = Math.min(Math.max(to - from, least), whole / (1 - 2 * MARGIN));
  const middle = (from + to) / 2;
  const low = begin - length * MARGIN;
  const high = end + length * MARGIN;
  const first = Math.max(low, Math.min(middle - length / 2, high - length));
  return [first, first + length];
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
function goTo(wantedFrom, wantedTo) {
  stop();
  const [from, to] = within(wantedFrom, wantedTo);
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
  goTo(begin - (end - begin), end + (end - begin));
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
