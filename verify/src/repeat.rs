//! What broke clauses is played again, to see how often it does, and so is what should have exercised one and did not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kew_spec::verdict::{ClauseVerdict, State};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::doubt::{broken_by, broken_calmly, is_broken, is_doubtful};
use crate::judge::{Judged, judge};
use crate::link::Error;
use crate::result::{Cell, ClauseResult, Rate, Shown};
use crate::run::{Hall, Options, Part, STRUCK_AT_ONCE};

/// How often what is about a clause that no play exercised is played again at most.
const MISSED_REPEATS: u32 = 3;

/// How many rounds of further scenarios are played again at most, where those before broke a clause seldom.
const OTHERS_MAX: u32 = 3;

/// Plays what broke clauses again, to see how often it does, and what is about clauses that were not exercised: on a busy
/// machine a limit may not be reached. Returns the clauses that were broken `calmly`, now or before.
///
/// Where the smallest play that broke a clause breaks it too seldom to be sure, the next one is played again in its place:
/// what breaks by chance in one scenario may break always in another.
pub(crate) async fn repeat(
    hall: &Arc<Hall>,
    parts: &[Part],
    plays: &BTreeMap<String, Judged>,
    clauses: &mut [ClauseResult],
    late_ms: u64,
    options: &Options,
) -> Result<BTreeSet<String>, Error> {
    let missed = clauses.iter().filter(|it| it.cell == Cell::NotExercised).map(|it| it.clause.clone());
    let missed = missed.collect();
    let mut again = Again { missed, calmly: broken_calmly(plays), rates: BTreeMap::new(), done: BTreeSet::new() };
    for round in 0..=OTHERS_MAX {
        let left = parts.iter().filter(|part| !again.done.contains(&part.name));
        let left = left.map(|part| (part, repeats(part, clauses, &again.missed, options)));
        let todo: Vec<_> = left.filter(|(_, times)| 0 < *times).collect();
        if todo.is_empty() {
            break;
        }
        again.done.extend(todo.iter().map(|(part, _)| part.name.clone()));
        repeat_once(hall, &todo, clauses, late_ms, &mut again).await?;
        if round < OTHERS_MAX {
            clauses.iter_mut().for_each(|it| show_another(it, plays, &again));
        }
    }
    Ok(again.calmly)
}

/// What was played again so far.
struct Again {
    /// The clauses that no play had exercised.
    missed: BTreeSet<String>,
    /// The clauses that were broken while the machine did not stand still.
    calmly: BTreeSet<String>,
    /// How often the plays again of each scenario broke each clause that they broke.
    rates: BTreeMap<(String, String), Rate>,
    /// The scenarios.
    done: BTreeSet<String>,
}

/// Plays each part so often, side by side, and adds up what came of it.
async fn repeat_once(
    hall: &Arc<Hall>,
    todo: &[(&Part, u32)],
    clauses: &mut [ClauseResult],
    late_ms: u64,
    again: &mut Again,
) -> Result<(), Error> {
    let permits = Arc::new(Semaphore::new(STRUCK_AT_ONCE));
    let mut playing = JoinSet::new();
    for (part, times) in todo {
        for _ in 0..*times {
            let (hall, fitted, name) = (Arc::clone(hall), part.fitted.clone(), part.name.clone());
            let permits = Arc::clone(&permits);
            playing.spawn(async move {
                let _permit = permits.acquire_owned().await.expect("it is never closed");
                let played = hall.play(&fitted).await?;
                Ok::<_, Error>((judge(&played, &hall.about, &name, late_ms, fitted.strikes), name))
            });
        }
    }
    let mut plays: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(done) = playing.join_next().await {
        let (judged, name) = done.expect("a play does not panic")?;
        let plays = plays.entry(name.clone()).or_default();
        *plays += 1;
        for it in clauses.iter_mut() {
            add(it, &judged, &name);
            let rate = again.rates.entry((it.clause.clone(), name.clone())).or_default();
            rate.plays += 1;
            rate.broken += u32::from(is_broken(&judged, &it.clause));
            if again.missed.contains(&it.clause) {
                make_up(it, &judged, &name, *plays);
            }
        }
        if !judged.stalled {
            again.calmly.extend(broken_by(&judged));
        }
    }
    Ok(())
}

/// Shows the clause by the next smallest play that broke it, if what showed it so far broke it too seldom.
fn show_another(it: &mut ClauseResult, plays: &BTreeMap<String, Judged>, again: &Again) {
    let Some(so_far) = it.shown.clone().filter(|_| is_doubtful(it, &again.calmly)) else { return };
    let others = so_far.scenarios.iter().filter(|name| **name != so_far.scenario);
    let mut others: Vec<_> = others.filter_map(|name| plays.get_key_value(name)).collect();
    others.sort_by_key(|(_, play)| play.events.len());
    for (name, play) in others {
        let Some(mut next) =
            play.verdict.get(&it.clause).and_then(|entry| shown(name, entry, so_far.scenarios.clone()))
        else {
            continue;
        };
        let rate = again.rates.get(&(it.clause.clone(), name.clone())).copied().unwrap_or_default();
        next.rate = Rate { broken: 1 + rate.broken, plays: 1 + rate.plays };
        it.shown = Some(next);
        if !is_doubtful(it, &again.calmly) {
            return; // It is sure, or is to be played again.
        }
    }
    it.shown = Some(so_far);
}

