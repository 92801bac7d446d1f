//! Rates and the time line: differences of counters, and the last minutes.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use pagekeeper::monitor::{Counters, ProcessSummary, Snapshot};

/// Moments that the time line keeps.
const MOMENTS: usize = 600;

/// What happens in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) soft_faults: f64,
    pub(super) hard_faults: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

impl Rates {
    /// Between two looks. Counters that went backwards belong to another process, or to another teller.
    fn between(before: &Counters, after: &Counters, seconds: f64) -> Self {
        let rate =
            |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds.max(1e-3);
        Self {
            soft_faults: rate(before.soft_faults, after.soft_faults),
            hard_faults: rate(before.hard_faults, after.hard_faults),
            bytes_in: rate(before.bytes_in, after.bytes_in),
            bytes_out: rate(before.bytes_out, after.bytes_out),
        }
    }
}

/// The counters of the last look at each process.
#[derive(Debug, Default)]
pub(super) struct RateBook {
    last: HashMap<u32, (Instant, Counters)>,
}

impl RateBook {
    /// Rates since the last look; zero at the first.
    pub(super) fn rates(&mut self, pid: u32, counters: &Counters, now: Instant) -> Rates {
        let before = self.last.insert(pid, (now, counters.clone()));
        before.map_or(Rates::default(), |(at, before)| {
            Rates::between(&before, counters, now.duration_since(at).as_secs_f64())
        })
    }

    /// Forgets processes that are not listed any more.
    pub(super) fn keep(&mut self, listed: &[ProcessSummary]) {
        self.last.retain(|pid, _| {
            listed
                .binary_search_by_key(pid, |process| process.pid)
                .is_ok()
        });
    }
}

/// One moment of the time line, in bytes: the places of [`super::palette::PLACES`], and the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub(super) places: [u64; 5],
    pub(super) budget: u64,
}

impl Moment {
    /// Of a process that uses Pagekeeper what its engines keep, which the budget is for; of others all of it. Compressed pages count
    /// with the RAM that they take.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let totals = &snapshot.totals;
        let managed = snapshot.engines.iter().map(|engine| engine.resident_bytes);
        Self {
            places: [
                match snapshot.engines.is_empty() {
                    true => totals.working_set_bytes,
                    false => managed.sum(),
                },
                totals.modified_bytes,
                totals.standby_bytes,
                totals.pool_bytes,
                totals.page_file_bytes + totals.swapped_bytes,
            ],
            budget: totals.budget_bytes,
        }
    }
}

/// The last minutes of one process.
#[derive(Debug, Default)]
pub(super) struct TimeLine {
    moments: VecDeque<Moment>,
}

impl TimeLine {
    pub(super) fn push(&mut self, moment: Moment) {
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back(moment);
    }

    /// The last `count` moments, the oldest first.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = &Moment> {
        let skip = self.moments.len().saturating_sub(count);
        self.moments.iter().skip(skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_are_differences_over_time() {
        let mut book = RateBook::default();
        let start = Instant::now();
        let counters = |soft_faults, bytes_in| Counters {
            soft_faults,
            bytes_in,
            ..Counters::default()
        };
        assert_eq!(book.rates(7, &counters(100, 5), start), Rates::default());
        let later = start + Duration::from_secs(2);
        let rates = book.rates(7, &counters(300, 4), later);
        assert_eq!((rates.soft_faults, rates.bytes_in), (100.0, 0.0));
        book.keep(&[]);
        assert_eq!(book.rates(7, &counters(9, 9), later), Rates::default());
    }

    #[test]
    fn the_time_line_forgets_the_oldest() {
        let mut line = TimeLine::default();
        for budget in 0..(MOMENTS as u64 + 5) {
            line.push(Moment {
                budget,
                ..Moment::default()
            });
        }
        let last: Vec<u64> = line.last(3).map(|moment| moment.budget).collect();
        assert_eq!(last, [602, 603, 604]);
        assert_eq!(line.last(10_000).count(), MOMENTS);
    }
}
