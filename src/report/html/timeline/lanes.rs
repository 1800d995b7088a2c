//! Who stands in which row: users, operators, the queue's hosts, processors, the world outside. A row is there when
//! something happens on it or strikes it.

use std::collections::{BTreeMap, BTreeSet};

use kew_spec::history::{Event, What};
use serde::Serialize;

/// With more users than these, all share one row.
const USERS_MAX: usize = 8;

/// What kind of host a row is, in the order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Group {
    Users,
    Operator,
    Api,
    Broker,
    Notifier,
    Processor,
    Outside,
    Other,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lane {
    /// The host's or the user's name.
    pub(super) name: String,
    /// What it is.
    pub(super) group: Group,
}

/// All rows, and where to find each.
pub(super) struct Lanes {
    pub(super) list: Vec<Lane>,
    places: BTreeMap<(Group, String), usize>,
    /// Who asked for each operation.
    askers: BTreeMap<u64, (Group, String)>,
}

impl Lanes {
    /// The rows of a history.
    pub(super) fn of(events: &[(u64, Event)]) -> Self {
        let askers = askers(events);
        let mut seen: BTreeSet<_> = events.iter().filter_map(|(_, event)| stand(&event.what, &askers)).collect();
        seen.extend(events.iter().filter_map(|(_, event)| granted_to(&event.what)));
        for name in events.iter().flat_map(|(_, event)| struck(&event.what)) {
            let known = seen.iter().any(|(group, known)| known == name || named(*group) == Some(name.as_str()));
            if !known {
                seen.insert((group_of(name), name.clone()));
            }
        }
        let is_user = |(group, _): &&(Group, String)| *group == Group::Users;
        let shared = USERS_MAX < seen.iter().filter(is_user).count();
        let mut list: Vec<_> = seen.iter().map(|(group, name)| lane(*group, name, shared)).collect();
        list.sort_by_cached_key(|lane| (lane.group, natural(&lane.name)));
        list.dedup();
        let place = |(group, name): (Group, String)| {
            let lane = lane(group, &name, shared);
            let place = list.iter().position(|known| *known == lane).expect("every stand has its lane");
            ((group, name), place)
        };
        let places = seen.into_iter().map(place).collect();
        Self { list, places, askers }
    }

    /// The row that an event stands on. A fault and the play's end stand on none.
    pub(super) fn of_event(&self, what: &What) -> Option<usize> {
        self.places.get(&stand(what, &self.askers)?).copied()
    }

    /// A processor's row.
    pub(super) fn of_processor(&self, name: &str) -> Option<usize> {
        self.places.get(&(Group::Processor, name.to_owned())).copied()
    }

    /// The rows that a fault on `hosts` strikes: all of them when it names none.
    pub(super) fn struck(&self, hosts: &[String]) -> Vec<usize> {
        let is_struck = |lane: &Lane| {
            let is_host = |host: &String| *host == lane.name || named(lane.group) == Some(host.as_str());
            hosts.is_empty() || hosts.iter().any(is_host)
        };
        self.list.iter().enumerate().filter(|(_, lane)| is_struck(lane)).map(|(i, _)| i).collect()
    }
}

fn lane(group: Group, name: &str, users_share: bool) -> Lane {
    let name = if group == Group::Users && users_share { "users" } else { name };
    Lane { name: name.to_owned(), group }
}

fn askers(events: &[(u64, Event)]) -> BTreeMap<u64, (Group, String)> {
    let asked = |what: &What| match what {
        What::Enqueue(asked) => Some((asked.op, user(&asked.user))),
        What::Cancel(asked) => Some((asked.op, user(&asked.user))),
        What::Redrive(asked) => Some((asked.op, operator())),
        What::Purge(asked) => Some((asked.op, operator())),
        What::Pause(asked) => Some((asked.op, operator())),
        What::Resume(asked) => Some((asked.op, operator())),
        _ => None,
    };
    events.iter().filter_map(|(_, event)| asked(&event.what)).collect()
}

fn stand(what: &What, askers: &BTreeMap<u64, (Group, String)>) -> Option<(Group, String)> {
    Some(match what {
        What::Enqueue(asked) => user(&asked.user),
        What::Cancel(asked) => user(&asked.user),
        What::StatusRead(read) => user(&read.user),
        What::Session(session) => user(&session.user),
        What::Notified(told) => user(&told.user),
        What::Reply(reply) => askers.get(&reply.op)?.clone(),
        What::Redrive(_) | What::Purge(_) | What::Pause(_) | What::Resume(_) | What::DeadLetters(_) => operator(),
        What::Accepted(_) | What::Granted(_) | What::Settled(_) | What::Cancelled(_) => host(Group::Broker),
        What::Redriven(_) | What::Purged(_) | What::Paused(_) => host(Group::Broker),
        What::Started(started) => (Group::Processor, started.processor.clone()),
        What::Finished(finished) => (Group::Processor, finished.processor.clone()),
        What::Processor(turn) => (Group::Processor, turn.processor.clone()),
        What::Stored(_) => host(Group::Outside),
        What::Fault(_) | What::Drained(_) => return None,
    })
}

/// A grant stands on the queue's row, but whom it goes to has a row as well.
fn granted_to(what: &What) -> Option<(Group, String)> {
    match what {
        What::Granted(granted) => Some((Group::Processor, granted.processor.clone())),
        _ => None,
    }
}

fn struck(what: &What) -> &[String] {
    match what {
        What::Fault(fault) => &fault.on,
        _ => &[],
    }
}

fn user(name: &str) -> (Group, String) {
    (Group::Users, name.to_owned())
}

fn operator() -> (Group, String) {
    (Group::Operator, "operator".to_owned())
}

fn host(group: Group) -> (Group, String) {
    (group, named(group).expect("the queue's own hosts have names").to_owned())
}

/// What a fault calls a kind of host.
fn named(group: Group) -> Option<&'static str> {
    match group {
        Group::Users => Some("users"),
        Group::Api => Some("api"),
        Group::Broker => Some("broker"),
        Group::Notifier => Some("notifier"),
        Group::Outside => Some("outside"),
        Group::Operator | Group::Processor | Group::Other => None,
    }
}

fn group_of(name: &str) -> Group {
    let groups = [Group::Users, Group::Api, Group::Broker, Group::Notifier, Group::Outside];
    groups.into_iter().find(|group| named(*group) == Some(name)).unwrap_or(Group::Other)
}

/// Puts `processor-10` after `processor-9`.
fn natural(name: &str) -> (String, u64) {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (word.to_owned(), name[word.len()..].parse().unwrap_or(0))
}
