// The page's signs, each drawn from a path in a square from −1 to 1, so that no font is needed. Used on the canvas and,
// as SVG, in the legend.

const GLYPHS = {
  down: "M-.95-.7H.95L0 .95Z",
  up: "M-.95.7H.95L0-.95Z",
  dot: "M-.8 0A.8.8 0 1 1 .8 0A.8.8 0 1 1-.8 0Z",
  diamond: "M0-1L1 0L0 1L-1 0Z",
  square: "M-.75-.75H.75V.75H-.75Z",
  ring: "M-.9 0A.9.9 0 1 1 .9 0A.9.9 0 1 1-.9 0ZM-.4 0A.4.4 0 1 0 .4 0A.4.4 0 1 0-.4 0Z",
  tick: "M-.22-.8H.22V.8H-.22Z",
  box: "M-.9-.75H.9V.75H-.9ZM-.55-.4V.4H.55V-.4Z",
};

// Signs that are lines and not areas: what became of something, and faults.
const STROKES = {
  check: "M-.8.05L-.25.65L.8-.65",
  cross: "M-.65-.65L.65.65M.65-.65L-.65.65",
  clock: "M-.9 0A.9.9 0 1 1 .9 0A.9.9 0 1 1-.9 0ZM0-.5V.05L.4.3",
  gone: "M-.8 0H-.35M-.1 0H.2M.5 0H.8",
  stop: "M-.85 0A.85.85 0 1 1 .85 0A.85.85 0 1 1-.85 0ZM-.6-.6L.6.6",
  letter: "M-.9-.6H.9V.65H-.9ZM-.9-.6L0 .15L.9-.6",
  partition: "M0-1V-.45M0-.2V.2M0 .45V1M-1 0H-.4M1 0H.4",
  "partition-oneway": "M-.95 0H.25M-.1-.45L.35 0L-.1.45M.75-.9V.9",
  hold: "M-.35-.75V.75M.35-.75V.75",
  loss: "M-.9 0H-.6M-.25 0H.05M.4-.3L.95.3M.95-.3L.4.3",
  latency: "M-.95-.3Q-.5-.8 0-.3T.95-.3M-.95.4Q-.5-.1 0 .4T.95.4",
  kill: "M-.7-.7L.7.7M.7-.7L-.7.7",
  power: "M.2-1L-.5.15H.45L-.25 1",
  pause: "M-.35-.75V.75M.35-.75V.75",
  "clock-step": "M-.9.6H-.05V-.5H.9M.5-.85L.9-.5L.5-.15",
  "clock-drift": "M-.9.7Q.2.6.9-.7M.4-.75H.9V-.2",
  other: "M0-.85V.2M0 .65V.75",
};

const paths = new Map();
function path(name) {
  if (!paths.has(name)) paths.set(name, new Path2D(GLYPHS[name] ?? STROKES[name] ?? STROKES.other));
  return paths.get(name);
}

/** Draws a sign around a point. */
function glyph(context, name, x, y, radius, colour, hollow = false) {
  context.save();
  context.translate(x, y);
  context.scale(radius, radius);
  if (name in GLYPHS && !hollow) {
    context.fillStyle = colour;
    context.fill(path(name), "evenodd");
  } else {
    context.strokeStyle = colour;
    context.lineWidth = 1.4 / radius;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.stroke(path(name));
  }
  context.restore();
}

/** The same sign as an element. */
function glyphElement(name, colour, hollow = false) {
  const element = document.getElementById("glyph").content.firstChild.cloneNode(true);
  const shape = element.firstChild;
  shape.setAttribute("d", GLYPHS[name] ?? STROKES[name] ?? STROKES.other);
  const filled = name in GLYPHS && !hollow;
  element.style.color = `var(--${colour})`;
  shape.setAttribute("style", filled ? "fill:currentColor" : "fill:none;stroke:currentColor;stroke-width:.3");
  return element;
}

