//! Which queue gives the next delivery: the one whose longest waiting job has the highest effective priority, among
//! those that may give one now. And when the next one may, if none may now.

use kew_spec::queues::{Policy, Queues};

use crate::store::{Outlook, QueueOutlook};

/// A queue that may give deliveries now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) queue: String,
    /// How many deliveries may be taken from it before the choice has to be made anew.
    pub(super) deliveries: u32,
}

/// The queue that gives the next delivery, among `wanted` (all, if empty).
pub(super) fn choose(queues: &Queues, outlook: &Outlook, wanted: &[String], now_ms: u64) -> Option<Offer> {
    let mut ranked: Vec<_> = candidates(queues, outlook, wanted)
        .filter(|(policy, queue)| due_ms(policy, queue, now_ms) == Some(now_ms))
        .map(|(policy, queue)| (rank(policy, queue, now_ms), policy, queue))
        .collect();
    ranked.sort_by_key(|(rank, ..)| std::cmp::Reverse(*rank));
    let (_, policy, best) = ranked.first()?;
    // Whatever waits in the best queue has at least its base level; only above all others may several be taken at once.
    let second = ranked.get(1).map(|(rank, ..)| rank.0);
    let alone = second.is_none_or(|level| level < policy.priority.level_after(0));
    // The rest of several batches may have to wait, and each is large enough to be taken by itself.
    let deliveries = if alone && policy.batch.is_none() { best.ready.max(1) } else { 1 };
    Some(Offer { queue: best.queue.clone(), deliveries })
}

/// When the next of the `wanted` queues may give a delivery that may not now; going by what the store holds now.
pub(super) fn next_due_ms(queues: &Queues, outlook: &Outlook, wanted: &[String], now_ms: u64) -> Option<u64> {
    candidates(queues, outlook, wanted)
        .flat_map(|(policy, queue)| [due_ms(policy, queue, now_ms), queue.next_ready_ms])
        .flatten()
        .filter(|&due| now_ms < due)
        .min()
}

fn candidates<'a>(
    queues: &'a Queues,
    outlook: &'a Outlook,
    wanted: &'a [String],
) -> impl Iterator<Item = (&'a Policy, &'a QueueOutlook)> {
    let asked = |queue: &&QueueOutlook| wanted.is_empty() || wanted.contains(&queue.queue);
    let known = |queue: &'a QueueOutlook| queues.get(&queue.queue).map(|policy| (policy, queue));
    outlook.queues.iter().filter(asked).filter(|queue| !queue.paused).filter_map(known)
}

/// Higher effective priority first, then who has waited longer.
fn rank(policy: &Policy, queue: &QueueOutlook, now_ms: u64) -> (u64, std::cmp::Reverse<u64>) {
    let oldest_ms = queue.oldest_ready_ms.unwrap_or(now_ms);
    (policy.priority.level_after(now_ms.saturating_sub(oldest_ms)), std::cmp::Reverse(oldest_ms))
}

/// When `queue` may give a delivery of what is ready: `now_ms` if it may now, later if its batch still waits to fill or
/// its rate limit is used up; `None` if nothing is ready.
fn due_ms(policy: &Policy, queue: &QueueOutlook, now_ms: u64) -> Option<u64> {
    let oldest_ms = queue.oldest_ready_ms?;
    let filled_ms = match &policy.batch {
        Some(batch) if queue.ready < batch.size && !queue.head_keeps_batch => oldest_ms + batch.wait_ms.unwrap_or(0),
        _ => oldest_ms,
    };
    Some(filled_ms.max(rate_due_ms(policy, queue)).max(now_ms))
}

