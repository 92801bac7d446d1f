//! The table of bookkeeping.

use pagekeeper_units::ByteCount;

use super::table::Table;
use super::{ratio, spread};
use crate::contender::ContenderKind;
use crate::patterns::metadata::FIGURES;
use crate::results::Results;

pub(super) fn write(results: &Results, text: &mut String) {
    let ours = [
        ContenderKind::Inline,
        ContenderKind::Mapped,
        ContenderKind::Resident,
    ];
    let mut table = Table::new(&[
        "what",
        "unit",
        "the kernel's call",
        "inline",
        "/ kernel",
        "mapped",
        "/ kernel",
        "resident",
        "/ kernel",
    ]);
    for figure in FIGURES {
        let find = |contender| results.find("metadata", figure.name, contender, "value");
        let kernel = find(ContenderKind::Plain);
        let mut row = vec![
            figure.what.to_owned(),
            figure.unit.to_owned(),
            spread(kernel),
        ];
        for contender in ours {
            row.push(spread(find(contender)));
            row.push(ratio(find(contender), kernel));
        }
        table.row(row);
    }
    let asked = &results.asked;
    let sentence = format!(
        "One thread, a budget of {}; alternating commits: {} pages of 4 KiB with a reserved page between any two; queries at random addresses; each figure is the time of a loop over many calls, divided by their number.",
        ByteCount::new(asked.metadata_ram_bytes).human(),
        crate::statistics::figure(asked.commits as f64)
    );
    table.write("## Reserve, commit, query, decommit", &sentence, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn figures_stand_beside_the_kernels() {
        let mut results = empty();
        results.add(
            "metadata",
            "commit-next",
            ContenderKind::Plain,
            "value",
            800.0,
        );
        results.add(
            "metadata",
            "commit-next",
            ContenderKind::Inline,
            "value",
            200.0,
        );
        let mut text = String::new();
        write(&results, &mut text);
        let row = text
            .lines()
            .find(|line| line.starts_with("| commit the next 4 KiB"))
            .unwrap();
        assert!(
            row.contains("800") && row.contains("200") && row.contains("0.25"),
            "{row}"
        );
    }
}
