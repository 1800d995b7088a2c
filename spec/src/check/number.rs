//! Numbers in place of names: each job, queue, user, entity and processor is named by text in a history, and by a small
//! number in here. The text is compared once per event; from then on numbers are, and findings ask for the text again.
//!
//! Numbers follow the order in which names come up, so they are the same for the same history.

use hashbrown::HashTable;

use super::print::Print;

/// A small number that stands for a name.
pub(super) trait Number: Copy + Default {
    fn of(index: usize) -> Self;
    fn index(self) -> usize;
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub(super) struct $name(u32);

            impl Number for $name {
                fn of(index: usize) -> Self {
                    Self(u32::try_from(index).expect("a history names fewer than four billion things"))
                }

                fn index(self) -> usize {
                    self.0 as usize
                }
            }

            /// The number of none.
            impl Default for $name {
                fn default() -> Self {
                    Self(u32::MAX)
                }
            }
        )*
    };
}

numbers! {
    /// A job.
    Job,
    /// A queue. Those with a policy come first, in the order of their names.
    Queue,
    /// A user.
    User,
    /// An entity's key, whatever the queue.
    Key,
    /// A processor.
    Processor,
}

/// The names of one kind, each kept once, one behind the other in one text.
#[derive(Debug)]
pub(super) struct Names<N> {
    text: String,
    /// Where each name ends; it begins where the one before ends.
    ends: Vec<usize>,
    /// The numbers, found by their names' fingerprints, which stand beside them.
    numbers: HashTable<(u32, N)>,
    /// Those that came up last, each at the place that its fingerprint gives: most names come up again soon.
    recent: Vec<N>,
}

/// How many names are remembered as having come up last.
const RECENT: usize = 1 << 13;

impl<N: Number> Names<N> {
    /// The number of `name`, a new one if it has not come up before.
    pub(super) fn number(&mut self, name: &str) -> N {
        let print = Print::of(name).short();
        let place = print as usize % RECENT;
        let recent = self.recent.get(place).copied().filter(|number| number.index() < self.ends.len());
        if let Some(known) = recent.filter(|number| self.text(*number) == name) {
            return known;
        }
        let number = self.look_up(print, name).unwrap_or_else(|| self.add(print, name));
        self.recent.resize(RECENT, N::default());
        self.recent[place] = number;
        number
    }

    fn look_up(&self, print: u32, name: &str) -> Option<N> {
        let is_it = |(other, number): &(u32, N)| *other == print && self.text(*number) == name;
        self.numbers.find(spread(print), is_it).map(|(_, number)| *number)
    }

    fn add(&mut self, print: u32, name: &str) -> N {
        let number = N::of(self.ends.len());
        self.text.push_str(name);
        self.ends.push(self.text.len());
        self.numbers.insert_unique(spread(print), (print, number), |(print, _)| spread(*print));
        number
    }

    /// The name of `number`.
    pub(super) fn text(&self, number: N) -> &str {
        let begin = number.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin..self.ends[number.index()]]
    }

    /// `numbers` in the order of their names.
    pub(super) fn in_order(&self, mut numbers: Vec<N>) -> Vec<N> {
        numbers.sort_unstable_by(|a, b| self.text(*a).cmp(self.text(*b)));
        numbers
    }
}

/// A short fingerprint in the length that the table asks for; it goes by both ends.
fn spread(print: u32) -> u64 {
    u64::from(print) << 32 | u64::from(print)
}

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self { text: String::new(), ends: Vec::new(), numbers: HashTable::new(), recent: Vec::new() }
    }
}

/// Something for each of many numbers, kept side by side: for what is remembered of nearly every one.
#[derive(Debug)]
pub(super) struct PerNumber<T>(Vec<T>);

impl<T: Default> PerNumber<T> {
    pub(super) fn get(&self, number: impl Number) -> Option<&T> {
        self.0.get(number.index())
    }

    pub(super) fn get_mut(&mut self, number: impl Number) -> Option<&mut T> {
        self.0.get_mut(number.index())
    }

    /// What is kept for `number`, a default if nothing was.
    pub(super) fn at(&mut self, number: impl Number) -> &mut T {
        if self.0.len() <= number.index() {
            self.0.resize_with(number.index() + 1, T::default);
        }
        &mut self.0[number.index()]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// All that is kept, in the order of the numbers.
    pub(super) fn iter<N: Number>(&self) -> impl Iterator<Item = (N, &T)> {
        self.0.iter().enumerate().map(|(index, kept)| (N::of(index), kept))
    }
}

impl<T> Default for PerNumber<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number_and_a_number_its_name() {
        let mut names = Names::<Job>::default();
        let numbers: Vec<Job> = (0..1_000).map(|n| names.number(&format!("job-{n}"))).collect();
        assert_eq!(names.number("job-7"), numbers[7]);
        assert_eq!(names.text(numbers[999]), "job-999");
        assert_eq!(names.number(""), names.number(""));
        assert_eq!(names.in_order(vec![numbers[9], numbers[10]]), [numbers[10], numbers[9]]);
    }
}
