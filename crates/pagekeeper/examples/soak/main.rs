//! Random operations of every kind from many threads on a tiny budget, against a shadow copy. See `--help`.
//!
//! Each page has a lock, held by whoever touches it or changes what it is; under it the page's state and shadow are true.
//! What changes no contents (prefetch, trim, unlock, a new budget, queries) runs without those locks, beside everything
//! else. Touches that must raise an exception are announced, and the callback mends the page. The last pass compares
//! every byte.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod options;
mod work;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use options::Options;
use work::{OPERATIONS, Progress, Worker};
use world::World;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::from(2);
        }
    };
    match soak(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

fn soak(options: &Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    eprintln!(
        "soak {}: seed {}, budget {}, data {}, {} threads, {} s",
        options.engine, options.seed, options.ram, options.data, options.threads, options.seconds
    );
    let world = World::new(options)?;
    let progress: Vec<_> = (0..options.threads)
        .map(|_| Arc::new(Progress::new()))
        .collect();
    let mut workers = Vec::new();
    for (thread, progress) in progress.iter().enumerate() {
        let seed = (options.seed + thread as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        workers.push(Worker::new(Arc::clone(&world), Arc::clone(progress), seed)?);
    }
    let (end, running) = (AtomicBool::new(false), AtomicUsize::new(options.threads));
    std::thread::scope(|scope| {
        for mut worker in workers {
            let (end, running) = (&end, &running);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    worker.step();
                }
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let until = Instant::now() + Duration::from_secs(options.seconds);
        watch(options, &progress, || Instant::now() >= until);
        end.store(true, Ordering::Relaxed);
        watch(options, &progress, || running.load(Ordering::Relaxed) == 0);
    });
    world.compare_all();
    report(options, &world, &progress);
    Ok(ExitCode::from(u8::from(world.differences() > 0)))
}

/// Looks after the threads until `done`. One that stands still for longer than there is patience hangs, and ends the
/// program.
fn watch(options: &Options, progress: &[Arc<Progress>], done: impl Fn() -> bool) {
    let start = Instant::now();
    let mut last: Vec<_> = progress
        .iter()
        .map(|thread| (thread.total(), start))
        .collect();
    while !done() {
        std::thread::sleep(Duration::from_millis(20));
        for (index, (thread, last)) in progress.iter().zip(&mut last).enumerate() {
            let total = thread.total();
            if total != last.0 {
                *last = (total, Instant::now());
            } else if last.1.elapsed().as_secs() >= options.patience && !done() {
                let operation = OPERATIONS[thread.now.load(Ordering::Relaxed)].0;
                println!(
                    "soak {}: HANG: thread {index} is in '{operation}' for {} s (seed {}, process {})",
                    options.engine,
                    options.patience,
                    options.seed,
                    std::process::id()
                );
                std::process::exit(3);
            }
        }
    }
}

fn report(options: &Options, world: &World, progress: &[Arc<Progress>]) {
    let counts = |index: usize| -> u64 {
        progress
            .iter()
            .map(|thread| thread.counts[index].load(Ordering::Relaxed))
            .sum()
    };
    let total: u64 = progress.iter().map(|thread| thread.total()).sum();
    let status = world.space.status();
    let exceptions = world.exceptions.load(Ordering::Relaxed);
    if options.json {
        let each: Vec<_> = OPERATIONS
            .iter()
            .enumerate()
            .map(|(index, (name, ..))| format!("\"{name}\": {}", counts(index)))
            .collect();
        println!(
            "{{\"engine\": \"{}\", \"seed\": {}, \"budget\": {}, \"data\": {}, \"threads\": {}, \"seconds\": {}, \
             \"operations\": {total}, \"exceptions\": {exceptions}, \"differences\": {}, \"pages_in\": {}, \"pages_out\": {}, \
             \"each\": {{{}}}}}",
            options.engine,
            options.seed,
            options.ram.get(),
            options.data.get(),
            options.threads,
            options.seconds,
            world.differences(),
            status.total.pages_in,
            status.total.pages_out,
            each.join(", ")
        );
        return;
    }
    for (index, (name, ..)) in OPERATIONS.iter().enumerate() {
        println!("  {name:<18}{:>12}", counts(index));
    }
    println!("  {:<18}{exceptions:>12}", "exceptions mended");
    println!("  {:<18}{:>12}", "pages in", status.total.pages_in);
    println!("  {:<18}{:>12}", "pages out", status.total.pages_out);
    if let Some(trouble) = &status.trouble {
        println!("  trouble: {trouble}");
    }
    println!(
        "soak {}: {total} operations in {} s, {} differences (seed {})",
        options.engine,
        options.seconds,
        world.differences(),
        options.seed
    );
}
