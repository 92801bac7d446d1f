//! Pagekeeper beside its rivals: plain anonymous memory, a plain file mapping, kernel swap on a file and on zram.
//!
//! `cargo run --release -p pagekeeper-bench -- --write docs/benchmarks.md` measures everything and writes the tables. Every
//! contender holds the same data in the same RAM and every byte is compared at the end. An ordinary user can run it; what
//! needs root (kernel swap in a control group) says that it was skipped, and why.
//!
//! | module | what |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`race`] | who is measured when |
//! | [`job`] | child processes |
//! | [`contender`] | the contenders |
//! | [`kernel`] | control groups, swap, zram; cleaning up |
//! | [`patterns`] | what is measured |
//! | [`pages`], [`content`] | the memory under test, and what it holds |
//! | [`random`], [`zipf`] | drawing pages |
//! | [`histogram`], [`statistics`], [`usage`] | latencies; medians; processor time and memory |
//! | [`machine`], [`disk`] | what the figures come from |
//! | [`results`], [`report`] | collecting; tables |

mod arguments;
mod contender;
mod content;
mod disk;
mod histogram;
mod job;
mod kernel;
mod machine;
mod pages;
mod patterns;
mod race;
mod random;
mod report;
mod results;
mod statistics;
mod usage;
mod zipf;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use pagekeeper_sys::memory_info::MemoryInfo;
use pagekeeper_units::ByteCount;

use crate::arguments::{Arguments, Inner, Options};
use crate::content::{Content, DataKind};
use crate::kernel::leftovers::{self, Janitor};
use crate::machine::Machine;
use crate::race::Race;
use crate::results::{Asked, Results};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.inner {
        Some(Inner::Child) => job::child().map(|()| ExitCode::SUCCESS),
        Some(Inner::Observer { pid }) => {
            patterns::monitor::observe(pid).map(|()| ExitCode::SUCCESS)
        }
        Some(Inner::Janitor { owner, folder }) => {
            leftovers::janitor(owner, &folder);
            Ok(ExitCode::SUCCESS)
        }
        None => bench(&arguments.options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> anyhow::Result<ExitCode> {
    let checked = options.check().and_then(|()| {
        let folder = machine::folder(options.folder.as_deref())?;
        // A page file or swap file or mapped file at a time, and the probe.
        let most = options.data().get() + options.data().get() / 4 + (256 << 20);
        machine::require_room(&folder, ByteCount::new(most))?;
        Ok(folder)
    });
    let folder = match checked {
        Ok(folder) => folder,
        Err(reason) => {
            eprintln!("error: {reason}");
            return Ok(ExitCode::from(2));
        }
    };
    let janitor = Janitor::start(&folder)?;
    let mut machine = Machine::look(&folder);
    let (size, time) = if options.quick { (16, 50) } else { (256, 500) };
    match disk::measure(&folder, ByteCount::mib(size), Duration::from_millis(time)) {
        Ok(speed) => machine.disk_speed = Some(speed),
        Err(error) => eprintln!("the disk's speed is unknown: {error:#}"),
    }
    let asked = asked(options, &machine);
    let results = Results::new(asked, machine);
    let mut race = Race {
        options,
        folder,
        results,
    };
    race.run();
    let mut results = race.results;
    results.load_at_end = machine::load();
    drop(janitor);
    publish(options, &results)?;
    Ok(if results.is_failure() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn asked(options: &Options, machine: &Machine) -> Asked {
    let available = MemoryInfo::read().map_or(0, |info| info.available_bytes);
    let warmed = options.warm(machine.virtual_machine, ByteCount::new(available));
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!(
        "cargo run --release -p pagekeeper-bench -- {}",
        words.join(" ")
    );
    Asked {
        command: command.trim_end_matches(" -- ").to_owned(),
        quick: options.quick,
        ram_bytes: options.ram().get(),
        data_bytes: options.data().get(),
        seconds: options.seconds(),
        repeat: options.repeat(),
        repeat_uniform: options.repeat_uniform(),
        lz4_ratios: DataKind::ALL.map(|kind| Content::new(kind, options.seed).lz4_ratio()),
        fitting_bytes: options.fitting().get(),
        warmed_bytes: warmed.get(),
        commits: options.commits(),
        metadata_ram_bytes: race::metadata_ram(options).get(),
    }
}

fn publish(options: &Options, results: &Results) -> anyhow::Result<()> {
    let text = report::document(results);
    if options.json {
        println!("{}", serde_json::to_string_pretty(results)?);
    } else {
        println!("{text}");
    }
    if let Some(path) = &options.write {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
