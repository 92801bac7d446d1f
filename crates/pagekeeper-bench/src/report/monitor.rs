//! The table of what being looked at costs.

use super::table::Table;
use super::{interval, median};
use crate::contender::ContenderKind;
use crate::patterns::monitor::{Load, REGIONS};
use crate::results::Results;

pub(super) const ROWS: [ContenderKind; 2] = [ContenderKind::Inline, ContenderKind::Mapped];

pub(super) fn write(results: &Results, text: &mut String) {
    let mut table = Table::new(&[
        "contender",
        "load",
        "regions beside",
        "pairs",
        "operations/s alone",
        "watched",
        "lost by a look, ms",
        "once a second, %",
        "observer, ms a look",
    ]);
    for contender in ROWS {
        let loads = Load::ALL.into_iter();
        for (load, regions) in loads.flat_map(|load| REGIONS.map(|regions| (load, regions))) {
            let find = |metric| results.find("monitor", &load.cell(regions), contender, metric);
            let cost = find("cost %");
            table.row(vec![
                contender.name().to_owned(),
                load.name().to_owned(),
                regions.to_string(),
                cost.map_or_else(String::new, |cost| cost.count.to_string()),
                median(find("alone operations/s")),
                median(find("watched operations/s")),
                interval(find("lost ms")),
                interval(cost),
                median(find("look ms")),
            ]);
        }
    }
    table.write(
        "## Being looked at",
        "The same work in slices of a quarter of a second, by turns alone and with one look in it: one thread loads words anywhere in data that fits (fits), or loads and stores after Zipf in data larger than the RAM that fits when packed (pages); more regions lie beside the data; another process takes whole snapshots. What a look costs is the difference of two neighbouring slices, as the median of all pairs with where it lies 19 times of 20: what is below 0 was faster when watched.",
        text,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn the_cost_is_the_median_of_the_pairs() {
        let mut results = empty();
        for cost in [0.2, -1.0, 3.0] {
            results.add(
                "monitor",
                "pages/100",
                ContenderKind::Inline,
                "cost %",
                cost,
            );
        }
        let mut text = String::new();
        write(&results, &mut text);
        let row = text
            .lines()
            .find(|line| line.starts_with('|') && line.contains("pages"))
            .expect("a row");
        assert!(row.contains(" 3 |") && row.contains("0.200"), "{row}");
    }
}
