// Puts the page together, and keeps it right when the window or the light changes.

const byId = (id) => document.getElementById(id);

function showHead() {
  byId("version").textContent = data.kew;
  byId("title").textContent = data.title;
  byId("subtitle").textContent = data.subtitle;
  byId("facts").textContent = facts().join(" · ");
  if (!data.replay) return;
  byId("replay").hidden = false;
  byId("replay").querySelector("code").textContent = data.replay;
  byId("replay").querySelector("button").addEventListener("click", copyReplay);
}

function facts() {
  const seen = data.player ? `${data.system} seen by ${data.player}` : data.system;
  const list = [seen, data.scenario && `scenario ${data.scenario}`, `${duration(end - begin)} long`];
  list.push(counted(jobs.length, "job"), counted(faults.length, "fault"), counted(events.length, "event"));
  if (data.left_out) list.push(`${counted(data.left_out, "event")} of the history not shown`);
  if (drained) {
    const bound = `${grouped(Math.round(drained.bound_ms / 100) / 10)} s`;
    list.push(drained.ok ? `drained within its bound of ${bound}` : `not drained within ${bound}`);
  }
  return list.filter(Boolean);
}

async function copyReplay({ target }) {
  try {
    await navigator.clipboard.writeText(data.replay);
    target.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("replay").querySelector("code"));
  }
}

function showCoverage() {
  if (!data.coverage) return;
  byId("coverage").hidden = false;
  const rows = data.coverage.map(([name, count]) => element("tr", { className: count ? "" : "never" },
    element("td", { text: name }), element("td", { className: "count", text: count ? grouped(count) : "never" })));
  byId("coverage").querySelector("tbody").replaceChildren(...rows);
}

function showNothingBroken() {
  const kept = clauses.filter((clause) => clause.state === "kept").length;
  const tried = data.runs > 1 ? `${counted(data.runs, "run")} put` : "this run put";
  const without = clauses.filter((clause) => clause.state === "not-offered").length;
  const rest = without ? ` ${counted(without, "clause")} more the system does not offer: nothing is said of them.` : "";
  byId("clause").replaceChildren(
    element("h2", {}, glyphElement("check", "teal"), element("span", { text: "Nothing is broken" })),
    element("p", { className: "text", text: `All ${counted(kept, "clause")} that ${tried} to the test were kept.${rest} Choose one to see what it promises.` }));
  showFinding(null);
}

const BARS = {
  handler: "a handler at work",
  lease: "a lease",
  down: "lost; a processor that is down",
  wait: "waits for its retry",
  open: "a session is open",
};

/** What the signs mean; of events and faults those that this run has. */
function showLegend() {
  const item = (sign, colour, says, hollow) => element("span", {}, glyphElement(sign, colour, hollow), says);
  const kinds = new Set(events.map((event) => event.kind));
  for (const edge of ["started", "finished", "processor", "session"]) kinds.delete(edge);
  const group = (name, items) => items.length && element("div", {}, element("strong", { text: name }), element("div", {}, ...items));
  const parts = [
    group("Events", Object.entries(MARKS).filter(([kind]) => kinds.has(kind)).map(([, mark]) => item(mark.sign, mark.colour, mark.says))),
    group("Attempts", Object.values(OUTCOMES).map((how) => item(how.sign, how.colour, how.says))),
    group("Bars", [...Object.entries(BARS)].map(([kind, says]) => element("span", {}, element("i", { className: `sample ${kind}` }), says))),
    group("Faults", [...new Set(faults.map((fault) => fault.kind))].map((kind) => item(kind, faultColour(kind), kind))),
    group("Hollow", [item("up", "ink", "acknowledged", true), item("up", "amber", "reply lost", true), item("dot", "ink", "joined a job that was there", true), item("square", "amber", "came too late, refused", true)]),
  ];
  byId("legend").replaceChildren(...parts.filter(Boolean));
}

byId("legend-button").addEventListener("click", () => {
  const isOpen = byId("legend").hidden;
  byId("legend").hidden = !isOpen;
  byId("legend-button").setAttribute("aria-expanded", String(isOpen));
  resize();
});
byId("to-finding").addEventListener("click", goToFinding);
byId("to-all").addEventListener("click", goToAll);
byId("zoom-in").addEventListener("click", () => zoom(0.6));
byId("zoom-out").addEventListener("click", () => zoom(1 / 0.6));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  redraw();
});
new ResizeObserver(resize).observe(canvas);

readColours();
showHead();
showTally();
showFamilies();
showLegend();
showCoverage();
resize();
setRange(begin - (end - begin) * MARGIN, end + (end - begin) * MARGIN);
const wanted = clauses.find((clause) => `#${clause.id}` === decodeURIComponent(location.hash));
/** What is shown first: of the clauses that this run broke the one with the shortest finding. */
const shortestFirst = clauses.filter((clause) => clause.findings.length)
  .sort((one, other) => one.findings[0].lines.length - other.findings[0].lines.length);
const opening = clauses.find((clause) => clause.id === data.opening && clause.findings.length);
const first = wanted ?? opening ?? shortestFirst[0] ?? clauses.find((clause) => clause.state === "broken");
if (first) choose(first);
else showNothingBroken();
// The page opens where it will stand; only later moves are for the eye to follow.
arrive();
