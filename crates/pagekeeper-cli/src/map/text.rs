//! The map for a terminal: totals by kind, then allocations from the lowest address up.

use std::fmt::Write as _;

use pagekeeper::monitor::{
    Region, RegionKind, RegionUse, Snapshot, Source, Whereabouts, protection_name,
};

use crate::picture::PAGE;
use crate::terminal::{clean, count, size};

/// Lines of the list on a terminal; a file gets all.
const MOST_LINES: usize = 60;
/// Cells of a bar.
const BAR: usize = 16;

/// The map as text. `short` leaves out the allocations that matter least.
pub(super) fn map(snapshot: &Snapshot, short: bool) -> String {
    let mut text = heading(snapshot);
    text.push_str(&totals(snapshot));
    text.push_str(&allocations(snapshot, short));
    for note in &snapshot.notes {
        let _ = writeln!(text, "note: {}", clean(note));
    }
    text
}

fn heading(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let mut text = format!("{}, process {}", clean(&snapshot.name), snapshot.pid);
    let told = match snapshot.source {
        Source::Pagekeeper => "told by the process itself",
        Source::Proc => "told by the kernel",
    };
    let _ = writeln!(text, ", {told}");
    let _ = writeln!(
        text,
        "{} reserved, {} committed, {} in the working set",
        size(totals.reserved_bytes),
        size(totals.committed_bytes),
        size(totals.working_set_bytes)
    );
    if totals.budget_bytes > 0 {
        let _ = writeln!(
            text,
            "RAM budget {}; {} modified, {} standby, {} compressed into {}, {} in the page file",
            size(totals.budget_bytes),
            size(totals.modified_bytes),
            size(totals.standby_bytes),
            size(totals.compressed_bytes),
            size(totals.pool_bytes),
            size(totals.page_file_bytes)
        );
    }
    text
}

fn dash(bytes: u64) -> String {
    if bytes == 0 {
        "-".to_owned()
    } else {
        size(bytes)
    }
}

/// A column of the totals: its name, and its bytes.
type Column = (&'static str, fn(&Whereabouts) -> u64);

/// What else the totals have, where there is any: the two lists in RAM are one column, so that all fits 80 characters.
const COLUMNS: [Column; 5] = [
    ("lists", |pages| pages.modified + pages.standby),
    ("compressed", |pages| pages.compressed),
    ("page file", |pages| pages.page_file),
    ("swapped", |pages| pages.swapped),
    ("lost", |pages| pages.lost),
];

/// Kinds against places, and their sum.
fn totals(snapshot: &Snapshot) -> String {
    let mut all = Whereabouts::default();
    for region in &snapshot.regions {
        all.add(&region.pages);
    }
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| column.1(&all) > 0).collect();
    let mut text = format!(
        "\n{:<10} {:>7} {:>8} {:>9} {:>8}",
        "kind", "regions", "reserved", "committed", "resident"
    );
    for (name, _) in &columns {
        let _ = write!(text, " {name:>10}");
    }
    text.push('\n');
    let mut row = |name: &str, regions: u64, reserved: u64, committed: u64, pages: &Whereabouts| {
        let _ = write!(
            text,
            "{name:<10} {:>7} {:>8} {:>9} {:>8}",
            count(regions),
            dash(reserved),
            dash(committed),
            dash(pages.resident * PAGE)
        );
        for (_, figure) in &columns {
            let _ = write!(text, " {:>10}", dash(figure(pages) * PAGE));
        }
        text.push('\n');
    };
    for kind in RegionKind::ALL {
        let regions = snapshot.regions.iter().filter(|region| region.kind == kind);
        let regions = regions.count() as u64;
        if regions > 0 {
            let (reserved, committed, pages) = snapshot.sum_of(kind);
            row(kind.name(), regions, reserved, committed, &pages);
        }
    }
    let sum = |figure: fn(&Region) -> u64| snapshot.regions.iter().map(figure).sum();
    let reserved = sum(|region| region.size_bytes);
    let committed = sum(|region| region.committed_bytes);
    row(
        "total",
        snapshot.regions.len() as u64,
        reserved,
        committed,
        &all,
    );
    text
}

/// Neighbours of one allocation on one line.
fn allocations(snapshot: &Snapshot, short: bool) -> String {
    let groups: Vec<&[Region]> = snapshot
        .regions
        .chunk_by(|one, next| one.kind == next.kind && one.allocation_base == next.allocation_base)
        .collect();
    // On a terminal the ones with most memory behind them, still by address.
    let weight = |group: &&[Region]| -> u64 {
        let bytes = |region: &Region| {
            region.pages.resident * PAGE + region.committed_bytes / 16 + region.size_bytes / 4096
        };
        group.iter().map(bytes).sum()
    };
    let mut weights: Vec<u64> = groups.iter().map(weight).collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let least = match weights.get(MOST_LINES) {
        Some(&next) if short => next + 1,
        _ => 0,
    };
    let mut text = format!(
        "\n{:<14}  {:>9} {:>9} {:>9}  {:BAR$}  {:<10} {}\n",
        "address", "reserved", "committed", "resident", "", "kind", "what"
    );
    let (mut left_out, mut end) = (0, 0);
    for group in groups {
        let Some(first) = group.first() else { continue };
        if weight(&group) < least {
            left_out += group.len();
            continue;
        }
        if end > 0 && first.base.saturating_sub(end) >= 1 << 30 {
            let _ = writeln!(
                text,
                "{:<14}  {:>9} free or not shown",
                "",
                size(first.base - end)
            );
        }
        end = group.last().map_or(end, Region::end);
        text.push_str(&line(group, first));
    }
    if left_out > 0 {
        let regions = count(left_out as u64);
        let _ = writeln!(
            text,
            "{regions} smaller regions are not shown: -o FILE.txt lists them, -o FILE.html shows them"
        );
    }
    text
}

