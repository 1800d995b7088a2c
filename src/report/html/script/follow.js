// Follows jobs and shows findings and events.

function follow(list) {
  view.followed = [...new Set(list)];
  view.layout = layOut(view.followed);
  setScroll(view.scroll);
  showFollowed();
  redraw();
}

/** A finding may name hundreds of jobs; those that it speaks of, and of the others the first few, get rows. */
const FOLLOWED_MAX = 6;
function jobsOf(finding) {
  const named = finding.lines.flatMap((line) => eventOfLine.get(line)?.jobs ?? []);
  const spoken = new Set(named.filter((job) => finding.says.includes(jobs[job].id)));
  return [...new Set([...spoken, ...named])].slice(0, FOLLOWED_MAX);
}

function showFinding(finding) {
  view.finding = finding;
  view.selected = null;
  if (finding) {
    follow(jobsOf(finding));
    view.scroll = 0;
    goToFinding();
  } else {
    follow([]);
  }
  document.getElementById("to-finding").disabled = !finding;
  redraw();
}

function goToFinding() {
  const shown = findingEvents();
  if (!shown.length) return;
  const [first, last] = [shown[0].at, shown[shown.length - 1].at];
  const room = Math.max((last - first) * 0.12, 400);
  goTo(first - room, last + room);
}

function select(event) {
  view.selected = event;
  if (event) {
    reveal(event);
    say(`${seconds(event.at)} s · line ${event.line} · ${event.text}${event.beside ? ` — ${event.beside}` : ""}`);
  } else {
    say("");
  }
  redraw();
}

function say(text) {
  said.textContent = brief(text);
  said.title = text;
}
