//! The table of what being looked at costs.

use super::table::Table;
use super::{median, spread};
use crate::contender::ContenderKind;
use crate::patterns::monitor::{LOOKS, Load};
use crate::results::Results;

pub(super) const ROWS: [ContenderKind; 2] = [ContenderKind::Inline, ContenderKind::Mapped];

pub(super) fn write(results: &Results, text: &mut String) {
    let mut table = Table::new(&[
        "contender",
        "load",
        "looks a second",
        "pairs",
        "operations/s alone",
        "watched",
        "cost of being watched, %",
        "observer, ms a look",
    ]);
    for contender in ROWS {
        for (load, looks) in Load::ALL
            .into_iter()
            .flat_map(|load| LOOKS.map(|looks| (load, looks)))
        {
            let find = |metric| results.find("monitor", &load.cell(looks), contender, metric);
            let cost = find("cost %");
            table.row(vec![
                contender.name().to_owned(),
                load.name().to_owned(),
                looks.to_string(),
                cost.map_or_else(String::new, |cost| cost.count.to_string()),
                median(find("alone operations/s")),
                median(find("watched operations/s")),
                spread(cost),
                median(find("look ms")),
            ]);
        }
    }
    table.write(
        "## Being looked at",
        "The same work by turns alone and watched: one thread loads words anywhere in data that fits (fits), or loads and stores after Zipf in data larger than the RAM that fits when packed (pages); 10,000 more regions lie beside the data; another process takes whole snapshots. The cost is that of each pair of neighbouring slices, as median (least to most): what is below 0 was faster when watched.",
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
            results.add("monitor", "pages/1", ContenderKind::Inline, "cost %", cost);
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
