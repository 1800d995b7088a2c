//! Faults as bands over the rows that they strike.

use std::collections::BTreeMap;

use kew_spec::history::{Event, What};
use serde::Serialize;

use super::lanes::Lanes;

/// A fault from where it begins to where it ends, or to the end of the history.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Band<'a> {
    kind: &'a str,
    on: &'a [String],
    lanes: Vec<usize>,
    from: usize,
    to: Option<usize>,
}

/// The faults in the order in which they begin.
pub(super) fn bands<'a>(events: &'a [(u64, Event)], lanes: &Lanes) -> Vec<Band<'a>> {
    let mut bands: Vec<Band<'a>> = Vec::new();
    let mut active = BTreeMap::new();
    for (i, (_, event)) in events.iter().enumerate() {
        let What::Fault(fault) = &event.what else { continue };
        if fault.active {
            active.insert(fault.fault, bands.len());
            let lanes = lanes.struck(&fault.on);
            bands.push(Band { kind: &fault.kind, on: &fault.on, lanes, from: i, to: None });
        } else if let Some(place) = active.remove(&fault.fault) {
            bands[place].to = Some(i);
        }
    }
    bands
}
