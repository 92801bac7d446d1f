//! Random loads and stores from many threads against a shadow, on a tiny budget.
//!
//! `soak [--engine inline|mapped|resident] [--ram 256K] [--data 4M] [--threads 8] [--seconds 10] [--seed N]`
//!
//! Every page holds a generation number, written in a pattern over the whole page by its owner thread (pages are dealt
//! out by number); readers check that a page is one whole generation. The last pass compares every byte. Prints its
//! seed; exit code 1 on any difference.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagekeeper::{ByteCount, EngineKind, Protection, Space};

const PAGE: usize = 4096;
const WORDS: usize = PAGE / 8;

struct Options {
    engine: EngineKind,
    ram: ByteCount,
    data: ByteCount,
    threads: usize,
    seconds: u64,
    seed: u64,
}

fn options() -> Result<Options, Box<dyn std::error::Error>> {
    let mut options = Options {
        engine: EngineKind::Inline,
        ram: ByteCount::kib(256),
        data: ByteCount::mib(4),
        threads: 8,
        seconds: 10,
        seed: std::process::id().into(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--engine" => options.engine = value.parse()?,
            "--ram" => options.ram = value.parse()?,
            "--data" => options.data = value.parse()?,
            "--threads" => options.threads = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(options)
}

fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Word `index` of page `page` in generation `generation`. Pages are by turns random, compressible and one word.
fn pattern(page: usize, generation: u64, index: usize) -> u64 {
    if generation == 0 {
        return 0;
    }
    let base = (page as u64) << 32 | generation;
    match (page as u64 + generation) % 4 {
        0 => base,
        1 if !index.is_multiple_of(8) => 0x2020_2020_2020_2020,
        2 if index.is_multiple_of(2) => base,
        _ => (base ^ (index as u64) << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = options()?;
    println!(
        "seed {}: {} on {}, {} of data, {} threads, {} s",
        options.seed, options.engine, options.ram, options.data, options.threads, options.seconds
    );
    let space = Space::builder()
        .ram(options.ram)
        .engine(options.engine)
        .build()?;
    let reservation = space.reserve(options.data).build()?;
    reservation.commit(.., Protection::READ_WRITE)?;
    let pages = options.data.as_usize() / PAGE;
    let generations: Vec<AtomicU64> = (0..pages).map(|_| AtomicU64::new(0)).collect();
    let base = reservation.base() as usize;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let operations = AtomicU64::new(0);
    let differences = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..options.threads {
            let (generations, operations, differences) = (&generations, &operations, &differences);
            let mut state = options.seed.wrapping_mul(0x9E37_79B9) + 77 + thread as u64 * 12_345;
            scope.spawn(move || {
                let mut count = 0;
                while Instant::now() < end {
                    for _ in 0..64 {
                        // A page of this thread's: nobody else writes it.
                        let slot = next(&mut state) as usize % (pages / options.threads);
                        let page = slot * options.threads + thread;
                        let address = (base + page * PAGE) as *mut u64;
                        let generation = generations[page].load(Ordering::Relaxed);
                        // SAFETY: committed memory; the page belongs to this thread.
                        let words = unsafe { std::slice::from_raw_parts_mut(address, WORDS) };
                        let start = next(&mut state) as usize % WORDS;
                        if words[start] != pattern(page, generation, start) {
                            differences.fetch_add(1, Ordering::Relaxed);
                        }
                        if next(&mut state).is_multiple_of(3) {
                            for (index, word) in words.iter_mut().enumerate() {
                                *word = pattern(page, generation + 1, index);
                            }
                            generations[page].store(generation + 1, Ordering::Relaxed);
                        }
                        count += 1;
                    }
                }
                operations.fetch_add(count, Ordering::Relaxed);
            });
        }
    });
    let mut wrong = differences.into_inner();
    for (page, generation) in generations.iter().enumerate() {
        let generation = generation.load(Ordering::Relaxed);
        // SAFETY: committed memory; all threads have ended.
        let words =
            unsafe { std::slice::from_raw_parts((base + page * PAGE) as *const u64, WORDS) };
        let differs = |(index, word): (usize, &u64)| *word != pattern(page, generation, index);
        wrong += words
            .iter()
            .enumerate()
            .filter(|pair| differs(*pair))
            .count() as u64;
    }
    let status = space.status();
    println!(
        "{} operations, {wrong} differences",
        operations.into_inner()
    );
    println!("{:#?}", status.total);
    if let Some(trouble) = status.trouble {
        println!("trouble: {trouble}");
    }
    if wrong > 0 {
        std::process::exit(1);
    }
    Ok(())
}
