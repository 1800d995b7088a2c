//! The page of `--report`: the verdict on all runs, and one run in full. That run is played again for its history, since
//! runs hand over no more than their verdicts.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use kew_sim::planted::{self, Bug};
use kew_spec::history::{Event, Header, Reader};

use super::minimize::Minimized;
use super::play::{Played, play, play_capsule};
use super::replay::Replay;
use super::total::Total;
use super::{Arguments, seeds};
use crate::outcome::Failure;
use crate::report::html::{self, Across, Elsewhere, Page};
use crate::report::terminal::counted;

/// Writes the page where one is asked for. It opens with the clause that a planted bug should break, in the run that
/// shows it best: the shrunk one, if there is one.
pub(super) fn report(arguments: &Arguments, total: &Total, minimized: Option<&Minimized>) -> Result<(), Failure> {
    let clause = bug(arguments).map(|bug| bug.clause);
    let (Some(path), Some(seed)) = (&arguments.report, best(total, clause)) else { return Ok(()) };
    let shown = match minimized {
        Some(it) => Shown::of_capsule(it.capsule())?,
        None => Shown::of_seed(&seeds::replay(arguments, seed))?,
    };
    let page = Page {
        title: &title(arguments, seed),
        subtitle: &subtitle(arguments, total),
        opening: clause,
        across: across(arguments, total),
        coverage: Some(&total.coverage.counts()),
        ..shown.page()
    };
    html::write(path, &page)
}

/// Writes the page of a capsule.
pub(super) fn report_capsule(path: &Path, file: &Path, title: &str) -> Result<(), Failure> {
    let shown = Shown::of_capsule(file)?;
    html::write(path, &Page { title, ..shown.page() })
}

/// A run in full.
struct Shown {
    played: Played,
    replay: String,
    header: Header,
    events: Vec<(u64, Event)>,
}

impl Shown {
    fn of_seed(replay: &Replay<'_>) -> Result<Self, Failure> {
        Self::of(replay.to_string(), |history| play(replay, Some(history)))
    }

    fn of_capsule(file: &Path) -> Result<Self, Failure> {
        Self::of(format!("kew replay {}", file.display()), |history| play_capsule(file, Some(history)))
    }

    fn of(replay: String, play: impl Fn(&Path) -> Result<Played, Failure>) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| Failure::harness(format!("make a folder: {error}")))?;
        let history = folder.path().join("history.jsonl");
        let played = play(&history)?;
        let (header, events) = read(&history)?;
        Ok(Self { played, replay, header, events })
    }

    fn page(&self) -> Page<'_> {
        Page {
            title: "",
            subtitle: "",
            replay: Some(&self.replay),
            header: &self.header,
            events: &self.events,
            left_out: 0,
            verdict: &self.played.verdict,
            opening: None,
            across: None,
            not_offered: None,
            coverage: None,
        }
    }
}

/// The seed whose excerpt is the shortest; the first one where nothing is broken.
fn best(total: &Total, clause: Option<&str>) -> Option<u64> {
    let wanted = clause.and_then(|clause| total.shown.get(clause));
    let shortest = || total.shown.values().min_by_key(|(_, excerpt)| excerpt.lines.len());
    let shown = wanted.or_else(shortest).map(|(seed, _)| *seed);
    shown.or_else(|| total.runs.first().map(|run| run.seed))
}

fn read(path: &Path) -> Result<(Header, Vec<(u64, Event)>), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::harness(format!("read the run's history: {error}"));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let reader = Reader::new(BufReader::new(file)).map_err(|error| failed(&error))?;
    let header = reader.header().clone();
    let events: Result<_, _> = reader.collect();
    Ok((header, events.map_err(|error| failed(&error))?))
}

fn bug(arguments: &Arguments) -> Option<&'static Bug> {
    let name = arguments.planted.as_deref()?;
    planted::list().find(|bug| bug.name == name)
}

fn title(arguments: &Arguments, seed: u64) -> String {
    match &arguments.planted {
        Some(bug) => format!("{bug} · seed {seed}"),
        None => format!("seed {seed}"),
    }
}

fn subtitle(arguments: &Arguments, total: &Total) -> String {
    let bug = bug(arguments).map(|bug| format!("Planted bug: {}", bug.about));
    let seeds = (1 < total.runs.len()).then(|| format!("One of {}.", counted(total.runs.len() as u64, "seed")));
    bug.into_iter().chain(seeds).collect::<Vec<_>>().join(" ")
}

fn across<'a>(arguments: &'a Arguments, total: &'a Total) -> Option<Across<'a>> {
    let shown = |(clause, (seed, excerpt)): (&'a String, &'a (u64, _))| Elsewhere {
        clause,
        run: format!("seed {seed}"),
        replay: seeds::replay(arguments, *seed).to_string(),
        excerpt,
    };
    (1 < total.runs.len()).then(|| Across {
        runs: total.runs.len() as u64,
        verdict: &total.verdict,
        shown: total.shown.iter().map(shown).collect(),
    })
}
