// Finding jobs and following them: the field, the list under it, and the jobs that are followed.

const search = document.getElementById("search");
const found = document.getElementById("found");
const FOUND_MAX = 40;
let candidates = [];
let active = -1;

function matches(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (job) => `${job.id} ${job.queue} ${job.user} ${job.end ?? "open"}`.toLowerCase();
  const fits = (job) => wanted.every((word) => text(job).includes(word));
  return jobs.map((job, index) => ({ job, index })).filter(({ job }) => fits(job)).slice(0, FOUND_MAX);
}

function showFound() {
  candidates = matches(search.value);
  active = Math.min(active, candidates.length - 1);
  found.replaceChildren(...candidates.map(({ job, index }, i) => {
    const option = element("li", { id: `found-${i}` },
      element("span", { text: short(job.id) }), element("span", { className: "dim", text: `${job.queue}${job.user ? ` · ${job.user}` : ""}` }),
      element("span", { className: "dim", text: job.end ?? "open" }));
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", String(i === active));
    option.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      take(index);
    });
    return option;
  }));
  const isOpen = candidates.length > 0 && document.activeElement === search;
  found.hidden = !isOpen;
  search.setAttribute("aria-expanded", String(isOpen));
  if (isOpen && active >= 0) {
    search.setAttribute("aria-activedescendant", `found-${active}`);
    found.children[active].scrollIntoView({ block: "nearest" });
  } else {
    search.removeAttribute("aria-activedescendant");
  }
}

/** Follows a job and shows its whole life. */
function take(index) {
  search.value = "";
  active = -1;
  followAlso([index]);
  const job = jobs[index];
  const [from, to] = [job.from, job.to ?? end];
  const room = Math.max((to - from) * 0.15, 300);
  goTo(from - room, to + room);
  search.blur();
}

search.addEventListener("input", () => {
  active = search.value ? 0 : -1;
  showFound();
});
search.addEventListener("focus", showFound);
search.addEventListener("blur", () => {
  found.hidden = true;
  search.setAttribute("aria-expanded", "false");
});
search.addEventListener("keydown", (event) => {
  const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (move && candidates.length) {
    event.preventDefault();
    active = (active + move + candidates.length) % candidates.length;
    showFound();
  } else if (event.key === "Enter" && candidates[Math.max(active, 0)]) {
    take(candidates[Math.max(active, 0)].index);
  } else if (event.key === "Escape") {
    search.value = "";
    search.blur();
  }
});

/** So many chips fit beside the other controls. */
const CHIPS_MAX = 4;

function showFollowed() {
  const chips = view.followed.slice(0, CHIPS_MAX).map((index) => {
    const job = jobs[index];
    const chip = element("button", { type: "button", className: "chip", title: `${job.id} (${job.queue}): no longer follow` }, short(job.id), element("span", { text: "×" }));
    chip.setAttribute("aria-label", `No longer follow job ${job.id}`);
    chip.addEventListener("click", () => follow(view.followed.filter((other) => other !== index)));
    return chip;
  });
  const more = view.followed.length - chips.length;
  if (more > 0) chips.push(element("span", { className: "dim", text: `and ${more} more` }));
  if (chips.length > 1) {
    const none = element("button", { type: "button", className: "small", text: "Follow none" });
    none.addEventListener("click", () => follow([]));
    chips.push(none);
  }
  document.getElementById("followed").replaceChildren(...chips);
}
