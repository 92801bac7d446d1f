//! The result: a table for people, JSON for programs (its fields are described in `docs/program.md`).

use std::time::Duration;

use comfy_table::{Cell, Table};
use pagekeeper::{ByteCount, EngineKind, Exactness, SpaceStatus};
use pagekeeper_sys::perf::{Faults as ProcessFaults, process_faults};
use serde::Serialize;

use super::differences::{Difference, Differences};
use super::load::Loaded;
use super::sampler::Peak;
use super::{lookup, setup, verify};
use crate::arguments::DemoOptions;
use crate::terminal::{self, count, megabytes_per_second, nanoseconds, size};

/// What the program may use beside its budget.
const SLACK: ByteCount = ByteCount::mib(32);

/// An outcome and how long it took.
pub(super) struct Timed<T> {
    pub(super) outcome: T,
    pub(super) time: Duration,
}

/// What a report is made from.
pub(super) struct Parts<'run> {
    pub(super) options: &'run DemoOptions,
    pub(super) engine: EngineKind,
    pub(super) fallback: Option<String>,
    pub(super) threads: usize,
    pub(super) status: SpaceStatus,
    pub(super) loaded: &'run Loaded,
    pub(super) load_time: Duration,
    pub(super) lookups: Timed<lookup::Outcome>,
    pub(super) verify: Timed<verify::Outcome>,
    pub(super) differences: &'run Differences,
    pub(super) faults_before: ProcessFaults,
    pub(super) peak: Peak,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    equal: bool,
    folder: String,
    engine: &'static str,
    engine_fallback: Option<String>,
    data_bytes: u64,
    ram_bytes: u64,
    reserved_bytes: u64,
    threads: usize,
    files: Files,
    peak: Peak,
    /// Budget and slack; none with the resident engine, which has no budget.
    peak_limit_bytes: Option<u64>,
    peak_within_limit: Option<bool>,
    overhead_bytes: u64,
    page_file: PageFile,
    pool: Pool,
    faults: Faults,
    fault_latency_ns: Option<Quantiles>,
    load: Throughput,
    lookups: Lookups,
    verify: Throughput,
    differences: u64,
    first_differences: Vec<Difference>,
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Files {
    loaded: usize,
    bytes: u64,
    rounds: u64,
    skipped_unreadable: u64,
    skipped_changed: u64,
    folders_unreadable: u64,
}

