//! What happened between two looks at a process, in words.

use std::collections::BTreeMap;

use pagekeeper::monitor::{Region, RegionKind, Snapshot};
use serde::Serialize;

use crate::terminal::{count, size};

/// Changes of less are everyday.
const NOTABLE: u64 = 16 << 20;
/// Of smaller allocations only their number is told, unless Pagekeeper manages them.
const SMALL_ALLOCATION: u64 = 1 << 20;
/// Reservations and releases that one look tells of; the rest is a number.
const MOST_ALLOCATIONS: usize = 8;
/// Parts of a hundred of the commit limit from which on it is nearly reached.
const NEARLY: u64 = 90;

/// One line of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) level: Level,
    pub(super) text: String,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Info,
    Warning,
}

/// Lines for what `after` has otherwise than `before`.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<Event> {
    let mut log = Log {
        at_ms: after.taken_at_ms,
        events: Vec::new(),
    };
    allocations(&mut log, before, after);
    sizes(&mut log, before, after);
    trouble(&mut log, before, after);
    log.events
}

/// One line that is not about a difference.
pub(super) fn line(at_ms: u64, level: Level, text: String) -> Event {
    Event { at_ms, level, text }
}

struct Log {
    at_ms: u64,
    events: Vec<Event>,
}

impl Log {
    fn info(&mut self, text: String) {
        self.events.push(line(self.at_ms, Level::Info, text));
    }

    fn warn(&mut self, text: String) {
        self.events.push(line(self.at_ms, Level::Warning, text));
    }
}

/// Allocations by their first addresses: what they are, and their size.
fn by_allocation(regions: &[Region]) -> BTreeMap<u64, (&Region, u64)> {
    let mut found = BTreeMap::new();
    for region in regions {
        let (_, bytes) = found.entry(region.allocation_base).or_insert((region, 0));
        *bytes += region.size_bytes;
    }
    found
}

fn allocations(log: &mut Log, before: &Snapshot, after: &Snapshot) {
    let (old, new) = (
        by_allocation(&before.regions),
        by_allocation(&after.regions),
    );
    let told = |region: &Region, bytes: u64| {
        let name = if region.name.is_empty() { "" } else { " " };
        format!(
            "{} at {:#x}, {}{name}{}",
            size(bytes),
            region.allocation_base,
            region.kind.name(),
            region.name
        )
    };
    let (mut lines, mut more): (Vec<(u64, String)>, usize) = (Vec::new(), 0);
    for (what, these, others) in [("reserved", &new, &old), ("released", &old, &new)] {
        for (base, &(region, bytes)) in these {
            if others.contains_key(base) {
                continue;
            }
            let managed = matches!(region.kind, RegionKind::Managed | RegionKind::Section);
            if managed || bytes >= SMALL_ALLOCATION {
                lines.push((bytes, format!("{what} {}", told(region, bytes))));
            } else {
                more += 1;
            }
        }
    }
    lines.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    more += lines.len().saturating_sub(MOST_ALLOCATIONS);
    for (_, text) in lines.into_iter().take(MOST_ALLOCATIONS) {
        log.info(text);
    }
    if more > 0 {
        let (more, be) = (count(more as u64), if more == 1 { "was" } else { "were" });
        log.info(format!("{more} of less size {be} reserved or released"));
    }
}

/// Whether a size moved far enough to be told: 16 MiB and a tenth.
fn notable(was: u64, is: u64) -> bool {
    was.abs_diff(is) >= NOTABLE.max(was / 10)
}

fn sizes(log: &mut Log, before: &Snapshot, after: &Snapshot) {
    let (was, is) = (&before.totals, &after.totals);
    for (name, was, is) in [
        ("committed", was.committed_bytes, is.committed_bytes),
        ("working set", was.working_set_bytes, is.working_set_bytes),
        ("page file use", was.page_file_bytes, is.page_file_bytes),
        ("swapped", was.swapped_bytes, is.swapped_bytes),
    ] {
        if notable(was, is) {
            let sign = if is > was { '+' } else { '−' };
            log.info(format!(
                "{name} {} → {} ({sign}{})",
                size(was),
                size(is),
                size(was.abs_diff(is))
            ));
        }
    }
    for (name, was, is) in [
        ("RAM budget", was.budget_bytes, is.budget_bytes),
        (
            "commit limit",
            was.commit_limit_bytes,
            is.commit_limit_bytes,
        ),
        (
            "page file on disk",
            was.page_file_allocated_bytes,
            is.page_file_allocated_bytes,
        ),
    ] {
        if was != is {
            log.info(format!("{name} {} → {}", size(was), size(is)));
        }
    }
}

