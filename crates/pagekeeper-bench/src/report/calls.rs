//! The table of calls.

use super::table::Table;
use super::{ratio, spread};
use crate::contender::ContenderKind;
use crate::patterns::calls::{CALLS, THREADS, alive, cell};
use crate::results::Results;

pub(super) fn write(results: &Results, text: &mut String) {
    let ours = [
        ContenderKind::Inline,
        ContenderKind::Mapped,
        ContenderKind::Resident,
    ];
    let mut table = Table::new(&[
        "call",
        "alive",
        "threads",
        "the kernel's, ns",
        "inline, ns",
        "/ kernel",
        "mapped, ns",
        "/ kernel",
        "resident, ns",
        "/ kernel",
    ]);
    for call in CALLS {
        for alive in alive(results.asked.commits) {
            for threads in THREADS {
                let name = cell(call.name, alive, threads);
                let find = |contender| results.find("calls", &name, contender, "ns");
                let kernel = find(ContenderKind::Plain);
                let mut row = vec![
                    call.what.to_owned(),
                    crate::statistics::figure(alive as f64),
                    threads.to_string(),
                    spread(kernel),
                ];
                for contender in ours {
                    row.push(spread(find(contender)));
                    row.push(ratio(find(contender), kernel));
                }
                table.row(row);
            }
        }
    }
    table.write(
        "## Calls",
        "Alive: so many reservations (kernel: mappings) before the first call; each call is about another of them, in no order; a call's time is what its thread waits. The kernel joins mappings that are alike.",
        text,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn calls_stand_beside_the_kernels() {
        let mut results = empty();
        for (contender, ns) in [
            (ContenderKind::Plain, 1_000.0),
            (ContenderKind::Mapped, 250.0),
        ] {
            let name = cell("commit", 1_000, 2);
            results.add("calls", &name, contender, "ns", ns);
        }
        let mut text = String::new();
        write(&results, &mut text);
        let row = text
            .lines()
            .find(|line| line.starts_with("| commit 4 KiB") && line.contains("250"))
            .expect("a row");
        assert!(row.contains("0.25"), "{row}");
    }
}
