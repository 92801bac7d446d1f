//! What differs between two snapshots, of one process or of two.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment};
use pagekeeper::monitor::{Region, RegionKind, Snapshot};
use serde::Serialize;

use crate::failure::Failure;
use crate::picture::PAGE;
use crate::terminal::{self, count, size};

/// Regions that the text lists.
const MOST_LINES: usize = 40;

/// Raised when a field goes away or changes its meaning.
const VERSION: u32 = 1;

/// The whole comparison.
#[derive(Debug, PartialEq, Serialize)]
struct Comparison {
    format: &'static str,
    version: u32,
    before: Moment,
    after: Moment,
    kinds: Vec<Kind>,
    regions: Vec<Difference>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Moment {
    pid: u32,
    name: String,
    taken_at_ms: u64,
}

/// Sums of one kind, before and after, in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Kind {
    kind: RegionKind,
    regions: [u64; 2],
    reserved_bytes: [u64; 2],
    committed_bytes: [u64; 2],
    resident_bytes: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    New,
    Gone,
    Differs,
}

/// A region that is new, gone or different; changes in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    base: u64,
    what: What,
    kind: RegionKind,
    name: String,
    size_change: i64,
    committed_change: i64,
    resident_change: i64,
}

impl Difference {
    /// How much it matters.
    fn weight(&self) -> u64 {
        self.committed_change.unsigned_abs() + self.resident_change.unsigned_abs()
    }
}

/// Compares.
fn compare(before: &Snapshot, after: &Snapshot) -> Comparison {
    let moment = |snapshot: &Snapshot| Moment {
        pid: snapshot.pid,
        name: snapshot.name.clone(),
        taken_at_ms: snapshot.taken_at_ms,
    };
    let kinds = RegionKind::ALL.map(|kind| {
        let two = [before, after];
        let regions = two.map(|snapshot| {
            let of_kind = |region: &&Region| region.kind == kind;
            snapshot.regions.iter().filter(of_kind).count() as u64
        });
        let sums = two.map(|snapshot| snapshot.sum_of(kind));
        Kind {
            kind,
            regions,
            reserved_bytes: [sums[0].0, sums[1].0],
            committed_bytes: [sums[0].1, sums[1].1],
            resident_bytes: [sums[0].2.resident * PAGE, sums[1].2.resident * PAGE],
        }
    });
    Comparison {
        format: "pagekeeper-comparison",
        version: VERSION,
        before: moment(before),
        after: moment(after),
        kinds: kinds
            .into_iter()
            .filter(|kind| kind.regions != [0, 0])
            .collect(),
        regions: differences(before, after),
    }
}

/// Regions that differ, the ones that matter most first.
fn differences(before: &Snapshot, after: &Snapshot) -> Vec<Difference> {
    let mut pairs: BTreeMap<u64, [Option<&Region>; 2]> = BTreeMap::new();
    for (side, snapshot) in [before, after].into_iter().enumerate() {
        for region in &snapshot.regions {
            pairs.entry(region.base).or_default()[side] = Some(region);
        }
    }
    let mut found: Vec<Difference> = pairs
        .into_iter()
        .filter_map(|(base, [was, is])| {
            let what = match (was, is) {
                (Some(was), Some(is)) if was == is => return None,
                (Some(_), Some(_)) => What::Differs,
                (None, _) => What::New,
                (_, None) => What::Gone,
            };
            let shown = is.or(was)?;
            let change = |figure: fn(&Region) -> u64| {
                is.map_or(0, figure).cast_signed() - was.map_or(0, figure).cast_signed()
            };
            Some(Difference {
                base,
                what,
                kind: shown.kind,
                name: shown.name.clone(),
                size_change: change(|region| region.size_bytes),
                committed_change: change(|region| region.committed_bytes),
                resident_change: change(|region| region.pages.resident * PAGE),
            })
        })
        .collect();
    found.sort_by_key(|difference| std::cmp::Reverse(difference.weight()));
    found
}

/// For scripts.
pub(super) fn json(before: &Snapshot, after: &Snapshot) -> Result<String, Failure> {
    serde_json::to_string_pretty(&compare(before, after))
        .map(|text| text + "\n")
        .map_err(|error| Failure::Broken(format!("cannot write JSON: {error}")))
}

