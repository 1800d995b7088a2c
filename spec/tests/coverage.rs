//! Coverage of hand-written histories: `coverage/*.jsonl` reach exactly the cells that they name in their comments, as
//! `# reaches CELL`. What is declared is a snapshot: `INSTA_UPDATE=always` accepts a changed list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kew_spec::coverage::{coverage, declared, moments};
use kew_spec::history::{Event, Reader};

fn histories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/coverage");
    let files = fs::read_dir(&folder).expect("there are histories").map(|file| file.expect("it is readable").path());
    let mut paths: Vec<_> = files.collect();
    paths.sort();
    paths
}

/// What a history names in its comments, and what it reaches.
fn named_and_reached(path: &Path) -> [BTreeSet<String>; 2] {
    let text = fs::read_to_string(path).expect("it is text");
    let named = text.lines().filter_map(|line| line.strip_prefix("# reaches ")).map(str::to_owned).collect();
    let reader = Reader::new(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let header = reader.header().clone();
    let events = reader.map(|read| read.unwrap_or_else(|error| panic!("{}: {error}", path.display())).1);
    let events: Vec<Event> = events.collect();
    let reached = coverage(&header, &events).into_iter().map(|(cell, _)| cell).collect();
    [named, reached]
}

#[test]
fn a_history_reaches_exactly_the_cells_that_it_names() {
    let mut complaints = Vec::new();
    for path in histories() {
        let [named, reached] = named_and_reached(&path);
        let name = path.display();
        complaints.extend(named.difference(&reached).map(|cell| format!("{name} does not reach {cell}")));
        complaints.extend(reached.difference(&named).map(|cell| format!("{name} also reaches {cell}")));
    }
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn nearly_every_moment_is_reached_by_hand() {
    let named: BTreeSet<_> = histories().iter().flat_map(|path| named_and_reached(path)[0].clone()).collect();
    let left: Vec<_> = moments().filter(|moment| !named.contains(moment)).collect();
    assert!(left.len() <= 5, "no history by hand reaches {left:#?}");
}

#[test]
fn what_is_declared_is_told_once_each() {
    let declared = declared();
    let distinct: BTreeSet<_> = declared.iter().collect();
    assert_eq!(distinct.len(), declared.len());
    insta::assert_snapshot!(declared.join("\n"));
}