/** Each kind of event: its sign, its colour, how large, and how high in its row (0 above, 1 below). */
const MARKS = {
  enqueue: { sign: "down", colour: "ink", radius: 4.2, level: 0.24, says: "asks for a job" },
  cancel: { sign: "down", colour: "amber", radius: 4.2, level: 0.24, says: "asks to cancel" },
  redrive: { sign: "down", colour: "blue", radius: 4.2, level: 0.3, says: "asks to redrive" },
  purge: { sign: "down", colour: "amber", radius: 4.2, level: 0.3, says: "asks to purge" },
  pause: { sign: "down", colour: "amber", radius: 4.2, level: 0.3, says: "asks to pause" },
  resume: { sign: "down", colour: "blue", radius: 4.2, level: 0.3, says: "asks to resume" },
  reply: { sign: "up", colour: "ink", radius: 4.2, level: 0.24, says: "is answered" },
  accepted: { sign: "dot", colour: "ink", radius: 4, level: 0.2, says: "accepted" },
  granted: { sign: "diamond", colour: "blue", radius: 4.4, level: 0.5, says: "granted" },
  settled: { sign: "square", colour: "teal", radius: 4, level: 0.8, says: "settled" },
  cancelled: { sign: "stop", colour: "amber", radius: 4.2, level: 0.8, says: "cancelled" },
  redriven: { sign: "dot", colour: "blue", radius: 4, level: 0.2, says: "redriven" },
  purged: { sign: "stop", colour: "amber", radius: 4.2, level: 0.8, says: "purged" },
  paused: { sign: "hold", colour: "amber", radius: 4.2, level: 0.5, says: "paused or resumed" },
  started: { sign: "tick", colour: "blue", radius: 4, level: 0.5, says: "handler begins" },
  finished: { sign: "tick", colour: "blue", radius: 4, level: 0.5, says: "handler ends" },
  processor: { sign: "tick", colour: "dim", radius: 4, level: 0.5, says: "up or down" },
  status: { sign: "tick", colour: "faint", radius: 3.2, level: 0.52, says: "reads a status" },
  "dead-letters": { sign: "tick", colour: "dim", radius: 3.6, level: 0.6, says: "reads dead letters" },
  session: { sign: "tick", colour: "dim", radius: 3, level: 0.9, says: "session opens or closes" },
  notified: { sign: "ring", colour: "teal", radius: 4.2, level: 0.8, says: "is told of an end" },
  stored: { sign: "box", colour: "ink", radius: 4.2, level: 0.5, says: "stored" },
};

/** How an attempt ended. */
const OUTCOMES = {
  completed: { sign: "check", colour: "teal", says: "completed" },
  failed: { sign: "cross", colour: "amber", says: "failed" },
  "timed-out": { sign: "clock", colour: "amber", says: "timed out" },
  lost: { sign: "gone", colour: "dim", says: "lease lost" },
  cancelled: { sign: "stop", colour: "dim", says: "cancelled" },
};
const NO_OUTCOME = { sign: "gone", colour: "blue", says: "not ended" };

/** Faults by what they strike. */
const FAULTS = {
  partition: "purple", "partition-oneway": "purple", hold: "purple", loss: "purple", latency: "purple",
  kill: "rose", power: "rose", pause: "rose",
  "clock-step": "olive", "clock-drift": "olive",
};
const faultColour = (kind) => FAULTS[kind] ?? "rose";

/** The mark of one event: its kind's, changed by how it went. */
function markOf(event) {
  const mark = MARKS[event.kind];
  if (event.kind === "settled") return settledMark(mark, event.how);
  if (event.how === "unknown") return { ...mark, colour: "amber", hollow: true };
  if (event.how === "refused") return { ...mark, colour: "amber" };
  if (event.how === "known" || event.how === "ok") return { ...mark, hollow: true };
  return mark;
}

function settledMark(mark, how) {
  if (how === "refused") return { ...mark, colour: "amber", hollow: true };
  return { ...mark, colour: (OUTCOMES[how] ?? NO_OUTCOME).colour };
}
const marks = events.map((event) => (event.kind in MARKS ? markOf(event) : null));
