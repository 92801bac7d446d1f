//! A heap larger than its RAM: names by the hundred thousand, listed, checked, and gone in one stroke.
//!
//! ```text
//! cargo run --release -p pagekeeper --example heap
//! ```

use allocator_api2::vec::Vec;
use pagekeeper::{ByteCount, Error, Heap, HeapEntry, Space};

fn main() -> Result<(), Error> {
    // 16 MiB of RAM; the rest goes to a page file in TMPDIR or /var/tmp.
    let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    let heap = Heap::new(&space)?;

    // Every list has its elements in the heap; so has the list of lists.
    let mut lists: Vec<Vec<u32, Heap>, Heap> = Vec::new_in(heap.clone());
    for list in 0..200_000_u32 {
        let mut numbers = Vec::new_in(heap.clone());
        numbers.extend((0..list % 100).map(|number| number * list));
        lists.push(numbers);
    }
    let sums = heap.summary();
    println!(
        "{} in blocks, {} committed",
        ByteCount::new(sums.allocated),
        ByteCount::new(sums.committed)
    );

    let busy =
        |entry: &HeapEntry| matches!(entry, HeapEntry::Busy { .. } | HeapEntry::Large { .. });
    println!("{} blocks in use", heap.entries().filter(busy).count());
    match heap.validate() {
        Ok(()) => println!("nobody wrote where it should not"),
        Err(damage) => println!("{damage}"),
    }

    let total: u64 = lists
        .iter()
        .flatten()
        .map(|number| u64::from(*number))
        .sum();
    println!("the numbers sum up to {total}");

    // Half of the lists go; their blocks can be had again, and whole pages of them are given back.
    lists.truncate(100_000);
    let sums = heap.summary();
    println!(
        "{} in blocks after half of them went",
        ByteCount::new(sums.allocated)
    );
    drop(lists);
    // The last clone: everything goes in one stroke.
    drop(heap);
    println!("{} committed in the space", space.status().committed);
    Ok(())
}
