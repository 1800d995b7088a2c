// Mouse, touch and keys on the timeline.

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