fn trouble(log: &mut Log, before: &Snapshot, after: &Snapshot) {
    let (was, is) = (&before.counters, &after.counters);
    let lost = is.lost.saturating_sub(was.lost);
    if lost > 0 {
        log.warn(format!("{} pages could not be read back", count(lost)));
    }
    let refused = is.refused.saturating_sub(was.refused);
    if refused > 0 {
        log.warn(format!(
            "{} faults failed: nothing could leave RAM to make room",
            count(refused)
        ));
    }
    let nearly = |snapshot: &Snapshot| {
        let totals = &snapshot.totals;
        totals.commit_limit_bytes > 0
            && totals.commit_charge_bytes >= totals.commit_limit_bytes / 100 * NEARLY
    };
    if nearly(after) && !nearly(before) {
        log.warn(format!(
            "{} of {} that can be committed are: the limit is near",
            size(after.totals.commit_charge_bytes),
            size(after.totals.commit_limit_bytes)
        ));
    }
    // Notes with figures in them differ in every look: only the first words tell whether one is new.
    let begin = |note: &str| {
        note.split(|c: char| c.is_ascii_digit())
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    for note in &after.notes {
        if !before.notes.iter().any(|old| begin(old) == begin(note)) {
            log.warn(note.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(allocations: &[(u64, u64)]) -> Snapshot {
        let region = |&(base, size_bytes)| Region {
            base,
            size_bytes,
            allocation_base: base,
            ..Region::default()
        };
        Snapshot {
            taken_at_ms: 5,
            regions: allocations.iter().map(region).collect(),
            ..Snapshot::default()
        }
    }

    fn texts(before: &Snapshot, after: &Snapshot) -> Vec<String> {
        between(before, after)
            .into_iter()
            .map(|event| event.text)
            .collect()
    }

    #[test]
    fn reservations_and_releases_are_told() {
        let before = snapshot(&[
            (0x1_0000, 0x1000),
            (0x10_0000, 0x20_0000),
            (0x80_0000, 0x1000),
        ]);
        let after = snapshot(&[(0x1_0000, 0x1000), (0x20_0000, 1 << 40)]);
        assert_eq!(
            texts(&before, &after),
            [
                "reserved 1.00 TiB at 0x200000, private",
                "released 2.00 MiB at 0x100000, private",
                "1 of less size was reserved or released"
            ]
        );
        assert!(texts(&after, &after).is_empty());
        let many: Vec<(u64, u64)> = (1..100).map(|i| (i << 30, 1 << 20)).collect();
        let told = texts(&snapshot(&[]), &snapshot(&many));
        assert_eq!(told.len(), MOST_ALLOCATIONS + 1);
        assert!(told[MOST_ALLOCATIONS].starts_with("91 of less"));
    }

    #[test]
    fn small_changes_are_everyday_and_trouble_is_told_once() {
        let mut before = snapshot(&[]);
        before.totals.working_set_bytes = 100 << 20;
        let mut after = before.clone();
        after.totals.working_set_bytes = 110 << 20;
        assert!(texts(&before, &after).is_empty());
        after.totals.working_set_bytes = 20 << 20;
        after.counters.lost = 2;
        after.totals.commit_limit_bytes = 1 << 30;
        after.totals.commit_charge_bytes = 1 << 30;
        after.notes.push("regions are 3 s old".to_owned());
        let events = between(&before, &after);
        assert!(
            events
                .iter()
                .any(|event| event.text == "working set 100 MiB → 20.0 MiB (−80.0 MiB)")
        );
        let warnings = events.iter().filter(|event| event.level == Level::Warning);
        assert_eq!(warnings.count(), 3);
        let mut later = after.clone();
        later.notes = vec!["regions are 4 s old".to_owned()];
        assert!(texts(&after, &later).is_empty());
    }
}
