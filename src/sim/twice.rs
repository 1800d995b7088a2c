//! A seed played in two processes. That they come to one hash, over every event and every byte on the network, is what
//! proves that they are the same; only where they do not are histories written, to show where the runs part.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::play::{self, Played};
use super::replay::Replay;
use crate::outcome::Failure;

/// Plays a seed twice, which must come to the same.
pub(super) fn play(replay: &Replay<'_>) -> Result<Played, Failure> {
    let played = play::play(replay, None)?;
    let again = play::play(replay, None)?;
    compare(replay, played, &again)
}

/// What both runs of a seed came to.
pub(super) fn compare(replay: &Replay<'_>, played: Played, again: &Played) -> Result<Played, Failure> {
    if played.hash == again.hash {
        return Ok(played);
    }
    let (seed, shown) = (replay.seed, shown(replay)?);
    let hashes = format!("hashes {} and {}", played.hash, again.hash);
    Err(Failure::harness(format!(
        "get the same run twice from seed {seed}: {hashes}\n{shown}\nreplay: {replay} --twice"
    )))
}

/// Where two further runs of the seed part.
fn shown(replay: &Replay<'_>) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::harness(format!("compare the runs of seed {}: {error}", replay.seed));
    let folder = tempfile::tempdir().map_err(failed)?;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    play::play(replay, Some(&first))?;
    play::play(replay, Some(&second))?;
    let differs = difference(&first, &second).map_err(failed)?;
    Ok(differs.unwrap_or_else(|| "the histories of two further runs are the same".into()))
}

/// The first line at which two files differ, and what each says there.
fn difference(first: &Path, second: &Path) -> std::io::Result<Option<String>> {
    let mut first = BufReader::new(File::open(first)?).lines();
    let mut second = BufReader::new(File::open(second)?).lines();
    for line in 1.. {
        let pair = (first.next().transpose()?, second.next().transpose()?);
        if pair == (None, None) {
            break;
        }
        if pair.0 != pair.1 {
            let told = |line: Option<String>| line.unwrap_or_else(|| "(ended)".into());
            return Ok(Some(format!("line {line}\n  one   {}\n  other {}", told(pair.0), told(pair.1))));
        }
    }
    Ok(None)
}
