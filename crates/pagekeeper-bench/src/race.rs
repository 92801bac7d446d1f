//! The run: who is measured when. Contenders take turns (A B C, A B C), each turn in a child process of its own, after the
//! machine's memory was warmed.

mod bookkeeping;
mod calibrate;

pub(crate) use bookkeeping::metadata_ram;

use std::time::Duration;

use pagekeeper_units::ByteCount;

use crate::arguments::Options;
use crate::contender::{ContenderKind, Place, Stage, StagePeak};
use crate::content::DataKind;
use crate::job::{self, Work};
use crate::patterns::access::Pattern;
use crate::patterns::paging::Cell;
use crate::patterns::{fits, paging};
use crate::results::Results;
use crate::usage::{Peak, Usage};

/// Who races when data is larger than RAM. Plain memory, which has all the RAM it wants, shows the ceiling.
const PAGING: [ContenderKind; 6] = [
    ContenderKind::Inline,
    ContenderKind::Mapped,
    ContenderKind::FileMapping,
    ContenderKind::SwapFile,
    ContenderKind::SwapZram,
    ContenderKind::PlainHuge,
];

/// Who races when data fits.
const FITS: [ContenderKind; 5] = [
    ContenderKind::PlainHuge,
    ContenderKind::Plain,
    ContenderKind::Inline,
    ContenderKind::Mapped,
    ContenderKind::Resident,
];

/// Who is asked for the cost of bookkeeping; plain memory stands for the kernel's own calls.
const METADATA: [ContenderKind; 4] = [
    ContenderKind::Plain,
    ContenderKind::Inline,
    ContenderKind::Mapped,
    ContenderKind::Resident,
];

/// Who is looked at.
const MONITOR: [ContenderKind; 2] = [ContenderKind::Inline, ContenderKind::Mapped];

/// Turns that one of the kernel's ways may fail before it is out.
const FAILURES: u32 = 4;

/// The name of the paging family with one kind of data.
pub(crate) fn paging_family(kind: DataKind) -> String {
    format!("paging/{}", kind.name())
}

/// A run in progress.
pub(crate) struct Race<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) results: Results,
}

/// What came of one turn.
enum Turn<T> {
    Done(T, StagePeak),
    /// Failed this time; the next may work.
    Lost,
    /// It will not work in further turns either; that has been noted.
    Out,
}

