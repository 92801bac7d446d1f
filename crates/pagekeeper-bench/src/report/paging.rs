//! Tables of data larger than RAM.

use pagekeeper_units::ByteCount;

use super::table::Table;
use super::{mebibytes, median, ratio, spread};
use crate::contender::ContenderKind;
use crate::content::DataKind;
use crate::patterns::access::{Mode, Pattern};
use crate::patterns::paging::Cell;
use crate::race::paging_family;
use crate::results::Results;
use crate::statistics::figure;

/// In the order of the rows.
const ROWS: [ContenderKind; 6] = [
    ContenderKind::Inline,
    ContenderKind::Mapped,
    ContenderKind::FileMapping,
    ContenderKind::SwapFile,
    ContenderKind::SwapZram,
    ContenderKind::PlainHuge,
];

/// With whom the others are compared: zram for data that it makes smaller, a swap file otherwise; the file mapping where
/// neither could be measured.
fn rival(results: &Results, kind: DataKind) -> ContenderKind {
    let family = paging_family(kind);
    let takes_part = |contender: &ContenderKind| {
        results
            .find(&family, "memory", *contender, "peak bytes")
            .is_some()
    };
    let wanted = match kind {
        DataKind::Compressible => [ContenderKind::SwapZram, ContenderKind::SwapFile],
        DataKind::Incompressible => [ContenderKind::SwapFile, ContenderKind::SwapFile],
    };
    wanted
        .into_iter()
        .find(takes_part)
        .unwrap_or(ContenderKind::FileMapping)
}

pub(super) fn write(results: &Results, kind: DataKind, text: &mut String) {
    let asked = &results.asked;
    let human = |bytes| ByteCount::new(bytes).human();
    let heading = format!(
        "## {} data, {} in {} of RAM",
        match kind {
            DataKind::Compressible => "Compressible",
            DataKind::Incompressible => "Incompressible",
        },
        human(asked.data_bytes),
        human(asked.ram_bytes)
    );
    let contents = match kind {
        DataKind::Compressible => {
            "records of 128 bytes of which 16 are random, the rest text, small numbers and zeros"
        }
        DataKind::Incompressible => "random bytes",
    };
    let lz4 = asked.lz4_ratios[kind as usize];
    let sentence = format!("Pages hold {contents}; lz4 makes a page {lz4:.1} times smaller.");
    let table = ratios(results, kind);
    if table.is_empty() {
        *text += &format!("\n{heading}\n\n{sentence}\n");
    } else {
        let medians = "Below: operations a second (fill and scan: MB/s) of one contender over those of another, medians.";
        table.write(&heading, &format!("{sentence} {medians}"), text);
    }
    memory(results, kind, text);
    fill_and_scan(results, kind, text);
    for pattern in Pattern::ALL {
        one_pattern(results, kind, pattern, text);
    }
}

/// Ours over theirs, cell by cell.
fn ratios(results: &Results, kind: DataKind) -> Table {
    use ContenderKind::{FileMapping, Inline, Mapped, SwapFile, SwapZram};
    let family = paging_family(kind);
    let mut pairs = vec![
        (Inline, SwapFile),
        (Mapped, SwapFile),
        (Inline, FileMapping),
        (Mapped, FileMapping),
    ];
    if kind == DataKind::Compressible {
        pairs.splice(0..0, [(Inline, SwapZram), (Mapped, SwapZram)]);
    }
    let names: Vec<String> = std::iter::once("pattern".to_owned())
        .chain(pairs.iter().map(|(one, other)| {
            format!(
                "{} / {}",
                one.name().trim_start_matches("ours, "),
                other.name()
            )
        }))
        .collect();
    let mut table = Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |label: String, cell: &str, metric: &str| {
        let find = |contender| results.find(&family, cell, contender, metric);
        let ratios = pairs
            .iter()
            .map(|&(one, other)| ratio(find(one), find(other)));
        table.row(std::iter::once(label).chain(ratios).collect());
    };
    row("fill".to_owned(), "fill", "MB/s");
    row("scan".to_owned(), "scan", "MB/s");
    for cell in Cell::all() {
        let label = format!(
            "{}, {}, {}",
            cell.pattern.name(),
            cell.mode.name(),
            threads(cell.threads)
        );
        row(label, &cell.name(), "operations/s");
    }
    table
}

fn threads(count: u8) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

fn memory(results: &Results, kind: DataKind, text: &mut String) {
    let family = paging_family(kind);
    let mut table = Table::new(&[
        "contender",
        "setting",
        "peak in all",
        "anonymous",
        "page tables",
        "page cache",
        "control group",
        "zram pool",
    ]);
    for contender in ROWS {
        let find = |metric| mebibytes(results.find(&family, "memory", contender, metric));
        let setting = if contender.is_limited() {
            find("setting bytes")
        } else {
            None
        };
        table.row(vec![
            contender.name().to_owned(),
            median(setting),
            spread(find("peak bytes")),
            median(find("anonymous bytes")),
            median(find("page table bytes")),
            median(find("page cache bytes")),
            median(find("control group bytes")),
            median(find("zram pool bytes")),
        ]);
    }
    table.write(
        "### Memory (MiB)",
        "Most RAM at any moment of a run: anonymous memory (our compressed pool included), page tables and page cache of the file behind the memory, sampled every 10 ms (less often where a sample takes long), less what the program used before it mapped anything; with a control group what the kernel charged to it at most, and zram's pool at most. The setting is the budget or limit that made the sum what was asked for in a trial run.",
        text,
    );
}