#[derive(Debug, Serialize)]
struct PageFile {
    used_bytes: u64,
    allocated_bytes: u64,
    written_bytes: u64,
    read_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Pool {
    stored_bytes: u64,
    ram_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Faults {
    zero: u64,
    soft: u64,
    pool: u64,
    hard: u64,
    exact: bool,
    process_minor: u64,
    process_major: u64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    p50: u64,
    p99: u64,
}

#[derive(Debug, Serialize)]
struct Throughput {
    bytes: u64,
    seconds: f64,
    megabytes_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Lookups {
    count: u64,
    seconds: f64,
    per_second: f64,
    record_bytes: u64,
    latency_ns: Option<Quantiles>,
}

impl Throughput {
    fn new(bytes: u64, time: Duration) -> Self {
        Self {
            bytes,
            seconds: time.as_secs_f64(),
            megabytes_per_second: megabytes_per_second(bytes, time),
        }
    }
}

impl Report {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts {
            options,
            status,
            loaded,
            lookups,
            verify,
            peak,
            ..
        } = parts;
        let total = &status.total;
        let data_bytes = loaded.data.len() as u64;
        let limit =
            (parts.engine != EngineKind::Resident).then(|| status.budget.get() + SLACK.get());
        let differences = parts.differences.count();
        let trouble = status.trouble.as_ref().map(ToString::to_string);
        let compared = verify.outcome.compared_bytes + verify.outcome.summed_bytes;
        Self {
            equal: differences == 0
                && trouble.is_none()
                && total.lost == 0
                && compared == data_bytes,
            folder: options.folder.display().to_string(),
            engine: parts.engine.name(),
            engine_fallback: parts.fallback,
            data_bytes,
            ram_bytes: status.budget.get(),
            reserved_bytes: setup::RESERVED.get(),
            threads: parts.threads,
            files: Files {
                loaded: loaded.catalogue.len(),
                bytes: loaded.catalogue.cycle_bytes(),
                rounds: data_bytes.div_ceil(loaded.catalogue.cycle_bytes().max(1)),
                skipped_unreadable: loaded.unreadable,
                skipped_changed: loaded.changed + verify.outcome.changed,
                folders_unreadable: loaded.unreadable_folders,
            },
            peak,
            peak_limit_bytes: limit,
            peak_within_limit: limit.map(|limit| peak.total_bytes <= limit),
            overhead_bytes: status.overhead.get(),
            page_file: PageFile {
                used_bytes: total.page_file.bytes().get(),
                // The mapped engine allocates what it uses, and counts for itself.
                allocated_bytes: status
                    .page_file_allocated
                    .max(total.page_file.bytes())
                    .get(),
                written_bytes: total.pages_out << 12,
                read_bytes: total.pages_in << 12,
            },
            pool: Pool {
                stored_bytes: total.compressed.bytes().get(),
                ram_bytes: total.pool.get(),
            },
            faults: faults(&status, parts.faults_before),
            fault_latency_ns: quantiles(|share| total.latency_quantile_ns(share)),
            load: Throughput::new(data_bytes, parts.load_time),
            lookups: Lookups {
                count: lookups.outcome.count,
                seconds: lookups.time.as_secs_f64(),
                per_second: lookups.outcome.count as f64 / lookups.time.as_secs_f64().max(1e-9),
                record_bytes: loaded.checksums.record_bytes(),
                latency_ns: quantiles(|share| lookups.outcome.quantile_ns(share)),
            },
            verify: Throughput::new(compared, verify.time),
            differences,
            first_differences: parts.differences.first(),
            trouble,
        }
    }

    /// Whether every byte was equal and nothing went wrong.
    pub(super) fn is_good(&self) -> bool {
        self.equal
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            terminal::print_json(self);
            return;
        }
        terminal::print(&terminal::trimmed(&self.table().to_string()));
        for difference in &self.first_differences {
            terminal::print(&format!(
                "difference: {} at {}: expected {}, found {}\n",
                difference.file, difference.offset, difference.expected, difference.found
            ));
        }
        if let Some(trouble) = &self.trouble {
            terminal::print(&format!("trouble: {trouble}\n"));
        }
        terminal::print(&self.verdict());
    }

    fn verdict(&self) -> String {
        if self.equal {
            format!("every byte of {} is equal\n", size(self.data_bytes))
        } else {
            format!("NOT EQUAL: {} differences\n", count(self.differences))
        }
    }

    fn table(&self) -> Table {
        let mut table = terminal::table();
        let mut row = |name: &str, text: String| {
            table.add_row([Cell::new(name), Cell::new(text)]);
        };
        row("data", self.data_line());
        row(
            "RAM budget",
            format!("{}, {} engine", size(self.ram_bytes), self.engine),
        );
        row("peak resident", self.peak_line());
        row("page file", self.page_file_line());
        row(
            "compressed pool",
            format!(
                "{} of pages in {} of RAM",
                size(self.pool.stored_bytes),
                size(self.pool.ram_bytes)
            ),
        );
        row("faults", self.faults_line());
        row(
            "fault latency",
            quantiles_line(self.fault_latency_ns.as_ref()),
        );
        row("load", throughput_line(&self.load));
        row(
            "look-ups",
            format!(
                "{} in {:.1} s: {}/s, {}",
                count(self.lookups.count),
                self.lookups.seconds,
                count(self.lookups.per_second as u64),
                quantiles_line(self.lookups.latency_ns.as_ref())
            ),
        );
        row("compare", throughput_line(&self.verify));
        row("files skipped", self.skipped_line());
        table
    }

    fn data_line(&self) -> String {
        let rounds = match self.files.rounds {
            1 => String::new(),
            rounds => format!(", {} times", count(rounds)),
        };
        format!(
            "{}: {} files of {}{rounds}; {} reserved",
            size(self.data_bytes),
            count(self.files.loaded as u64),
            self.folder,
            size(self.reserved_bytes)
        )
    }

    fn peak_line(&self) -> String {
        let judgement = match (self.peak_limit_bytes, self.peak_within_limit) {
            (Some(limit), Some(true)) => format!("within {}", size(limit)),
            (Some(limit), _) => format!("ABOVE {}", size(limit)),
            _ => "no limit with this engine".to_owned(),
        };
        let cache = match self.peak.page_cache_counted {
            true => size(self.peak.page_cache_bytes),
            false => "not countable".to_owned(),
        };
        format!(
            "{}, {judgement}\n{} anonymous, {cache} file cache, {} page tables",
            size(self.peak.total_bytes),
            size(self.peak.anonymous_bytes),
            size(self.peak.page_table_bytes)
        )
    }

    fn page_file_line(&self) -> String {
        let file = &self.page_file;
        format!(
            "{} used of {} allocated\n{} written, {} read",
            size(file.used_bytes),
            size(file.allocated_bytes),
            size(file.written_bytes),
            size(file.read_bytes)
        )
    }

    fn faults_line(&self) -> String {
        let faults = &self.faults;
        let how = if faults.exact { "" } else { " (sampled)" };
        format!(
            "{} first touches, {} soft\n{} from the pool, {} from the page file{how}\nthe kernel counts \
             {} minor, {} major",
            count(faults.zero),
            count(faults.soft),
            count(faults.pool),
            count(faults.hard),
            count(faults.process_minor),
            count(faults.process_major)
        )
    }

    fn skipped_line(&self) -> String {
        let files = &self.files;
        let folders = match files.folders_unreadable {
            0 => String::new(),
            folders => format!("; {} folders not readable", count(folders)),
        };
        format!(
            "{} changed, {} not readable{folders}",
            count(files.skipped_changed),
            count(files.skipped_unreadable)
        )
    }
}

fn faults(status: &SpaceStatus, before: ProcessFaults) -> Faults {
    let now = process_faults().unwrap_or(before);
    let total = &status.total;
    Faults {
        zero: total.zero_faults,
        soft: total.soft_faults,
        pool: total.pool_faults,
        hard: total.hard_faults,
        exact: total.faults == Exactness::Exact,
        process_minor: now.minor.saturating_sub(before.minor),
        process_major: now.major.saturating_sub(before.major),
    }
}

fn quantiles(of: impl Fn(f64) -> Option<u64>) -> Option<Quantiles> {
    Some(Quantiles {
        p50: of(0.5)?,
        p99: of(0.99)?,
    })
}

fn quantiles_line(quantiles: Option<&Quantiles>) -> String {
    quantiles.map_or("not measured".to_owned(), |found| {
        format!(
            "p50 < {}, p99 < {}",
            nanoseconds(found.p50),
            nanoseconds(found.p99)
        )
    })
}

fn throughput_line(done: &Throughput) -> String {
    format!(
        "{} in {:.1} s: {} MB/s",
        size(done.bytes),
        done.seconds,
        count(done.megabytes_per_second as u64)
    )
}
