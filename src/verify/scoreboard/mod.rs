//! `kew verify --scoreboard`: several systems' results side by side. `docs/scoreboard.md` is exactly its output.
//!
//! `markdown` and `page` show the same; what they share of words is here.

mod mark;
mod markdown;
mod page;

use std::fs;
use std::path::{Path, PathBuf};

use kew_verify::known::{self, Failing, Known};
use kew_verify::result::{Cell, ClauseResult, Shown, VERSION, Verification};
use kew_verify::target::Target;

use self::mark::Mark;
use super::again::Again;
use crate::outcome::{End, Failure};
use crate::report;
use crate::report::terminal;

/// Runs the command. A scoreboard judges nothing: it says what was found before.
pub(super) fn run(folder: &Path, root: &Path, report: Option<&Path>) -> Result<End, Failure> {
    let board = Board::read(folder, root)?;
    report::print(&markdown::text(&board));
    if let Some(path) = report {
        let written = fs::write(path, page::html(&board, path.parent().unwrap_or(Path::new("."))));
        written.map_err(|error| Failure::input(format!("write report {}: {error}", path.display())))?;
        report::say_beside(&terminal::written(Some(path)));
    }
    Ok(End::Kept)
}

/// All results, by the systems' names.
struct Board {
    systems: Vec<System>,
}

/// A system's result, with what is known of its target.
struct System {
    result: Verification,
    known: Known,
    /// The system's own name.
    title: String,
    /// The page that says how its words map to Kew's, if it has one.
    mapping: Option<PathBuf>,
}

impl Board {
    fn read(folder: &Path, root: &Path) -> Result<Self, Failure> {
        let fault =
            |error: std::io::Error| Failure::input(format!("read the results in {}: {error}", folder.display()));
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(fault)? {
            let file = entry.map_err(fault)?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                files.push(file);
            }
        }
        let mut systems: Vec<_> = files.iter().map(|file| System::read(file, root)).collect::<Result<_, _>>()?;
        if systems.is_empty() {
            let folder = folder.display();
            return Err(Failure::input(format!("find results in {folder}: `--result FILE.json` writes one")));
        }
        systems.sort_by(|a, b| a.result.target.cmp(&b.result.target));
        Ok(Self { systems })
    }
}

impl System {
    fn read(file: &Path, root: &Path) -> Result<Self, Failure> {
        let fault = |what: &str, why: String| Failure::input(format!("{what} the result {}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| fault("read", error.to_string()))?;
        let result: Verification =
            serde_json::from_str(&text).map_err(|error| fault("understand", error.to_string()))?;
        if result.kew_verification != VERSION {
            return Err(fault("understand", format!("it has version {}, not {VERSION}", result.kew_verification)));
        }
        let folder = root.join(&result.target);
        let target = Target::read(&folder).ok();
        let list = folder.join(known::FILE);
        let known = if list.is_file() { Known::read(&list).map_err(Failure::input)? } else { Known::default() };
        let title = target.map_or_else(|| result.target.clone(), |target| target.title);
        let mapping = Some(folder.join("README.md")).filter(|path| path.is_file());
        Ok(Self { result, known, title, mapping })
    }

    /// How it stands with a clause, where the result has it.
    fn mark(&self, clause: &str) -> Option<Mark> {
        self.result.get(clause).map(|it| Mark::of(it.cell, self.known.get(clause)))
    }

    /// How many clauses are marked so.
    fn count(&self, mark: Mark) -> usize {
        let them = self.result.clauses.iter().filter(|it| self.mark(&it.clause) == Some(mark));
        them.count()
    }

    /// Each clause that it breaks, with what shows it.
    fn broken(&self) -> impl Iterator<Item = (&ClauseResult, &Shown)> {
        let broken = self.result.clauses.iter().filter(|it| it.cell == Cell::Broken);
        broken.filter_map(|it| Some((it, it.shown.as_ref()?)))
    }

    /// What a broken clause of it is told by.
    fn told<'a>(&'a self, it: &'a ClauseResult, shown: &'a Shown) -> Told<'a> {
        let target = &self.result.target;
        let known = self.known.get(&it.clause);
        let mut rate = format!("{} of {} plays of {}", shown.rate.broken, shown.rate.plays, shown.scenario);
        if it.emulated {
            rate.push_str("; the adapter emulates this");
        }
        let again = Again { target, targets: None, scenarios: &[] };
        Told {
            mark: Mark::of(it.cell, known),
            anchor: anchor(target, &it.clause),
            text: kew_spec::clause::find(&it.clause).map(|clause| clause.text).unwrap_or_default(),
            says: &shown.says,
            rate,
            line: again.line(&it.clause, &shown.scenario),
            known,
            promised: match known {
                Some(known) if known.promised => "Its documents promise this.",
                Some(_) => "Its documents do not promise this.",
                None => "Nobody has looked yet whether its documents promise this.",
            },
        }
    }
}

