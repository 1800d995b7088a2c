// The clauses by family, and the clause that is chosen: its text, where it comes from, what was found.

const STATES = {
  broken: { sign: "cross", colour: "red", says: "broken" },
  inconclusive: { sign: "clock", colour: "amber", says: "inconclusive" },
  kept: { sign: "check", colour: "teal", says: "kept" },
  "not-exercised": { sign: "gone", colour: "faint", says: "not exercised" },
  "not-offered": { sign: "stop", colour: "faint", says: "not offered" },
};

/** Not worth a word where no clause stands so. */
const SELDOM = ["inconclusive", "not-offered"];

/** An element with attributes, classes and children. */
function element(tag, { text, ...rest } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), rest);
  if (text !== undefined) made.textContent = text;
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let chosen = null;
let onlyState = null;

function showTally() {
  const tally = document.getElementById("tally");
  const states = Object.entries(STATES).filter(([state]) => !SELDOM.includes(state) || clauses.some((clause) => clause.state === state));
  tally.replaceChildren(...states.map(([state, { sign, colour, says }]) => {
    const count = clauses.filter((clause) => clause.state === state).length;
    const button = element("button", { type: "button", className: `tally-${state}${count ? "" : " none"}` },
      glyphElement(sign, colour), element("strong", { text: count }), element("span", { text: says }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      onlyState = onlyState === state ? null : state;
      [...tally.children].forEach((other) => other.setAttribute("aria-pressed", String(other === button && onlyState === state)));
      showFamilies();
    });
    return button;
  }));
}

function showFamilies() {
  const list = document.getElementById("families");
  const fits = (clause) => !onlyState || clause.state === onlyState;
  const families = data.families.map((family) => ({ ...family, clauses: family.clauses.filter(fits) }));
  list.replaceChildren(...families.filter((family) => family.clauses.length).map((family) => element("section", {},
    element("h2", { text: family.name }),
    element("ul", {}, ...family.clauses.map((clause) => element("li", {}, clauseButton(clause)))))));
}

function clauseButton(clause) {
  const { sign, colour, says } = STATES[clause.state];
  const button = element("button", { type: "button", className: `clause-${clause.state}`, title: clause.text },
    glyphElement(sign, colour), element("span", { className: "name", text: clause.id.split("/")[1] }),
    element("span", { className: "count", text: countOf(clause) }));
  button.dataset.clause = clause.id;
  button.setAttribute("aria-label", `${clause.id}, ${says}`);
  button.setAttribute("aria-current", String(chosen === clause));
  button.addEventListener("click", () => choose(clause));
  return button;
}

function countOf(clause) {
  if (clause.state === "broken") return grouped(clause.broken);
  if (clause.state === "inconclusive") return grouped(clause.inconclusive);
  return clause.state === "kept" ? grouped(clause.exercised) : "";
}

/** Shows a clause, and its first finding on the timeline. */
function choose(clause) {
  chosen = clause;
  const list = document.querySelector(".clauses");
  for (const button of document.querySelectorAll("#families button")) {
    const isIt = button.dataset.clause === clause.id;
    button.setAttribute("aria-current", String(isIt));
    // Not where the list is a part of the page, which would be moved away from what was chosen.
    if (isIt && list.scrollHeight > list.clientHeight) button.scrollIntoView({ block: "nearest" });
  }
  showClause(clause);
  if (clause.findings.length) chooseFinding(clause, 0);
  else showFinding(null);
  try {
    history.replaceState(null, "", `#${clause.id}`);
  } catch {
    // Some browsers refuse this for files. The page works without.
  }
}

function showClause(clause) {
  const { sign, colour, says } = STATES[clause.state];
  const where = [clause.source === "chosen" ? "chosen: the architecture is silent" : clause.source, clause.level, tested(clause)];
  const head = element("div", { className: "clause-head" },
    element("h2", {}, glyphElement(sign, colour), element("span", { text: clause.id }), element("em", { className: `state-${clause.state}`, text: says })),
    element("p", { className: "text", text: clause.text }),
    element("p", { className: "dim", text: where.filter(Boolean).join(" · ") }));
  document.getElementById("clause").replaceChildren(head, ...findingParts(clause));
}