fn fill_and_scan(results: &Results, kind: DataKind, text: &mut String) {
    let family = paging_family(kind);
    let rival = rival(results, kind);
    let over = format!("/ {}", rival.name());
    let mut table = Table::new(&[
        "contender",
        "set-up ms",
        "fill MB/s",
        &over,
        "user s",
        "system s",
        "scan MB/s",
        &over,
        "user s",
        "system s",
    ]);
    for contender in ROWS {
        let find = |cell, metric| results.find(&family, cell, contender, metric);
        let of_rival = |cell| results.find(&family, cell, rival, "MB/s");
        table.row(vec![
            contender.name().to_owned(),
            median(find("fill", "setup ms")),
            spread(find("fill", "MB/s")),
            ratio(find("fill", "MB/s"), of_rival("fill")),
            median(find("fill", "user s")),
            median(find("fill", "system s")),
            spread(find("scan", "MB/s")),
            ratio(find("scan", "MB/s"), of_rival("scan")),
            median(find("scan", "user s")),
            median(find("scan", "system s")),
        ]);
    }
    table.write(
        "### Fill and scan",
        "One thread writes every page once upwards (first touch), then reads every byte once upwards; set-up is mapping and committing, the contents are made while filling; processor time is that of the process, kernel threads not included.",
        text,
    );
}

fn one_pattern(results: &Results, kind: DataKind, pattern: Pattern, text: &mut String) {
    let family = paging_family(kind);
    let rival = rival(results, kind);
    let over = format!("/ {}", rival.name());
    let mut table = Table::new(&[
        "access, contender",
        "operations/s",
        &over,
        "p50 µs",
        "p99 µs",
        "user µs/op",
        "system µs/op",
    ]);
    for threads in 1..=2 {
        for mode in Mode::ALL {
            let cell = Cell {
                pattern,
                mode,
                threads,
            }
            .name();
            for contender in ROWS {
                let find = |metric| results.find(&family, &cell, contender, metric);
                let speed = find("operations/s");
                table.row(vec![
                    format!(
                        "{}, {}, {}",
                        mode.name(),
                        self::threads(threads),
                        contender.name()
                    ),
                    spread(speed),
                    ratio(speed, results.find(&family, &cell, rival, "operations/s")),
                    spread(find("p50 us")),
                    spread(find("p99 us")),
                    median(find("user us/op")),
                    median(find("system us/op")),
                ]);
            }
        }
    }
    let sentence = format!(
        "For {} s after a quarter of that unmeasured, {}; a read compares one word of the page, an update adds one to a word; latencies are those of every 16th operation; afterwards every byte and the sum of all updates were compared.",
        figure(results.asked.seconds),
        pattern.describe()
    );
    table.write(
        &format!("### Pattern {}, {} data", pattern.name(), kind.name()),
        &sentence,
        text,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    fn with(contenders: &[(ContenderKind, f64)]) -> Results {
        let mut results = empty();
        for &(contender, speed) in contenders {
            let family = paging_family(DataKind::Compressible);
            results.add(
                &family,
                "memory",
                contender,
                "peak bytes",
                16.0 * 1_048_576.0,
            );
            results.add(&family, "uniform/read/1", contender, "operations/s", speed);
        }
        results
    }

    #[test]
    fn the_rival_is_zram_then_the_swap_file_then_the_file_mapping() {
        use ContenderKind::{FileMapping, Inline, SwapFile, SwapZram};
        let kind = DataKind::Compressible;
        assert_eq!(
            rival(&with(&[(SwapZram, 1.0), (SwapFile, 1.0)]), kind),
            SwapZram
        );
        assert_eq!(rival(&with(&[(SwapFile, 1.0)]), kind), SwapFile);
        assert_eq!(rival(&with(&[(Inline, 1.0)]), kind), FileMapping);
    }

    #[test]
    fn ratios_and_rows_are_written() {
        use ContenderKind::{Inline, SwapZram};
        let mut text = String::new();
        let results = with(&[(Inline, 300.0), (SwapZram, 200.0)]);
        write(&results, DataKind::Compressible, &mut text);
        assert!(text.contains("| inline / swap on zram |"), "{text}");
        let row = text
            .lines()
            .find(|line| line.starts_with("| uniform, read, 1 thread"))
            .unwrap();
        assert!(row.contains("1.50"), "{row}");
        assert!(text.contains("### Pattern uniform, compressible data"));
        assert!(
            !text.contains("### Pattern zipf"),
            "nothing was measured there"
        );
    }
}
