//! The scoreboard as one HTML page that needs nothing else: no network, no script, light and dark.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use kew_spec::clause::CLAUSES;

use super::mark::Mark;
use super::{Board, COUNTED, INTRODUCTION, System, Told, anchor};
use crate::report::json::VERSION;

const STYLE: &str = include_str!("style.css");

/// The page. `beside` is the folder that it will be in.
pub(super) fn html(board: &Board, beside: &Path) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Scoreboard · Kew</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <p class=\"dim\">Kew {VERSION}</p>\n<h1>Scoreboard</h1>\n<p>{}</p>\n{}",
        text(INTRODUCTION),
        legend(),
    );
    page.push_str(&table(board, beside));
    for system in board.systems.iter().filter(|system| system.broken().next().is_some()) {
        let _ = writeln!(page, "<h2>{}</h2>", text(&system.title));
        for (it, shown) in system.broken() {
            page.push_str(&told(&it.clause, &system.told(it, shown)));
        }
    }
    page + "</body>\n</html>\n"
}

fn legend() -> String {
    let one = |mark: &Mark| {
        let (sign, words) = (mark.sign(), mark.explained());
        format!("<li><span class=\"{}\">{sign}</span>{words}</li>\n", class(*mark))
    };
    let signs: String = Mark::ALL.iter().map(one).collect();
    format!("<ul class=\"legend\">\n{signs}<li><span><sup>e</sup></span>emulated by the adapter</li>\n</ul>\n")
}

fn table(board: &Board, beside: &Path) -> String {
    let mut page = "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">clause</th>".to_owned();
    for System { result, title, mapping, .. } in &board.systems {
        let title = text(title);
        let name = match mapping {
            Some(mapping) => format!("<a href=\"{}\">{title}</a>", text(&relative(mapping, beside))),
            None => title,
        };
        let _ = write!(
            page,
            "<th scope=\"col\" title=\"{}\">{name}<small>{}</small></th>",
            text(&result.system),
            text(&result.version)
        );
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for clause in CLAUSES {
        let _ = write!(page, "<tr><th scope=\"row\" title=\"{}\">{}</th>", text(clause.text), clause.id);
        board.systems.iter().for_each(|system| page.push_str(&cell(system, clause.id)));
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n<tfoot>\n");
    for of in COUNTED {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", of.words());
        board.systems.iter().for_each(|system| {
            let _ = write!(page, "<td>{}</td>", system.count(of));
        });
        page.push_str("</tr>\n");
    }
    page + "</tfoot>\n</table></div>\n"
}

fn cell(system: &System, clause: &str) -> String {
    let (Some(it), Some(mark)) = (system.result.get(clause), system.mark(clause)) else { return "<td></td>".into() };
    let (target, sign, words) = (&system.result.target, mark.sign(), mark.words());
    let is_emulated = it.emulated && mark != Mark::NotOffered;
    let (small, emulated) = if is_emulated { ("<sup>e</sup>", ", emulated") } else { ("", "") };
    let why = if mark == Mark::NotOffered { format!(": {}", text(&it.feature)) } else { String::new() };
    let shown = if mark.is_told() {
        format!("<a href=\"#{}\">{sign}{small}</a>", anchor(target, clause))
    } else {
        format!("{sign}{small}")
    };
    let class = class(mark);
    format!(
        "<td class=\"{class}\" title=\"{target}: {words}{emulated}{why}\" aria-label=\"{words}{emulated}\">{shown}</td>"
    )
}

fn told(clause: &str, told: &Told<'_>) -> String {
    let Told { mark, anchor, text: promise, says, rate, line, known, promised } = told;
    let mut page = format!(
        "<section id=\"{anchor}\">\n<h3><span class=\"{}\">{}</span>{clause}</h3>\n<p>{}</p>\n<p class=\"says\">{}</p>\n\
         <p class=\"dim\">{}: <code>{}</code></p>\n",
        class(*mark),
        mark.sign(),
        text(promise),
        text(says),
        text(rate),
        text(line),
    );
    let reason = known.map(|known| {
        let link = known.link.as_ref().map(|link| format!(" <a href=\"{}\">More</a>", text(link)));
        format!(" {}{}", prose(&known.reason), link.unwrap_or_default())
    });
    let _ = writeln!(page, "<p>{promised}{}</p>\n</section>", reason.unwrap_or_default());
    page
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Kept => "kept",
        Mark::Broken => "broken",
        Mark::Unpromised => "unpromised",
        Mark::Inconclusive => "unsure",
        Mark::NotOffered | Mark::NotExercised => "none",
    }
}

/// `path` as a page in `beside` names it.
fn relative(path: &Path, beside: &Path) -> String {
    let beside = if beside.as_os_str().is_empty() { Path::new(".") } else { beside };
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (path, beside) = (whole(path), whole(beside));
    let common = path.components().zip(beside.components()).take_while(|(a, b)| a == b).count();
    let up = beside.components().skip(common).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(path.components().skip(common)).collect();
    way.display().to_string()
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text in which backticks enclose code.
fn prose(words: &str) -> String {
    let mut page = String::new();
    let mut rest = words;
    while let Some((before, (code, after))) = rest.split_once('`').and_then(|(a, b)| Some((a, b.split_once('`')?))) {
        let _ = write!(page, "{}<code>{}</code>", text(before), text(code));
        rest = after;
    }
    page + &text(rest)
}
