//! `pagekeeper demo`: much real data in little RAM, and not a byte lost.
//!
//! Reserve 1 TiB, load files into one growing array, look records up at random from many threads, compare every
//! byte with the files again; meanwhile a thread watches how much memory the kernel says there is.
//!
//! | module | what |
//! |---|---|
//! | [`setup`] | from options to a space; every mistake is one line |
//! | [`walk`], [`source`] | the files of a folder, and whether they stay the same |
//! | [`catalogue`], [`text`] | which file lies where, in few bytes |
//! | [`checksums`] | sums of records, taken while loading |
//! | [`load`], [`lookup`], [`verify`] | the three phases |
//! | [`differences`] | what was found to differ |
//! | [`sampler`], [`page_cache`] | the peak of memory, by the kernel's figures |
//! | [`progress`], [`report`] | what people see |
//!
//! Its own tables are small on purpose (24 bytes and the name for a file, 1 MiB of checksums at most), because they
//! count like everything else.

mod catalogue;
mod checksums;
mod differences;
mod load;
mod lookup;
mod page_cache;
mod progress;
mod report;
mod sampler;
mod setup;
mod source;
mod text;
mod verify;
mod walk;

use std::time::Duration;

use pagekeeper_sys::perf::process_faults;

use crate::arguments::DemoOptions;
use crate::failure::Failure;
use differences::{Differences, Known};
use progress::{Phase, Unit};
use report::{Report, Timed};
use sampler::Sampler;
use setup::Setup;

/// Runs the demonstration and prints its result.
pub(crate) fn run(options: &DemoOptions) -> Result<(), Failure> {
    let sampler = Sampler::start().map_err(|error| no_thread(&error))?;
    let setup = Setup::make(options)?;
    let visible = !options.json;
    announce(options, &setup, visible);
    let faults_before = process_faults().unwrap_or_default();

    let wanted = options.data.get();
    let loading = Phase::new("load", Unit::Bytes, wanted, visible);
    let (loaded, load_time) =
        loading.run(|| load::load(&options.folder, wanted, setup.data, &loading));
    let loaded = loaded?;
    let known = Known {
        data: &loaded.data,
        checksums: &loaded.checksums,
        catalogue: &loaded.catalogue,
    };
    let differences = Differences::default();

    let time = Duration::from_secs(options.seconds);
    let looking = Phase::new(
        "look up",
        Unit::Milliseconds,
        time.as_millis() as u64,
        visible,
    );
    let (found, lookup_time) =
        looking.run(|| lookup::look_up(known, &differences, setup.threads, time));

    let verifying = Phase::new("compare", Unit::Bytes, wanted, visible);
    let (verified, verify_time) = verifying.run(|| {
        verify::verify(
            known,
            &differences,
            setup.threads,
            setup.buffer_bytes,
            &verifying,
        )
    });

    let report = Report::new(report::Parts {
        options,
        engine: setup.engine,
        fallback: setup.fallback,
        threads: setup.threads,
        status: setup.space.status(),
        loaded: &loaded,
        load_time,
        lookups: Timed {
            outcome: found?,
            time: lookup_time,
        },
        verify: Timed {
            outcome: verified?,
            time: verify_time,
        },
        differences: &differences,
        faults_before,
        peak: sampler.finish(),
    });
    report.print(options.json);
    if report.is_good() {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

fn announce(options: &DemoOptions, setup: &Setup, visible: bool) {
    if let Some(reason) = &setup.fallback {
        eprintln!(
            "pagekeeper: the inline engine cannot run here ({reason}); using the mapped engine"
        );
    }
    if visible {
        eprintln!(
            "{} of {} in {} of RAM, {} engine, {} thread{}",
            options.data.human(),
            options.folder.display(),
            setup.space.status().budget.human(),
            setup.engine,
            setup.threads,
            if setup.threads == 1 { "" } else { "s" },
        );
    }
}

fn no_thread(error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot start a thread ({error}): give fewer --threads, or raise the limits (ulimit -u, ulimit -v)"
    ))
}
