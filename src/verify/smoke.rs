//! `kew verify --smoke`: the steps of an adapter's trial as a list, and whose fault it is where one went wrong.

use std::fmt::Write;

use kew_verify::smoke::{Came, Step};
use kew_verify::target::Target;

use crate::outcome::End;
use crate::report;

/// Runs the command. Each step is printed when it is over.
pub(super) async fn run(target: &Target) -> End {
    let steps = kew_verify::smoke(target, &|step| report::print(&line(step))).await;
    report::print(&closing(&target.name, &steps));
    if steps.iter().any(Step::is_wrong) { End::Broken } else { End::Kept }
}

fn line(step: &Step) -> String {
    let (mark, says) = match &step.came {
        Came::Right(says) => ("✓", says),
        Came::Left(why) => ("–", why),
        Came::Adapter(what) | Came::Either(what) => ("✗", what),
    };
    let mut text = format!("  {mark} {}", step.name);
    match says.lines().count() {
        0 => {}
        1 => {
            let _ = write!(text, ": {says}");
        }
        _ => says.lines().for_each(|line| {
            let _ = write!(text, "\n      {line}");
        }),
    }
    text + "\n"
}

/// What to do next.
fn closing(name: &str, steps: &[Step]) -> String {
    let adapters = steps.iter().any(|step| matches!(step.came, Came::Adapter(_)));
    let eithers = steps.iter().any(|step| matches!(step.came, Came::Either(_)));
    let says = match (adapters, eithers) {
        (true, _) => "the adapter is at fault: it does not keep to the protocol (docs/adapters.md)".to_owned(),
        (_, true) => {
            "the adapter keeps to the protocol, but what was seen is not what it declares: either it declares \
                      or hands on something wrongly, or the system itself does not do it"
                .to_owned()
        }
        _ => format!("the adapter does all that was tried; now try the system: kew verify {name}"),
    };
    format!("\n  {says}\n")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::{Came, Step, closing, line};

    #[test]
    fn a_list_ends_with_whose_fault_it_is() {
        let right = Step { name: "declares what it can do", came: Came::Right("attempts native\ncrash absent".into()) };
        let left = Step { name: "tells a status", came: Came::Left("`status` is not declared".into()) };
        let either = Step { name: "hands on `completed`", came: Came::Either("it was delivered again".into()) };
        let adapter = Step { name: "answers bye and exits", came: Came::Adapter("did not exit".into()) };
        let all = [right, left, either, adapter];
        let lines: String = all.iter().map(line).collect();
        let ends: String = (2..=4).map(|count| closing("mine", &all[..count])).collect();
        assert_snapshot!(lines + &ends);
    }
}
