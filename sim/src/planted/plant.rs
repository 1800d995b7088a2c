//! One constructor per seam, so that a bug reads as one statement: `store("name", "clause", "What it does.", |store| …)`.

use std::sync::Arc;

use kew_runtime::broker::Queue;
use kew_runtime::clock::Clock;
use kew_runtime::processor::Handler;
use kew_runtime::store::{Reader, Store};
use kew_spec::queues::Policy;

use super::{Bug, Plant};
use crate::disk::Faults;

macro_rules! seams {
    ($($(#[$doc:meta])* $seam:ident $plant:ident $part:ty;)*) => {
        $($(#[$doc])*
        pub(super) const fn $seam(
            name: &'static str,
            clause: &'static str,
            about: &'static str,
            plant: $part,
        ) -> Bug {
            Bug { name, clause, about, plant: Plant::$plant(plant) }
        })*
    };
}

seams! {
    /// The broker goes by other policies than were agreed.
    policy Policies fn(&mut Policy);
    /// The queue decides otherwise, and says so.
    decision Decision fn(Box<dyn Store>) -> Box<dyn Store>;
    /// The store does otherwise than it says.
    store Store fn(Box<dyn Store>) -> Box<dyn Store>;
    /// What the broker reads is not what the store holds.
    reader Reader fn(Box<dyn Reader>) -> Box<dyn Reader>;
    /// Between the api and the broker.
    api Api fn(Arc<dyn Queue>) -> Arc<dyn Queue>;
    /// Between a processor and the broker.
    processor Processor fn(Arc<dyn Queue>) -> Arc<dyn Queue>;
    /// Between the notifier and the broker.
    notifier Notifier fn(Arc<dyn Queue>) -> Arc<dyn Queue>;
    /// Between a processor and its handlers.
    handler Handler fn(Arc<dyn Handler>) -> Arc<dyn Handler>;
    /// The broker's clock.
    clock Clock fn(Arc<dyn Clock>) -> Arc<dyn Clock>;
    /// The broker's disk.
    disk Disk Faults;
}
