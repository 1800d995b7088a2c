//! The scoreboard as Markdown, as it stands in `docs/`.

use std::fmt::Write;

use kew_spec::clause::CLAUSES;
use kew_verify::result::Cell;

use super::{Board, CELLS, INTRODUCTION, System, Told, anchor, sign};

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
    let signs: Vec<_> = CELLS.into_iter().map(sign).map(|(sign, word)| format!("{sign} {word}")).collect();
    format!("{} · ᵉ emulated by the adapter with the system's means\n", signs.join(" · "))
}

/// The systems with their versions, and what each came to.
fn systems(board: &Board) -> String {
    let mut text =
        "| system | as tried | kept | broken | not offered | how it is spoken to |\n|---|---|--:|--:|--:|---|\n"
            .to_owned();
    for system in &board.systems {
        let System { result, title, mapping, .. } = system;
        let mapping = mapping.as_ref().map(|_| format!("[mapping]({TARGETS}/{}/README.md)", result.target));
        let count = |cell| result.count(cell);
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} | {} |",
            cell(&result.system),
            count(Cell::Kept),
            count(Cell::Broken),
            count(Cell::NotOffered),
            mapping.unwrap_or_default(),
        );
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
        for System { result, .. } in &board.systems {
            let Some(it) = result.get(clause.id) else {
                text.push_str("  |");
                continue;
            };
            let emulated = if it.emulated && it.cell != Cell::NotOffered { "ᵉ" } else { "" };
            let mark = format!("{}{emulated}", sign(it.cell).0);
            let _ = match it.cell {
                Cell::Broken => write!(text, " [{mark}](#{}) |", anchor(&result.target, clause.id)),
                _ => write!(text, " {mark} |"),
            };
        }
        text.push('\n');
    }
    text
}

fn told(clause: &str, told: &Told<'_>) -> String {
    let Told { anchor, text, says, rate, line, known, promised } = told;
    let mut all = format!("\n<a id=\"{anchor}\"></a>**`{clause}`** {text}\n\n- Seen: {}\n", plain(says));
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
