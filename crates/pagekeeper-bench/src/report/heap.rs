//! The table of heaps.

use super::table::Table;
use super::{ratio, spread};
use crate::patterns::heap::{Allocator, PATTERNS, THREADS, cell};
use crate::results::Results;

pub(super) fn write(results: &Results, text: &mut String) {
    let mut table = Table::new(&[
        "pattern",
        "threads",
        "ours, ns",
        "glibc, ns",
        "ours / glibc",
        "mimalloc, ns",
        "ours / mimalloc",
    ]);
    for pattern in PATTERNS {
        for threads in THREADS {
            let name = cell(pattern, threads);
            let find = |allocator: Allocator| {
                results.find("heap", &name, allocator.contender(), allocator.metric())
            };
            let ours = find(Allocator::Ours);
            let (glibc, mimalloc) = (find(Allocator::Glibc), find(Allocator::Mimalloc));
            if ours.is_none() && glibc.is_none() {
                continue;
            }
            table.row(vec![
                pattern.to_owned(),
                threads.to_string(),
                spread(ours),
                spread(glibc),
                ratio(ours, glibc),
                spread(mimalloc),
                ratio(ours, mimalloc),
            ]);
        }
    }
    table.write(
        "## Heaps",
        "Small blocks that fit into RAM; nanoseconds of a call of one thread. pairs: 64 bytes allocated and freed; batch: a thousand allocated, then freed; churn: one of 10,000 blocks of 16 to 4,096 bytes freed and allocated anew; handover: allocated by one thread, freed by another (a channel between them); resize: half as large again, from 16 bytes to 128 KiB; one-by-one: a million blocks freed in turn; destroy: the same by destroying the heap.",
        text,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::empty;

    #[test]
    fn allocators_stand_side_by_side() {
        let mut results = empty();
        for (allocator, ns) in [
            (Allocator::Ours, 12.0),
            (Allocator::Glibc, 10.0),
            (Allocator::Mimalloc, 6.0),
        ] {
            let name = cell("pairs", 1);
            results.add("heap", &name, allocator.contender(), allocator.metric(), ns);
        }
        let mut text = String::new();
        write(&results, &mut text);
        let row = text
            .lines()
            .find(|line| line.starts_with("| pairs"))
            .expect("a row");
        for part in ["12", "10", "1.20", "2.00"] {
            assert!(row.contains(part), "{row}");
        }
    }
}
