//! How much of the file part may be in memory: low, high, target, slack.

use super::book::Book;

/// The largest slack, in pages (32 MiB).
const SLACK_MAX: u64 = 8192;
/// The least that the file part is left with, in pages: less, and nothing moves.
const TARGET_MIN: u64 = 256;
/// The largest trim, in pages (32 MiB).
const BATCH_MAX: u64 = 8192;

/// What the file part may hold, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Levels {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) target: u64,
    pub(super) slack: u64,
    /// Pages that a trim takes in one go.
    pub(super) batch: u64,
}

impl Levels {
    /// What `book`'s budget leaves for the file part: all but the anonymous commits and the kernel's tables of
    /// file pieces (a page for each), and the `reserve` for delays, which takes half of it at most.
    pub(super) fn of(book: &Book, reserve: u64) -> Self {
        let account = &book.account;
        let tables = book.file_pieces.min(account.ram / 4);
        let target = account
            .ram
            .saturating_sub(account.anonymous_committed + tables);
        let slack = account.ram.min(SLACK_MAX);
        // Some of the slack is spent before it is needed: between two looks faults go on.
        let target = target.saturating_sub(slack / 8).max(TARGET_MIN);
        let target = (target - reserve.min(target / 2)).max(TARGET_MIN);
        let batch = (target / 16).clamp(32, BATCH_MAX);
        Self {
            low: target - batch * 2,
            high: target - batch,
            target,
            slack,
            batch,
        }
    }

    /// Where pages are written ahead of being dropped.
    pub(super) fn early(&self) -> u64 {
        self.target - self.target / 4
    }
}