fn signed(change: i64) -> String {
    match change {
        0 => "=".to_owned(),
        1.. => format!("+{}", size(change.unsigned_abs())),
        _ => format!("-{}", size(change.unsigned_abs())),
    }
}

/// For people.
pub(super) fn text(before: &Snapshot, after: &Snapshot, names: [&str; 2]) -> String {
    let comparison = compare(before, after);
    let mut text = String::new();
    for (name, moment) in names.iter().zip([&comparison.before, &comparison.after]) {
        let process = terminal::clean(&moment.name);
        let _ = writeln!(text, "{name}: {process}, process {}", moment.pid);
    }
    text.push_str(&terminal::trimmed(&kinds_table(&comparison.kinds)));
    if comparison.regions.is_empty() {
        text.push_str("no region differs\n");
        return text;
    }
    let _ = writeln!(
        text,
        "\n{:<14}  {:<7} {:>11} {:>11} {:>11}  {:<10} name",
        "address", "", "size", "committed", "resident", "kind"
    );
    for difference in comparison.regions.iter().take(MOST_LINES) {
        let what = match difference.what {
            What::New => "new",
            What::Gone => "gone",
            What::Differs => "differs",
        };
        let clean = terminal::clean(&difference.name);
        let line = format!(
            "{:<14}  {what:<7} {:>11} {:>11} {:>11}  {:<10} {clean}",
            format!("{:#x}", difference.base),
            signed(difference.size_change),
            signed(difference.committed_change),
            signed(difference.resident_change),
            difference.kind.name(),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if comparison.regions.len() > MOST_LINES {
        let more = count((comparison.regions.len() - MOST_LINES) as u64);
        let _ = writeln!(
            text,
            "{more} more regions differ less: -o FILE.json lists them"
        );
    }
    text
}

fn kinds_table(kinds: &[Kind]) -> String {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut table = terminal::table();
    table.set_header([
        "kind",
        "regions",
        "reserved",
        "",
        "committed",
        "",
        "resident",
        "",
    ]);
    for kind in kinds {
        let mut cells = vec![
            Cell::new(kind.kind.name()),
            right(format!(
                "{} → {}",
                count(kind.regions[0]),
                count(kind.regions[1])
            )),
        ];
        for [was, is] in [
            kind.reserved_bytes,
            kind.committed_bytes,
            kind.resident_bytes,
        ] {
            cells.push(right(size(is)));
            cells.push(right(signed(is.cast_signed() - was.cast_signed())));
        }
        table.add_row(cells);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(list: &[(u64, u64)]) -> Snapshot {
        let region = |&(base, committed_bytes)| Region {
            base,
            size_bytes: 0x10_0000,
            committed_bytes,
            kind: RegionKind::Heap,
            ..Region::default()
        };
        Snapshot {
            regions: list.iter().map(region).collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn new_gone_and_different_regions_are_told_the_largest_first() {
        let before = snapshot(&[(0x1000, 0x1000), (0x20_0000, 0x2000), (0x40_0000, 0x3000)]);
        let after = snapshot(&[(0x1000, 0x1000), (0x20_0000, 0x9000), (0x60_0000, 0x5000)]);
        let told: Vec<(u64, What, i64)> = compare(&before, &after)
            .regions
            .iter()
            .map(|one| (one.base, one.what, one.committed_change))
            .collect();
        assert_eq!(
            told,
            [
                (0x20_0000, What::Differs, 0x7000),
                (0x60_0000, What::New, 0x5000),
                (0x40_0000, What::Gone, -0x3000)
            ]
        );
        let text = text(&before, &after, ["a.json", "b.json"]);
        assert!(text.contains("+28.0 KiB") && text.contains("gone") && text.contains("a.json"));
    }

    #[test]
    fn the_same_twice_differs_in_nothing() {
        let same = snapshot(&[(0x1000, 0x1000)]);
        assert!(compare(&same, &same).regions.is_empty());
        assert!(text(&same, &same, ["a", "b"]).ends_with("no region differs\n"));
    }
}