/// A broken clause of a system, in words.
struct Told<'a> {
    mark: Mark,
    anchor: String,
    text: &'static str,
    says: &'a str,
    rate: String,
    line: String,
    known: Option<&'a Failing>,
    promised: &'static str,
}

/// Where on the board a broken clause is told of.
fn anchor(target: &str, clause: &str) -> String {
    format!("{target}-{}", clause.replace('/', "-"))
}

/// The marks that are counted for each system.
const COUNTED: [Mark; 4] = [Mark::Kept, Mark::Broken, Mark::Unpromised, Mark::NotOffered];

/// What a board says before its table.
const INTRODUCTION: &str = "Each column is a system, played through its adapter in real time (in virtual time where its clock can be moved); each row a promise. A \
     result is a finding of one run on one machine, at the version stated. What a system does not offer is not held \
     against it, and what its documents do not promise is no fault of it: such a cell has a sign of its own.";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use insta::assert_snapshot;

    use kew_verify::known::Known;

    use super::{Board, System, markdown, page};
    use crate::verify::made_up;

    fn board() -> Board {
        let system = |target: &str, known| System {
            result: made_up::result(target),
            known,
            title: target.to_uppercase(),
            mapping: None,
        };
        Board { systems: vec![system("known", made_up::known()), system("other", unpromised())] }
    }

    fn unpromised() -> Known {
        let text = "[[known]]\nclause = \"status/flow\"\nreason = \"`RETRY` may be told late\"";
        Known::parse(text, "made up").expect("it is well formed")
    }

    #[test]
    fn the_board_in_markdown_has_a_row_for_each_clause_and_tells_of_each_that_is_broken() {
        assert_snapshot!(markdown::text(&board()));
    }

    #[test]
    fn the_boards_page_needs_nothing_else_and_lets_nothing_end_it() {
        let page = page::html(&board(), Path::new("."));
        for word in ["src=", "@import", "url(", "<script"] {
            assert!(!page.contains(word), "{word} would load something");
        }
        assert!(page.contains("3 were &lt;promised&gt;") && !page.contains("<promised>"));
        assert!(page.contains("prefers-color-scheme: dark"), "it is dark where people like it so");
        for clause in made_up::broken() {
            let anchor = super::anchor("other", clause);
            assert!(page.contains(&format!("href=\"#{anchor}\"")) && page.contains(&format!("id=\"{anchor}\"")));
        }
    }

    #[test]
    fn what_no_document_promises_has_a_sign_of_its_own() {
        let page = page::html(&board(), Path::new("."));
        for (target, clause, sign) in [("known", "retry/at-least", "✗"), ("other", "status/flow", "≠")] {
            let link = format!("<a href=\"#{}\">{sign}</a>", super::anchor(target, clause));
            assert!(page.contains(&link), "{clause} of {target} is {sign}");
        }
    }

    #[test]
    fn what_stands_between_backticks_in_a_reason_is_code() {
        let page = page::html(&board(), Path::new("."));
        assert!(page.contains("<code>RETRY</code> may be told late") && !page.contains("`RETRY`"));
    }

    #[test]
    fn a_result_that_was_written_is_read_again() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let text = serde_json::to_string(&made_up::result("made-up")).expect("it is JSON");
        std::fs::write(folder.path().join("made-up.json"), text).expect("there is room for a result");
        let read = Board::read(folder.path(), folder.path()).expect("there is one");
        assert_eq!(read.systems[0].result, made_up::result("made-up"));
    }
}
