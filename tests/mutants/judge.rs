//! Judges all histories of a folder and prints whether each is accused, or its bug named. With a file of what was printed before, fails
//! at the first that is judged otherwise: a clean run that is accused, or a planted bug whose own clause is not named.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::process::ExitCode;

use kew_spec::check::check;
use kew_spec::history::Reader;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let before = arguments.next().map(|file| fs::read_to_string(file).expect("it is readable"));
    let before: BTreeMap<&str, &str> =
        before.iter().flat_map(|text| text.lines()).filter_map(|it| it.split_once(' ')).collect();
    let files = fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it is readable").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    for file in files {
        let name = file.file_name().expect("it is a file").to_string_lossy().into_owned();
        let reader = Reader::new(BufReader::new(File::open(&file).expect("it is readable"))).expect("it is a history");
        let verdict = check(reader).expect("it is a history");
        let broken: Vec<_> = verdict.broken().map(|it| it.clause.as_str()).collect();
        // A bug's history has its clause in its name.
        let own = name.split('.').next().unwrap_or_default().replacen('_', "/", 1);
        let word = match own.as_str() {
            "clean" if broken.is_empty() => "none",
            "clean" => "accused",
            own if broken.contains(&own) => "named",
            _ => "not-named",
        };
        println!("{name} {word}");
        if before.get(name.as_str()).is_some_and(|before| *before != word) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
