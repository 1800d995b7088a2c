//! What runs have reached: which faults struck in which state of a job and at which role, and which telling moments came
//! about. A promise that holds in runs that never came near its edge is not worth much; this says how near they came.
//!
//! It reads a history, once, and judges nothing. [`declared`] lists what a large sweep must reach; whatever else was
//! reached is counted beside it.

mod cells;
mod moments;
mod story;

use std::collections::BTreeMap;

use crate::history::{Event, Header, What};
use moments::MOMENTS;
use story::Story;

pub use cells::{Place, STATES, places};

/// How often a history reached each cell, by the cell's name.
pub type Reached = BTreeMap<String, u64>;

/// All cells that a large sweep must reach: the places that faults strike in each state, then the moments.
pub fn declared() -> Vec<String> {
    places().iter().flat_map(Place::cells).chain(moments()).collect()
}

/// The names of all moments, as cells.
pub fn moments() -> impl Iterator<Item = String> {
    MOMENTS.iter().map(|moment| cell_of(moment.name))
}

fn cell_of(moment: &str) -> String {
    format!("sometimes/{moment}")
}

/// What a whole history reached, by the cells' names in order.
pub fn coverage<'a>(header: &Header, events: impl IntoIterator<Item = &'a Event>) -> Vec<(String, u64)> {
    let mut watch = Watch::new(header);
    events.into_iter().for_each(|event| watch.see(event));
    watch.finish().into_iter().collect()
}

/// Reads a history event by event.
pub struct Watch {
    story: Story,
    reached: Reached,
}

impl Watch {
    /// A watch over a history with this header.
    pub fn new(header: &Header) -> Self {
        Self { story: Story::new(header), reached: Reached::new() }
    }

    /// Reads the next event.
    pub fn see(&mut self, event: &Event) {
        let story = &self.story;
        let mut reached: Vec<_> =
            MOMENTS.iter().filter(|it| it.when.holds(story, event)).map(|it| cell_of(it.name)).collect();
        if let What::Fault(fault) = &event.what
            && fault.active
        {
            reached.extend(cells::struck(story, event.at, fault));
        }
        reached.into_iter().for_each(|cell| *self.reached.entry(cell).or_default() += 1);
        self.story.apply(event);
    }

    /// What was reached.
    pub fn finish(self) -> Reached {
        self.reached
    }
}