/// When the rate limit leaves room for the next delivery: all of a batch that is tried again as a whole, if the limit ever
/// has room for that.
fn rate_due_ms(policy: &Policy, queue: &QueueOutlook) -> u64 {
    let Some(limit) = &policy.rate_limit else { return 0 };
    let after = queue.recent_claims_ms.len() + queue.head_jobs.clamp(1, limit.starts) as usize;
    match after.checked_sub(limit.starts as usize + 1) {
        Some(last_to_leave) => queue.recent_claims_ms[last_to_leave] + limit.per_ms,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(queue: &str, oldest_ready_ms: u64, ready: u32) -> QueueOutlook {
        QueueOutlook {
            queue: queue.into(),
            paused: false,
            oldest_ready_ms: Some(oldest_ready_ms),
            ready,
            head_keeps_batch: false,
            head_jobs: 1,
            next_ready_ms: None,
            recent_claims_ms: Vec::new(),
        }
    }

    fn chosen(queues: Vec<QueueOutlook>, now_ms: u64) -> Option<String> {
        let outlook = Outlook { queues, ..Outlook::default() };
        choose(&Queues::default(), &outlook, &[], now_ms).map(|offer| offer.queue)
    }

    #[test]
    fn the_higher_priority_goes_first_until_the_lower_has_aged() {
        let sync = || waiting("data_sync", 0, 1);
        assert_eq!(
            chosen(vec![sync(), waiting("pdf_generation", 10_000, 1)], 10_000).as_deref(),
            Some("pdf_generation")
        );
        assert_eq!(
            chosen(vec![sync(), waiting("pdf_generation", 59_999, 1)], 59_999).as_deref(),
            Some("pdf_generation")
        );
        // After 60 s the low one has risen two levels: equal, and it has waited longer.
        assert_eq!(chosen(vec![sync(), waiting("pdf_generation", 60_000, 1)], 60_000).as_deref(), Some("data_sync"));
    }

    #[test]
    fn several_are_taken_at_once_only_from_a_queue_that_is_above_all_others() {
        let deliveries = |queues: Vec<QueueOutlook>, now_ms| {
            let outlook = Outlook { queues, ..Outlook::default() };
            choose(&Queues::default(), &outlook, &[], now_ms).map(|offer| (offer.queue, offer.deliveries))
        };
        let pdf = |n| Some(("pdf_generation".to_owned(), n));
        let of = |now_ms: u64| vec![waiting("data_sync", 0, 9), waiting("pdf_generation", now_ms - 1, 5)];
        assert_eq!(deliveries(of(59_999), 59_999), pdf(5), "the other is at level 2 still, this one's least is 3");
        let aged = vec![waiting("data_sync", 0, 9), waiting("pdf_generation", 30_000, 5)];
        assert_eq!(deliveries(aged, 60_000), pdf(1), "the other is at level 3 by now, as this one's newest may be");
        let mails = vec![waiting("email_notification", 0, 250)];
        assert_eq!(
            deliveries(mails, 1),
            Some(("email_notification".to_owned(), 1)),
            "the third batch would not be full"
        );
    }

    #[test]
    fn what_may_be_given_now_does_not_fall_due_later() {
        let outlook = |ready_ms| Outlook { queues: vec![waiting("pdf_generation", ready_ms, 1)], ..Outlook::default() };
        assert_eq!(next_due_ms(&Queues::default(), &outlook(10), &[], 10), None);
        let later = QueueOutlook { next_ready_ms: Some(12), ..waiting("pdf_generation", 10, 1) };
        let outlook = Outlook { queues: vec![later], ..Outlook::default() };
        assert_eq!(next_due_ms(&Queues::default(), &outlook, &[], 10), Some(12));
    }

    #[test]
    fn a_batch_waits_until_it_is_full_or_its_oldest_has_waited_long_enough() {
        assert_eq!(chosen(vec![waiting("email_notification", 0, 99)], 4_999), None);
        assert_eq!(chosen(vec![waiting("email_notification", 0, 100)], 1).as_deref(), Some("email_notification"));
        assert_eq!(chosen(vec![waiting("email_notification", 0, 1)], 5_000).as_deref(), Some("email_notification"));
        let outlook = Outlook { queues: vec![waiting("email_notification", 0, 99)], ..Outlook::default() };
        assert_eq!(next_due_ms(&Queues::default(), &outlook, &[], 10), Some(5_000));
    }

    #[test]
    fn a_batch_that_is_tried_again_waits_for_room_for_all_of_it() {
        let due_ms = |head_jobs| {
            let recent_claims_ms = (101..=105).collect();
            let queue = QueueOutlook {
                head_keeps_batch: true,
                head_jobs,
                recent_claims_ms,
                ..waiting("ai_enhancement", 0, 20)
            };
            let outlook = Outlook { queues: vec![queue], ..Outlook::default() };
            next_due_ms(&Queues::default(), &outlook, &[], 200)
        };
        assert_eq!(due_ms(5), None, "it may go out now");
        assert_eq!(due_ms(6), Some(1_101));
        assert_eq!(due_ms(10), Some(1_105));
        assert_eq!(due_ms(20), Some(1_105), "there is never room for more than ten");
    }

    #[test]
    fn a_used_up_rate_limit_gives_nothing_until_its_oldest_start_leaves_the_window() {
        let mut queue = waiting("ai_enhancement", 0, 5);
        queue.recent_claims_ms = (100..110).collect();
        let outlook = Outlook { queues: vec![queue], ..Outlook::default() };
        assert_eq!(choose(&Queues::default(), &outlook, &[], 1_099), None);
        assert_eq!(next_due_ms(&Queues::default(), &outlook, &[], 200), Some(1_100));
        assert!(choose(&Queues::default(), &outlook, &[], 1_100).is_some());
    }
}