/// How often a part is played again.
fn repeats(part: &Part, clauses: &[ClauseResult], missed: &BTreeSet<String>, options: &Options) -> u32 {
    let shows = |it: &ClauseResult| it.shown.as_ref().is_some_and(|shown| shown.scenario == part.name);
    if clauses.iter().any(shows) {
        options.repeats
    } else if part.fitted.scenario.exercises.iter().any(|clause| missed.contains(clause)) {
        options.repeats.min(MISSED_REPEATS)
    } else {
        0
    }
}

/// Adds a play of the scenario `name` that was played again.
fn add(it: &mut ClauseResult, again: &Judged, name: &str) {
    if let Some(shown) = it.shown.as_mut().filter(|shown| shown.scenario == name) {
        shown.rate.plays += 1;
        shown.rate.broken += u32::from(is_broken(again, &it.clause));
    }
}

/// Adds a play that was played again since the first did not exercise the clause, one of so many `plays` of its scenario by
/// now: those that did not break the clause count, whichever was over first.
fn make_up(it: &mut ClauseResult, again: &Judged, name: &str, plays: u32) {
    let Some(entry) = again.verdict.get(&it.clause) else { return };
    it.exercised += entry.exercised;
    if entry.state == State::Broken && it.shown.is_none() {
        (it.cell, it.shown) = (Cell::Broken, shown(name, entry, vec![name.to_owned()]));
        it.shown.iter_mut().for_each(|shown| shown.rate.plays = plays);
    } else if 0 < entry.exercised && it.cell == Cell::NotExercised {
        it.cell = Cell::Kept;
    }
}

/// What `entry` says of a play of the scenario `name`, one of those that broke the clause.
pub(crate) fn shown(name: &str, entry: &ClauseVerdict, scenarios: Vec<String>) -> Option<Shown> {
    let finding = entry.findings.first()?;
    Some(Shown {
        scenario: name.to_owned(),
        says: finding.says.clone(),
        lines: finding.lines.clone(),
        rate: Rate { broken: 1, plays: 1 },
        scenarios,
    })
}

#[cfg(test)]
mod tests {
    use kew_spec::history::{Event, Header, What};
    use kew_spec::scenario::library;
    use kew_spec::verdict::{Finding, Verdict};

    use super::*;
    use crate::fit::Fitted;

    const CLAUSE: &str = "rate/ceiling";

    fn result(cell: Cell, shown_by: Option<&str>) -> ClauseResult {
        let shown = |scenario: &str| Shown {
            scenario: scenario.into(),
            says: String::new(),
            lines: Vec::new(),
            rate: Rate { broken: 1, plays: 1 },
            scenarios: vec![scenario.into()],
        };
        ClauseResult {
            clause: CLAUSE.into(),
            cell,
            exercised: 0,
            feature: String::new(),
            emulated: false,
            shown: shown_by.map(shown),
        }
    }

    /// A play that exercised the clause so often.
    fn played(state: State, exercised: u64) -> Judged {
        let mut verdict = Verdict::none();
        for entry in verdict.clauses.iter_mut().filter(|entry| entry.clause == CLAUSE) {
            (entry.state, entry.exercised) = (state, exercised);
            if state == State::Broken {
                entry.findings.push(Finding { says: "too many".into(), lines: vec![7] });
            }
        }
        Judged { header: Header::new("by hand"), events: Vec::new(), verdict, stalled: false }
    }

    fn rate_of(it: &ClauseResult) -> Option<(u32, u32)> {
        it.shown.as_ref().map(|shown| (shown.rate.broken, shown.rate.plays))
    }

    /// How often the part "one", which is about the clause or not, is played again.
    fn again(clause: &ClauseResult, is_about_it: bool, repeats: u32) -> u32 {
        let mut scenario = library().swap_remove(0);
        scenario.exercises = if is_about_it { vec![CLAUSE.into()] } else { Vec::new() };
        let policies = scenario.policies();
        let part = Part { name: "one".into(), fitted: Fitted { scenario, policies, strikes: false } };
        let missed = (clause.cell == Cell::NotExercised).then(|| CLAUSE.to_owned());
        let options = Options { repeats, ..Options::default() };
        super::repeats(&part, std::slice::from_ref(clause), &missed.into_iter().collect(), &options)
    }

    #[test]
    fn what_shows_a_broken_clause_is_played_again_as_often_as_asked_for() {
        assert_eq!(again(&result(Cell::Broken, Some("one")), true, 7), 7);
        assert_eq!(again(&result(Cell::Broken, Some("one")), false, 7), 7);
        assert_eq!(again(&result(Cell::Broken, Some("other")), true, 7), 0);
    }