impl Race<'_> {
    /// All families that are wanted.
    pub(crate) fn run(&mut self) {
        let warm = self.results.asked.warmed_bytes;
        if warm > 0 {
            eprintln!("touching {} of memory", ByteCount::new(warm).human());
            self.warm(warm);
        }
        for kind in DataKind::ALL {
            self.paging(kind);
        }
        if self.options.wants("fits") {
            self.fits();
        }
        if self.options.wants("metadata") {
            self.metadata();
        }
        if self.options.wants("calls") {
            self.calls();
        }
        if self.options.wants("heap") {
            self.heap();
        }
        if self.options.wants("views") {
            self.views();
        }
        if self.options.wants("monitor") {
            self.monitor();
        }
    }

    fn paging(&mut self, kind: DataKind) {
        let family = paging_family(kind);
        let wanted = |cell: &str| self.options.wants(&format!("{family}/{cell}"));
        let cells: Vec<Cell> = Cell::all()
            .into_iter()
            .filter(|cell| wanted(&cell.name()))
            .collect();
        if cells.is_empty() && !wanted("fill") && !wanted("scan") {
            return;
        }
        let mut racers = Vec::new();
        for contender in self.wanted(&PAGING) {
            if contender == ContenderKind::SwapZram && kind == DataKind::Incompressible {
                let reason = "incompressible data does not become smaller in zram: the pool alone would be larger than the RAM";
                self.results
                    .skip(&family, contender, reason.to_owned(), false);
            } else if let Some(ram) = self.calibrated(&family, contender, kind) {
                self.results.add(
                    &family,
                    "memory",
                    contender,
                    "setting bytes",
                    ram.get() as f64,
                );
                racers.push((contender, ram));
            }
        }
        let repeats = self.options.repeat_uniform();
        for repeat in 1..=repeats {
            let is_whole = repeat <= self.options.repeat();
            let cells: Vec<Cell> = cells
                .iter()
                .filter(|cell| is_whole || cell.pattern == Pattern::Uniform)
                .copied()
                .collect();
            racers.retain(|&(contender, ram)| {
                eprintln!("{family}: {repeat} of {repeats}: {}", contender.name());
                let seed = self.options.seed + u64::from(repeat);
                let job = self.paging_job(contender, kind, ram, cells.clone(), seed);
                match self.paging_turn(&family, job) {
                    Turn::Done(report, peak) => {
                        self.collect_paging(&family, contender, &report, peak);
                        true
                    }
                    Turn::Lost => true,
                    Turn::Out => false,
                }
            });
        }
    }

    fn paging_job(
        &self,
        contender: ContenderKind,
        kind: DataKind,
        ram: ByteCount,
        cells: Vec<Cell>,
        seed: u64,
    ) -> paging::Job {
        paging::Job {
            contender,
            place: Place {
                ram,
                folder: self.folder.clone(),
            },
            kind,
            data_bytes: self.options.data().get(),
            hot_bytes: self.options.ram().get() / 2,
            cells,
            seconds: self.options.seconds(),
            seed,
        }
    }

    fn paging_turn(&mut self, family: &str, job: paging::Job) -> Turn<paging::Report> {
        let data = job.data_bytes;
        let warm = if job.contender.is_limited() {
            self.options.ram().get() * 2
        } else {
            data
        };
        // A megabyte a second is slower than any disk; hung engines are stopped.
        let seconds = 60.0 + 12.0 * job.seconds * (job.cells.len() + 1) as f64 + data as f64 / 1e6;
        let limit = Duration::from_secs_f64(seconds);
        let (contender, place) = (job.contender, job.place.clone());
        self.turn(
            family,
            contender,
            &place,
            data,
            warm,
            Work::Paging(job),
            limit,
        )
    }

    /// One turn: makes what the contender needs, warms the memory, runs the child, looks at the peak, takes everything
    /// away again.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it describes the one turn"
    )]
    fn turn<T: serde::de::DeserializeOwned>(
        &mut self,
        family: &str,
        contender: ContenderKind,
        place: &Place,
        data: u64,
        warm: u64,
        work: Work,
        limit: Duration,
    ) -> Turn<T> {
        self.warm(warm);
        let stage: Stage = match contender.contender().prepare(place, ByteCount::new(data)) {
            Ok(stage) => stage,
            Err(reason) => {
                eprintln!("{family}: {}: skipped, because {reason}", contender.name());
                self.results.skip(family, contender, reason, false);
                return Turn::Out;
            }
        };
        let ended = job::run(work, stage.cgroup_folder(), limit);
        let peak = stage.peak();
        drop(stage);
        match ended {
            Ok(report) => Turn::Done(report, peak),
            Err(error) => {
                eprintln!("{family}: {}: failed: {error:#}", contender.name());
                let turns = self
                    .results
                    .skip(family, contender, format!("{error:#}"), true);
                // The kernel's ways may kill a process in a tight control group now and then; the others go on.
                if contender.engine().is_none() && turns < FAILURES {
                    Turn::Lost
                } else {
                    Turn::Out
                }
            }
        }
    }

    /// Touches memory in a throw-away child.
    fn warm(&self, bytes: u64) {
        let warmed = job::run::<u64>(Work::Warm(bytes), None, Duration::from_secs(900));
        if let Err(error) = warmed {
            eprintln!("the memory could not be warmed: {error:#}");
        }
    }

    fn collect_paging(
        &mut self,
        family: &str,
        contender: ContenderKind,
        report: &paging::Report,
        kernel: StagePeak,
    ) {
        self.note_differences(family, contender, report.wrong_words, report.updates_agree);
        self.add(
            family,
            "fill",
            contender,
            "setup ms",
            report.setup_seconds * 1e3,
        );
        for (cell, phase) in [("fill", &report.fill), ("scan", &report.scan)] {
            self.add(
                family,
                cell,
                contender,
                "MB/s",
                phase.megabytes_per_second(),
            );
            self.add_usage(family, cell, contender, &phase.usage);
        }
        for (cell, phase) in &report.cells {
            let name = cell.name();
            self.add(family, &name, contender, "operations/s", phase.per_second());
            for (metric, value) in [("p50 us", phase.p50_us), ("p99 us", phase.p99_us)] {
                if let Some(value) = value {
                    self.add(family, &name, contender, metric, value);
                }
            }
            self.add_usage(family, &name, contender, &phase.usage);
            let operations = phase.operations.max(1) as f64;
            let (user, system) = (phase.usage.user_seconds, phase.usage.system_seconds);
            self.add(
                family,
                &name,
                contender,
                "user us/op",
                user * 1e6 / operations,
            );
            self.add(
                family,
                &name,
                contender,
                "system us/op",
                system * 1e6 / operations,
            );
        }
        self.add_peak(family, contender, &report.peak, kernel);
        for (name, value) in &report.figures {
            self.add(family, "figures", contender, name, *value);
        }
    }

    fn add_peak(&mut self, family: &str, contender: ContenderKind, own: &Peak, kernel: StagePeak) {
        let total = calibrate::total_of(own, kernel);
        let parts = [
            ("peak bytes", total),
            ("anonymous bytes", own.anonymous),
            ("page table bytes", own.page_tables),
            ("page cache bytes", own.page_cache),
        ];
        for (metric, value) in parts {
            self.add(family, "memory", contender, metric, value as f64);
        }
        for (metric, value) in [
            ("control group bytes", kernel.cgroup),
            ("zram pool bytes", kernel.pool),
        ] {
            if let Some(value) = value {
                self.add(family, "memory", contender, metric, value as f64);
            }
        }
    }

    fn add_usage(&mut self, family: &str, cell: &str, contender: ContenderKind, usage: &Usage) {
        for (metric, value) in [
            ("user s", usage.user_seconds),
            ("system s", usage.system_seconds),
            ("major faults", usage.major_faults as f64),
            ("minor faults", usage.minor_faults as f64),
            ("bytes read", usage.read_bytes as f64),
            ("bytes written", usage.write_bytes as f64),
        ] {
            self.add(family, cell, contender, metric, value);
        }
    }

    fn fits(&mut self) {
        let data = self.options.fitting();
        // Three times as much RAM as data: half of the mapped engine's is enough for it too.
        let place = Place {
            ram: ByteCount::new(data.get() * 3),
            folder: self.folder.clone(),
        };
        let mut racers = self.wanted(&FITS);
        let repeats = self.options.repeat_uniform();
        for repeat in 1..=repeats {
            racers.retain(|&contender| {
                eprintln!("fits: {repeat} of {repeats}: {}", contender.name());
                let job = fits::Job {
                    contender,
                    place: place.clone(),
                    data_bytes: data.get(),
                    seconds: self.options.seconds().min(1.0),
                    seed: self.options.seed + u64::from(repeat),
                };
                let (warm, limit) = (data.get() * 2, Duration::from_secs(120));
                let turn = self.turn(
                    "fits",
                    contender,
                    &place,
                    data.get(),
                    warm,
                    Work::Fits(job),
                    limit,
                );
                match turn {
                    Turn::Done(report, _) => self.collect_fits(contender, &report),
                    Turn::Lost => {}
                    Turn::Out => return false,
                }
                true
            });
        }
    }

    fn collect_fits(&mut self, contender: ContenderKind, report: &fits::Report) {
        self.note_differences("fits", contender, report.wrong_words, true);
        for (cell, metric, value) in [
            ("setup", "ms", report.setup_seconds * 1e3),
            ("touch", "ns", report.touch_ns),
            ("touch", "user s", report.touch_usage.user_seconds),
            ("touch", "system s", report.touch_usage.system_seconds),
            ("scattered-touch", "ns", report.scattered_touch_ns),
            ("read", "ns", report.read_ns),
            ("written", "bytes", report.written_bytes as f64),
            ("setup", "bytes", report.setup_written_bytes as f64),
            ("memory", "peak bytes", report.peak.total as f64),
        ] {
            self.add("fits", cell, contender, metric, value);
        }
    }

    fn wanted(&self, all: &[ContenderKind]) -> Vec<ContenderKind> {
        all.iter()
            .copied()
            .filter(|&kind| self.options.wants_contender(kind))
            .collect()
    }

    fn add(
        &mut self,
        family: &str,
        cell: &str,
        contender: ContenderKind,
        metric: &str,
        value: f64,
    ) {
        self.results.add(family, cell, contender, metric, value);
    }

    fn note_differences(
        &mut self,
        family: &str,
        contender: ContenderKind,
        wrong_words: u64,
        updates_agree: bool,
    ) {
        let mut note = |what: String| {
            let line = format!("{family}: {}: {what}", contender.name());
            eprintln!("DIFFERENCE: {line}");
            self.results.differences.push(line);
        };
        if wrong_words > 0 {
            note(format!("{wrong_words} words are not what was written"));
        }
        if !updates_agree {
            note("updates were lost or doubled".to_owned());
        }
    }
}
