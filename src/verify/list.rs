//! `kew verify --list`: the systems there are, which can be run here, and how to install the rest.

use std::fmt::Write;
use std::path::Path;

use kew_verify::target::{Ready, Target};

use crate::outcome::{End, Failure};
use crate::report;

/// Runs the command.
pub(super) fn run(root: &Path, install: bool) -> Result<End, Failure> {
    let targets = Target::all(root).map_err(Failure::input)?;
    if install {
        for target in targets.iter().filter(|target| !target.is_installed()) {
            report::print(&format!("installing {} in {}\n", target.name, target.folder.display()));
            target.install().map_err(Failure::harness)?;
        }
    }
    let mut text = String::new();
    let width = targets.iter().map(|target| target.name.len()).max().unwrap_or(0);
    for target in &targets {
        let ready = match target.ready() {
            Ready::Yes => "ready".to_owned(),
            Ready::NotInstalled => format!("not installed: kew verify {} --install", target.name),
            Ready::NoServer(server) => {
                format!("{} does not answer at {server}: start it", target.service.as_deref().unwrap_or("its server"))
            }
        };
        let _ =
            writeln!(text, "  {:width$}  {} ({})\n  {:width$}  {ready}", target.name, target.title, target.about, "");
    }
    report::print(&text);
    Ok(End::Kept)
}