fn line(group: &[Region], first: &Region) -> String {
    let sum = |figure: fn(&Region) -> u64| -> u64 { group.iter().map(figure).sum() };
    let what = group
        .iter()
        .find(|region| !region.name.is_empty())
        .map_or_else(
            || match (first.usage, group.len()) {
                (RegionUse::Reserved, 1) => "reserved".to_owned(),
                (_, 1) => protection_name(first.protection),
                (_, parts) => format!("{} parts", count(parts as u64)),
            },
            |region| region.name.clone(),
        );
    let engine = match first.engine.as_str() {
        "" => String::new(),
        engine => format!("{engine} "),
    };
    let text = format!(
        "{:<14}  {:>9} {:>9} {:>9}  {}  {:<10} {engine}{what}",
        format!("{:#x}", first.base),
        size(sum(|region| region.size_bytes)),
        dash(sum(|region| region.committed_bytes)),
        dash(sum(|region| region.pages.resident * PAGE)),
        bar(group),
        first.kind.name(),
    );
    // Control characters of a file's name are no commands to the terminal.
    clean(&text).trim_end().to_owned() + "\n"
}

/// How much of each sixteenth is resident, from a dot to a block; blank where it is only reserved.
fn bar(group: &[Region]) -> String {
    let whole: u64 = group
        .iter()
        .map(|region| region.size_bytes)
        .sum::<u64>()
        .max(1);
    let (mut committed, mut resident) = ([0.0; BAR], [0.0; BAR]);
    let mut done = 0;
    for region in group {
        let place = |part: f64| {
            let at = (done as f64 + part * region.size_bytes as f64) / whole as f64;
            ((at * BAR as f64) as usize).min(BAR - 1)
        };
        let cells = region.heat.len().max(1);
        // As many samples as keep a large region from leaving cells of the bar empty.
        let samples = cells.max(BAR * 4);
        for sample in 0..samples {
            let cell = place((sample as f64 + 0.5) / samples as f64);
            let weight = region.size_bytes as f64 / samples as f64;
            committed[cell] +=
                weight * region.committed_bytes as f64 / region.size_bytes.max(1) as f64;
            let heat = region
                .heat
                .get(sample * cells / samples)
                .copied()
                .unwrap_or(0);
            resident[cell] += weight * f64::from(heat) / 255.0;
        }
        done += region.size_bytes;
    }
    let each = whole as f64 / BAR as f64;
    let draw = |cell: usize| match (resident[cell] / each, committed[cell] / each) {
        (share, _) if share > 0.75 => '█',
        (share, _) if share > 0.45 => '▓',
        (share, _) if share > 0.15 => '▒',
        (share, _) if share > 0.0 => '░',
        (_, share) if share > 0.0 => '·',
        _ => ' ',
    };
    (0..BAR).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(base: u64, committed: u64, heat: &[u8]) -> Region {
        Region {
            base,
            size_bytes: 0x10_0000,
            committed_bytes: committed,
            heat: heat.to_vec(),
            ..Region::default()
        }
    }

    #[test]
    fn bars_tell_reserved_committed_and_resident_apart() {
        assert_eq!(bar(&[region(0, 0, &[])]), " ".repeat(BAR));
        assert_eq!(bar(&[region(0, 0x10_0000, &[0; 32])]), "·".repeat(BAR));
        assert_eq!(bar(&[region(0, 0x10_0000, &[255; 32])]), "█".repeat(BAR));
        let halves = bar(&[region(0, 0x10_0000, &[255; 4]), region(0x10_0000, 0, &[])]);
        assert_eq!(halves, "████████        ");
        let one_page = bar(&[region(0, 0x10_0000, &[1])]);
        assert!(one_page.chars().all(|character| character == '░'));
    }

    #[test]
    fn a_terminal_gets_the_largest_and_a_file_gets_all() {
        let regions: Vec<Region> = (0..500)
            .map(|i| Region {
                allocation_base: i << 24,
                ..region(i << 24, (i + 1) << 12, &[9])
            })
            .collect();
        let snapshot = Snapshot {
            regions,
            ..Snapshot::default()
        };
        let short = map(&snapshot, true);
        assert!(
            short.lines().count() < MOST_LINES + 20
                && short.contains("smaller regions are not shown")
        );
        let long = map(&snapshot, false);
        assert!(long.lines().count() > 500 && !long.contains("not shown:"));
    }

    #[test]
    fn the_totals_fit_a_small_terminal() {
        let everywhere = Whereabouts {
            resident: 1 << 18,
            modified: 1 << 18,
            compressed: 1 << 18,
            page_file: 1 << 18,
            ..Whereabouts::default()
        };
        let mut regions = vec![region(0, 0x10_0000, &[])];
        regions[0].pages = everywhere;
        let text = totals(&Snapshot {
            regions,
            ..Snapshot::default()
        });
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        assert!(text.contains("page file") && !text.contains("swapped"));
        assert_eq!(text.matches("1.00 GiB").count(), 8);
    }

    #[test]
    fn names_give_the_terminal_no_commands() {
        let named = Region {
            name: "/tmp/\u{1b}[2J".to_owned(),
            ..region(0x1000, 0x1000, &[])
        };
        let snapshot = Snapshot {
            regions: vec![named],
            ..Snapshot::default()
        };
        assert!(!map(&snapshot, true).contains('\u{1b}'));
    }
}
