//! What sections and views are for, in three small programs:
//!
//! ```text
//! sections relay MIB BUDGET_MIB ROUNDS [GROUP_A GROUP_B]   two processes share a named section and are killed in turn
//! sections checksum FILE WINDOW_MIB BUDGET_MIB             the SHA-256 of a file of any size, by sliding views
//! sections copy FILE BUDGET_MIB                            a copy-on-write view, every tenth page changed
//! ```
//!
//! `relay` starts itself for its processes; GROUP_A and GROUP_B are folders of control groups that they enter first.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads views as slices while nobody changes their bytes"
)]

mod relay;

use std::error::Error;
use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use pagekeeper::{ByteCount, EngineKind, EngineStatistics, Protection, Section, Space};
use sha2::{Digest, Sha256};

const PAGE: u64 = 4096;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["relay", size, budget, rounds, groups @ ..] => relay::run(size, budget, rounds, groups),
        ["relay-process", role, name, size, budget] => relay::process(role, name, size, budget),
        ["checksum", file, window, budget] => checksum(file, window, budget),
        ["copy", file, budget] => copy(file, budget),
        _ => Err("use: relay MIB BUDGET_MIB ROUNDS [GROUP_A GROUP_B] | checksum FILE WINDOW_MIB BUDGET_MIB | copy FILE BUDGET_MIB".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sections: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A space with a budget in MiB.
pub(crate) fn space(budget: &str) -> Result<Space, Box<dyn Error>> {
    let settings = Space::builder().from_env()?;
    Ok(settings.ram(ByteCount::mib(budget.parse()?)).build()?)
}

/// The figures of the views of a space.
pub(crate) fn figures(space: &Space) -> EngineStatistics {
    let engines = space.status().engines;
    let views = engines
        .into_iter()
        .find(|(kind, _)| *kind == EngineKind::Views);
    views.map(|(_, figures)| figures).unwrap_or_default()
}

pub(crate) fn describe(space: &Space) -> String {
    let figures = figures(space);
    format!(
        "views: share {}, at most {} there, now {}; {} in the page file, {} pages written to it",
        figures.budget.bytes().human(),
        figures.peak.bytes().human(),
        figures.resident.bytes().human(),
        figures.page_file.bytes().human(),
        figures.pages_out,
    )
}

fn checksum(file: &str, window: &str, budget: &str) -> Outcome {
    let space = space(budget)?;
    let window = ByteCount::mib(window.parse()?).get();
    let section = Section::from_file(&space, File::open(file)?).build()?;
    let started = Instant::now();
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < section.size() {
        let size = window.min(section.size() - at);
        let view = section.view().offset(at).size(size).build()?;
        // SAFETY: the file is not changed while this runs, as for any program that sums it up.
        hash.update(unsafe { view.as_slice::<u8>() });
        at += size;
    }
    let sum: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("{sum}  {file}");
    eprintln!(
        "{:.1} s; {}",
        started.elapsed().as_secs_f64(),
        describe(&space)
    );
    Ok(())
}

fn copy(path: &str, budget: &str) -> Outcome {
    let space = space(budget)?;
    let file = File::open(path)?;
    let section = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()?;
    let view = section.view().build()?;
    let pages = section.size() / PAGE;
    let started = Instant::now();
    let mut changed = 0;
    for page in (0..pages).step_by(10) {
        let mark = (page ^ 0x5EED).to_le_bytes();
        view.write_at(page * PAGE + 8, &mark)?;
        changed += 1;
    }
    let written = started.elapsed();
    let original = Section::from_file(&space, &file).build()?.view().build()?;
    let (mut ours, mut theirs) = ([0; PAGE as usize], [0; PAGE as usize]);
    for page in 0..pages {
        view.read_at(page * PAGE, &mut ours)?;
        original.read_at(page * PAGE, &mut theirs)?;
        if page % 10 == 0 {
            let mark = (page ^ 0x5EED).to_le_bytes();
            theirs[8..16].copy_from_slice(&mark);
        }
        if ours != theirs {
            return Err(format!("page {page} is not what it should be").into());
        }
    }
    let figures = figures(&space);
    let bytes = figures.pages_out * PAGE;
    println!(
        "{changed} of {pages} pages changed in {:.1} s, all read back right in {:.1} s; {bytes} bytes \
         went to the page file, {:.1} % of the view",
        written.as_secs_f64(),
        (started.elapsed() - written).as_secs_f64(),
        bytes as f64 * 100.0 / (pages * PAGE) as f64,
    );
    println!("{}", describe(&space));
    Ok(())
}
