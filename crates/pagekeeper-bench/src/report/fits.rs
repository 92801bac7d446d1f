//! Tables of data that fits.

use pagekeeper_units::ByteCount;

use super::table::Table;
use super::{mebibytes, median, ratio, spread};
use crate::contender::ContenderKind;
use crate::results::Results;
use crate::statistics::Summary;

const ROWS: [ContenderKind; 5] = [
    ContenderKind::PlainHuge,
    ContenderKind::Plain,
    ContenderKind::Inline,
    ContenderKind::Mapped,
    ContenderKind::Resident,
];

pub(super) fn write(results: &Results, text: &mut String) {
    // Time over time: above 1 is slower.
    const RIVAL: ContenderKind = ContenderKind::PlainHuge;
    let over = format!("/ {}", RIVAL.name());
    let mut table = Table::new(&[
        "contender",
        "set-up ms",
        "first touch ns/page",
        &over,
        "scattered first touch ns/page",
        &over,
        "random read ns",
        &over,
        "written at set-up",
        "bytes written",
        "peak MiB",
    ]);
    for contender in ROWS {
        let find = |cell, metric| results.find("fits", cell, contender, metric);
        let of_rival = |cell| -> Option<Summary> { results.find("fits", cell, RIVAL, "ns") };
        table.row(vec![
            contender.name().to_owned(),
            median(find("setup", "ms")),
            spread(find("touch", "ns")),
            ratio(find("touch", "ns"), of_rival("touch")),
            spread(find("scattered-touch", "ns")),
            ratio(find("scattered-touch", "ns"), of_rival("scattered-touch")),
            spread(find("read", "ns")),
            ratio(find("read", "ns"), of_rival("read")),
            spread(find("setup", "bytes")),
            spread(find("written", "bytes")),
            median(mebibytes(find("memory", "peak bytes"))),
        ]);
    }
    let fitting = results.asked.fitting_bytes;
    let sentence = format!(
        "{} of data with three times as much RAM: one store to each page of fresh memory upwards, in random order (a quarter as much, mapped anew), loads of 8 bytes anywhere (drawing the place included), and bytes that the process caused to be written to the disk (/proc/self/io): while mapping and committing (both times; our page files try direct I/O with a page), and from then on until 0.2 s after the end. Ratios are times over times: above 1 is slower.",
        ByteCount::new(fitting).human()
    );
    table.write("## Data that fits", &sentence, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn times_are_compared_with_plain_huge_pages() {
        let mut results = empty();
        results.add("fits", "read", ContenderKind::PlainHuge, "ns", 10.0);
        results.add("fits", "read", ContenderKind::Inline, "ns", 10.5);
        results.add("fits", "written", ContenderKind::Inline, "bytes", 0.0);
        let mut text = String::new();
        write(&results, &mut text);
        let row = text
            .lines()
            .find(|line| line.starts_with("| ours, inline"))
            .unwrap();
        assert!(row.contains("1.05"), "{row}");
        assert!(!text.contains("| ours, mapped"));
    }
}