function tested(clause) {
  if (clause.not_offered) return clause.not_offered;
  if (!clause.exercised && !clause.broken) return `needs ${clause.needs.join(", ")}`;
  const parts = [`put to the test ${counted(clause.exercised, "time")}`];
  if (clause.broken) parts.push(`broken ${counted(clause.broken, "time")}`);
  if (clause.inconclusive) parts.push(`undecided ${counted(clause.inconclusive, "time")}`);
  return parts.join(", ") + (data.runs > 1 ? ` in ${counted(data.runs, "run")}` : "");
}

function findingParts(clause) {
  if (clause.findings.length) {
    const more = clause.broken_here - clause.findings.length;
    return [
      element("div", { className: "findings" }, element("p", { id: "says" }),
        clause.findings.length < 2 ? null : element("div", { className: "numbers", id: "findings", role: "group", ariaLabel: "Findings" },
          ...clause.findings.map((finding, i) => findingButton(clause, finding, i)),
          more > 0 ? element("span", { className: "dim", text: `of ${grouped(clause.broken_here)}` }) : null)),
      element("ol", { className: "excerpt", id: "excerpt" }),
    ];
  }
  return clause.elsewhere ? [elsewhere(clause.elsewhere)] : [];
}

function findingButton(clause, finding, i) {
  const button = element("button", { type: "button", className: "finding", text: i + 1, title: finding.says });
  button.setAttribute("aria-label", `Finding ${i + 1}: ${finding.says}`);
  button.addEventListener("click", () => chooseFinding(clause, i));
  return button;
}

function chooseFinding(clause, i) {
  const finding = clause.findings[i];
  document.querySelectorAll("#findings .finding").forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
  Object.assign(document.getElementById("says"), { textContent: brief(finding.says), title: finding.says });
  document.getElementById("excerpt").replaceChildren(...excerptLines(finding));
  showFinding(finding);
}

/** The finding's lines. The middle of a long one is folded away, as on the terminal. */
const EXCERPT_MAX = 24;
const EXCERPT_HEAD = 8;
function excerptLines(finding) {
  const hidden = Math.max(finding.lines.length - EXCERPT_MAX, 0);
  const lines = finding.lines.map((line, i) => (
    excerptLine({ ...eventOfLine.get(line), line }, i + 1, i + 1 === finding.lines.length)
  ));
  if (!hidden) return lines;
  const fold = element("li", { className: "fold" }, element("button", { type: "button", text: `… ${counted(hidden, "line")}` }));
  fold.firstChild.addEventListener("click", () => fold.replaceWith(...lines.slice(EXCERPT_HEAD, EXCERPT_HEAD + hidden)));
  return [...lines.slice(0, EXCERPT_HEAD), fold, ...lines.slice(EXCERPT_HEAD + hidden)];
}

function excerptLine({ index, at, line, text, beside }, number, isLast) {
  const button = element("button", { type: "button", title: text ?? "" },
    element("span", { className: "number", text: number }),
    element("span", { className: "line", text: line }),
    element("time", { text: at === undefined ? "" : seconds(at) }),
    element("span", { className: "tell" }, brief(text ?? "is not on this page"),
      beside ? element("span", { className: "dim", text: ` — ${brief(beside)}` }) : null,
      isLast ? element("strong", { className: "here", text: "broken here" }) : null));
  button.addEventListener("click", () => index !== undefined && select(events[index]));
  return element("li", { className: isLast ? "last" : "" }, button);
}

/** A clause that another run broke: what was seen there, and how to play it. */
function elsewhere({ run, replay, excerpt }) {
  const lines = excerpt.lines.map(({ line, at_ms: at, text, beside }, i) => (
    excerptLine({ at, line, text, beside }, i + 1, i + 1 === excerpt.lines.length)
  ));
  lines.forEach((line) => line.firstChild.setAttribute("disabled", ""));
  return element("div", { className: "elsewhere" },
    element("p", {}, `Broken in ${run}, not in the run below: ${brief(excerpt.says)}`),
    element("ol", { className: "excerpt" }, ...lines),
    element("p", { className: "dim" }, "replay ", element("code", { text: replay })));
}
