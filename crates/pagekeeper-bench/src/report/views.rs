//! The table of mapped files.

use pagekeeper_units::ByteCount;

use super::table::Table;
use super::{mebibytes, median, ratio, spread};
use crate::contender::ContenderKind;
use crate::patterns::views::{CELLS, Size, THREADS};
use crate::results::Results;

const OURS: ContenderKind = ContenderKind::Mapped;
const PLAIN: ContenderKind = ContenderKind::Plain;
const GROUP: ContenderKind = ContenderKind::FileMapping;

pub(super) fn write(results: &Results, text: &mut String) {
    let mut table = Table::new(&[
        "file",
        "pattern",
        "threads",
        "ours, ns",
        "mmap, ns",
        "ours / mmap",
        "mmap in a group, ns",
        "ours / mmap in a group",
    ]);
    for size in Size::ALL {
        for what in CELLS {
            for threads in THREADS {
                let cell = size.cell(what, threads);
                let find = |contender| results.find("views", &cell, contender, "ns");
                let (ours, plain, group) = (find(OURS), find(PLAIN), find(GROUP));
                if ours.is_none() && plain.is_none() && group.is_none() {
                    continue;
                }
                table.row(vec![
                    cell.split('/').next().unwrap_or_default().to_owned(),
                    what.to_owned(),
                    threads.to_string(),
                    spread(ours),
                    spread(plain),
                    ratio(ours, plain),
                    spread(group),
                    ratio(ours, group),
                ]);
            }
        }
    }
    let (data, ram) = (results.asked.data_bytes, results.asked.ram_bytes);
    let fitting = ByteCount::new(results.asked.fitting_bytes).human();
    let sentence = format!(
        "A file mapped for reading: {fitting} of it with three times as much RAM and all of it in the page cache (fits), {} with {} and nothing cached (larger). Ours has that RAM as its budget, mmap has all of the machine's, and mmap in a group a memory control group of that size. first-scan: every word, upwards, right after mapping; scan: the same over and over; random: one word of a page drawn from all. Nanoseconds a page (scans) or a read. All words are compared.",
        ByteCount::new(data).human(),
        ByteCount::new(ram).human(),
    );
    table.write("## Mapped files", &sentence, text);
    let mut table = Table::new(&[
        "file",
        "contender",
        "threads",
        "page cache MiB",
        "mapped MiB",
    ]);
    for size in Size::ALL {
        for contender in [OURS, PLAIN, GROUP] {
            for threads in THREADS {
                let cell = size.cell("memory", threads);
                let find = |metric| results.find("views", &cell, contender, metric);
                let (cached, mapped) = (find("page cache bytes"), find("mapped bytes"));
                if cached.is_none() && mapped.is_none() {
                    continue;
                }
                table.row(vec![
                    cell.split('/').next().unwrap_or_default().to_owned(),
                    match contender {
                        OURS => "ours",
                        PLAIN => "mmap",
                        _ => "mmap in a group",
                    }
                    .to_owned(),
                    threads.to_string(),
                    median(mebibytes(cached)),
                    median(mebibytes(mapped)),
                ]);
            }
        }
    }
    let sentence = "The most of the file that was in the page cache, and of ours the most that was in the page table at any look of the thread that trims.";
    table.write("### Their memory", sentence, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn views_stand_beside_both_mappings() {
        let mut results = empty();
        for (contender, ns) in [(OURS, 300.0), (PLAIN, 200.0), (GROUP, 600.0)] {
            let cell = Size::Larger.cell("scan", 1);
            results.add("views", &cell, contender, "ns", ns);
        }
        let memory = Size::Larger.cell("memory", 1);
        results.add("views", &memory, OURS, "mapped bytes", 2_097_152.0);
        let mut text = String::new();
        write(&results, &mut text);
        let row = |start: &str| text.lines().find(|line| line.starts_with(start));
        let times = row("| larger |").expect("a row");
        assert!(times.contains("1.50") && times.contains("0.50"), "{times}");
        assert!(row("| fits").is_none(), "{text}");
    }
}
