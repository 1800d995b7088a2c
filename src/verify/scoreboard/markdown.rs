//! The scoreboard as Markdown, as it stands in `docs/`.

use std::fmt::Write;

use kew_spec::clause::CLAUSES;

use super::mark::Mark;
use super::{Board, COUNTED, INTRODUCTION, System, Told, anchor};

/// Where the systems' folders are, seen from `docs/`.
const TARGETS: &str = "../verify/targets";

pub(super) fn text(board: &Board) -> String {
    let mut text = format!("# Scoreboard\n\n{INTRODUCTION}\n\n{}\n", legend());
    text.push_str(&systems(board));
    text.push_str(&table(board));
    for system in board.systems.iter().filter(|system| system.broken().next().is_some()) {
        let _ = write!(text, "\n## {}\n", system.title);
        for (it, shown) in system.broken() {
            text.push_str(&told(&it.clause, &system.told(it, shown)));
        }
    }
    text.push_str("\n`kew verify --scoreboard verify/results` prints this page.\n");
    text
}

fn legend() -> String {
    let signs: Vec<_> = Mark::ALL.iter().map(|mark| format!("{} {}", mark.sign(), mark.explained())).collect();
    format!("{} · ᵉ emulated by the adapter with the system's means\n", signs.join(" · "))
}

/// The systems with their versions, and what each came to.
fn systems(board: &Board) -> String {
    let counted = COUNTED.map(Mark::words).join(" | ");
    let mut text = format!("| system | as tried | {counted} | how it is spoken to |\n|---|---|");
    text.push_str(&"--:|".repeat(COUNTED.len()));
    text.push_str("---|\n");
    for system in &board.systems {
        let System { result, title, mapping, .. } = system;
        let mapping = mapping.as_ref().map(|_| format!("[mapping]({TARGETS}/{}/README.md)", result.target));
        let counts = COUNTED.map(|mark| system.count(mark).to_string()).join(" | ");
        let system = cell(&result.system);
        let _ = writeln!(text, "| {title} | {system} | {counts} | {} |", mapping.unwrap_or_default());
    }
    text + "\n"
}

fn table(board: &Board) -> String {
    let mut text = "| clause |".to_owned();
    board.systems.iter().for_each(|system| {
        let _ = write!(text, " {} |", system.title);
    });
    let _ = writeln!(text, "\n|---|{}", ":-:|".repeat(board.systems.len()));
    for clause in CLAUSES {
        let _ = write!(text, "| [`{}`](clauses.md#{}) |", clause.id, clause.family());
        for system in &board.systems {
            let _ = write!(text, " {} |", entry(system, clause.id));
        }
        text.push('\n');
    }
    text
}

fn entry(system: &System, clause: &str) -> String {
    let (Some(it), Some(mark)) = (system.result.get(clause), system.mark(clause)) else { return String::new() };
    let emulated = if it.emulated && mark != Mark::NotOffered { "ᵉ" } else { "" };
    let shown = format!("{}{emulated}", mark.sign());
    if mark.is_told() { format!("[{shown}](#{})", anchor(&system.result.target, clause)) } else { shown }
}

fn told(clause: &str, told: &Told<'_>) -> String {
    let Told { mark, anchor, text, says, rate, line, known, promised } = told;
    let mut all =
        format!("\n<a id=\"{anchor}\"></a>{} **`{clause}`** {text}\n\n- Seen: {}\n", mark.sign(), plain(says));
    let _ = writeln!(all, "- {rate}: `{line}`");
    let reason = known.map(|known| {
        let link = known.link.as_ref().map(|link| format!(" [More]({link})")).unwrap_or_default();
        format!(" {}{link}", known.reason)
    });
    let _ = writeln!(all, "- {promised}{}", reason.unwrap_or_default());
    all
}

/// What was seen may hold anything: no tag of it counts.
fn plain(text: &str) -> String {
    text.replace('<', "&lt;").replace('\n', " ")
}

fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|")
}