    #[test]
    fn what_is_about_a_clause_that_no_play_exercised_is_played_again_a_few_times_at_most() {
        assert_eq!(again(&result(Cell::NotExercised, None), true, 7), MISSED_REPEATS);
        assert_eq!(again(&result(Cell::NotExercised, None), true, 2), 2);
        assert_eq!(again(&result(Cell::NotExercised, None), false, 7), 0);
        assert_eq!(again(&result(Cell::Kept, None), true, 7), 0);
    }

    #[test]
    fn a_scenario_that_is_played_again_counts_for_the_clauses_that_it_shows_to_be_broken() {
        let mut it = result(Cell::Broken, Some("one"));
        add(&mut it, &played(State::Broken, 1), "one");
        add(&mut it, &played(State::Kept, 1), "one");
        add(&mut it, &played(State::Broken, 1), "other");
        assert_eq!(rate_of(&it), Some((2, 3)));
    }

    #[test]
    fn a_clause_that_was_missed_is_kept_once_a_play_exercises_it() {
        let mut it = result(Cell::NotExercised, None);
        make_up(&mut it, &played(State::NotExercised, 0), "one", 1);
        assert_eq!((it.cell, it.exercised), (Cell::NotExercised, 0));
        make_up(&mut it, &played(State::Kept, 3), "one", 2);
        make_up(&mut it, &played(State::Kept, 4), "other", 1);
        assert_eq!((it.cell, it.exercised), (Cell::Kept, 7));
        assert_eq!(it.shown, None);
    }

    #[test]
    fn a_clause_that_was_missed_is_broken_once_a_play_breaks_it() {
        let mut it = result(Cell::Kept, None);
        make_up(&mut it, &played(State::Broken, 1), "one", 1);
        make_up(&mut it, &played(State::Broken, 1), "other", 1);
        make_up(&mut it, &played(State::Kept, 1), "one", 2);
        assert_eq!((it.cell, it.exercised), (Cell::Broken, 3));
        let shown = it.shown.expect("it tells what shows it");
        assert_eq!((shown.scenario.as_str(), shown.says.as_str(), shown.lines), ("one", "too many", vec![7]));
        assert_eq!(shown.scenarios, ["one"]);
    }

    /// How often the clause broke in how many plays again of one scenario, none of which exercised it at first.
    fn made_up(states: [State; 3]) -> Option<(u32, u32)> {
        let mut it = result(Cell::NotExercised, None);
        for (plays, state) in (1..).zip(states) {
            add(&mut it, &played(state, 1), "one");
            make_up(&mut it, &played(state, 1), "one", plays);
        }
        rate_of(&it)
    }

    #[test]
    fn how_often_a_missed_clause_broke_does_not_hang_on_which_play_was_over_first() {
        assert_eq!(made_up([State::Broken, State::Kept, State::Kept]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Broken, State::Kept]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Broken, State::Broken]), Some((2, 3)));
        assert_eq!(made_up([State::Kept, State::Kept, State::Broken]), Some((1, 3)));
        assert_eq!(made_up([State::Kept, State::Kept, State::Kept]), None);
    }

    /// Which scenario shows a clause that three broke, the smallest of which broke it once in six plays, and how often. Of
    /// the others those are played again already that `rates` tells of.
    fn shown_then(calmly: bool, rates: &[(&str, u32)]) -> (String, Option<(u32, u32)>) {
        let sizes = [("one", 1), ("two", 2), ("three", 3)];
        let event = |_| Event { at: 0, what: What::Drained(kew_spec::history::Drained { ok: true, bound_ms: 0 }) };
        let play = |(name, size): (&str, usize)| {
            (name.to_owned(), Judged { events: (0..size).map(event).collect(), ..played(State::Broken, 1) })
        };
        let plays = sizes.into_iter().map(play).collect();
        let mut it = result(Cell::Broken, Some("one"));
        it.shown.iter_mut().for_each(|shown| {
            shown.rate.plays = 6;
            shown.scenarios = sizes.map(|(name, _)| name.to_owned()).to_vec();
        });
        let rate = |(name, broken): &(&str, u32)| {
            ((CLAUSE.to_owned(), (*name).to_owned()), Rate { broken: *broken, plays: 5 })
        };
        let again = Again {
            missed: BTreeSet::new(),
            calmly: calmly.then(|| CLAUSE.to_owned()).into_iter().collect(),
            rates: rates.iter().map(rate).collect(),
            done: BTreeSet::new(),
        };
        show_another(&mut it, &plays, &again);
        (it.shown.as_ref().map(|shown| shown.scenario.clone()).unwrap_or_default(), rate_of(&it))
    }

    #[test]
    fn a_clause_that_one_scenario_broke_seldom_is_shown_by_the_next_one() {
        assert_eq!(shown_then(false, &[]), ("two".into(), Some((1, 1))), "which is then played again");
        assert_eq!(shown_then(false, &[("two", 5)]), ("two".into(), Some((6, 6))));
        assert_eq!(shown_then(false, &[("two", 1)]), ("three".into(), Some((1, 1))));
        assert_eq!(shown_then(false, &[("two", 1), ("three", 0)]), ("one".into(), Some((1, 6))), "all broke it seldom");
        assert_eq!(shown_then(true, &[]), ("one".into(), Some((1, 6))), "one that broke calmly is no doubtful one");
    }
}
