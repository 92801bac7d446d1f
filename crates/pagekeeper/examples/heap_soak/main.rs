//! Millions of blocks in one heap by several threads, every byte verified, in RAM and with a budget of a quarter of the heap.
//!
//! ```text
//! cargo run --release -p pagekeeper --example heap_soak -- --blocks 10000000 --live 200000 --threads 8 --ram 128
//! ```
//!
//! `--live` blocks of 16 to 4,096 bytes, 2 KiB in the middle, live at a time at most (about three fifths of them do); `--ram` is in
//! MiB. Prints what it did, or panics.

mod workload;

use std::time::Instant;

use pagekeeper::{ByteCount, Heap, Space};
use workload::{Load, check_all_came_back, in_ram, run};

fn main() -> Result<(), pagekeeper::Error> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("heap_soak [--blocks N] [--live N] [--threads N] [--ram MIB] [--seed N]");
        return Ok(());
    }
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(otherwise)
    };
    let load = Load {
        blocks: number("--blocks", 1_000_000),
        live: number("--live", 100_000) as usize,
        threads: number("--threads", 2).max(1),
        seed: number("--seed", 1),
    };
    let ram = ByteCount::mib(number("--ram", 1024));
    let space = Space::builder().ram(ram).build()?;
    let before = space.status();
    let heap = Heap::new(&space)?;
    let start = Instant::now();
    let live = run(&heap, &load);
    let took = start.elapsed();
    let sums = heap.summary();
    println!(
        "{} threads, {} blocks in {:.1} s with {ram} of RAM; {} live with {}, {} committed; walk and validation agree",
        load.threads,
        load.blocks,
        took.as_secs_f64(),
        live.blocks,
        ByteCount::new(live.bytes),
        ByteCount::new(sums.committed),
    );
    let start = Instant::now();
    drop(heap);
    let took = start.elapsed();
    check_all_came_back(&space, &before);
    println!(
        "destroyed in {:.1} ms; committed {} and in RAM {} as before, after {:.1} ms",
        took.as_secs_f64() * 1e3,
        before.committed,
        ByteCount::new(in_ram(&before)),
        start.elapsed().as_secs_f64() * 1e3,
    );
    Ok(())
}
