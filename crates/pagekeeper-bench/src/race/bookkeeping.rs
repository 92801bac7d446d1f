//! The turns of the two families that measure bookkeeping: metadata and calls.

use std::time::Duration;

use pagekeeper_sys::memory_info::MemoryInfo;
use pagekeeper_units::ByteCount;

use super::{METADATA, MONITOR, Race, Turn};
use crate::arguments::Options;
use crate::contender::{ContenderKind, Place};
use crate::job::Work;
use crate::patterns::monitor::{Load, REGIONS};
use crate::patterns::{calls, heap, metadata, monitor, views};

impl Race<'_> {
    pub(super) fn metadata(&mut self) {
        let commits = self.options.commits();
        let place = Place {
            ram: ByteCount::new(self.results.asked.metadata_ram_bytes),
            folder: self.folder.clone(),
        };
        let mut racers = self.wanted(&METADATA);
        for repeat in 1..=self.options.repeat() {
            racers.retain(|&contender| {
                eprintln!(
                    "metadata: {repeat} of {}: {}",
                    self.options.repeat(),
                    contender.name()
                );
                let job = metadata::Job {
                    contender,
                    place: place.clone(),
                    commits,
                };
                let (warm, limit) = (commits * 4096 + (256 << 20), Duration::from_secs(900));
                let turn: Turn<metadata::Report> = self.turn(
                    "metadata",
                    contender,
                    &place,
                    0,
                    warm,
                    Work::Metadata(job),
                    limit,
                );
                match turn {
                    Turn::Done(report, _) => {
                        self.note_differences("metadata", contender, report.wrong_words, true);
                        for (name, value) in report.figures {
                            self.add("metadata", &name, contender, "value", value);
                        }
                    }
                    Turn::Lost => {}
                    Turn::Out => return false,
                }
                true
            });
        }
    }

    pub(super) fn calls(&mut self) {
        let most = self.options.commits();
        let place = Place {
            ram: ByteCount::new(self.results.asked.metadata_ram_bytes),
            folder: self.folder.clone(),
        };
        let cases: Vec<(u64, u64)> = calls::alive(most)
            .into_iter()
            .flat_map(|alive| calls::THREADS.map(|threads| (alive, threads)))
            .collect();
        let mut racers = self.wanted(&METADATA);
        for repeat in 1..=self.options.repeat() {
            eprintln!("calls: {repeat} of {}", self.options.repeat());
            // Each case by all contenders in turn, so that they share the machine's moods.
            for &(alive, threads) in &cases {
                racers.retain(|&contender| {
                    let job = calls::Job {
                        contender,
                        place: place.clone(),
                        alive,
                        threads,
                        calls: (most / 50).max(1_000),
                    };
                    if contender == ContenderKind::Mapped && job.is_scattered() {
                        let reason = format!(
                            "with {alive} reservations its commits lie scattered over gigabytes, and each takes a piece of 2 MiB of the page file (docs/engines.md)"
                        );
                        self.results.skip("calls", contender, reason, false);
                        return true;
                    }
                    let (warm, limit) = (256 << 20, Duration::from_secs(300));
                    let work = Work::Calls(job);
                    let turn: Turn<calls::Report> =
                        self.turn("calls", contender, &place, 0, warm, work, limit);
                    match turn {
                        Turn::Done(report, _) => {
                            for (call, ns) in report.figures {
                                let cell = calls::cell(&call, alive, threads);
                                self.add("calls", &cell, contender, "ns", ns);
                            }
                            true
                        }
                        Turn::Lost => true,
                        Turn::Out => false,
                    }
                });
            }
        }
    }

    /// Heaps and other allocators in turn.
    pub(super) fn heap(&mut self) {
        let place = Place {
            ram: ByteCount::gib(1),
            folder: self.folder.clone(),
        };
        let calls = if self.options.quick {
            20_000
        } else {
            4_000_000
        };
        for repeat in 1..=self.options.repeat() {
            eprintln!("heap: {repeat} of {}", self.options.repeat());
            for threads in heap::THREADS {
                for allocator in heap::Allocator::ALL {
                    let contender = allocator.contender();
                    if !self.options.wants_contender(contender) {
                        continue;
                    }
                    let work = Work::Heap(heap::Job {
                        allocator,
                        place: place.clone(),
                        threads,
                        calls,
                    });
                    let (warm, limit) = (256 << 20, Duration::from_secs(300));
                    let turn: Turn<heap::Report> =
                        self.turn("heap", contender, &place, 0, warm, work, limit);
                    if let Turn::Done(report, _) = turn {
                        for (pattern, ns) in report.figures {
                            let cell = heap::cell(&pattern, threads);
                            self.add("heap", &cell, contender, allocator.metric(), ns);
                        }
                    }
                }
            }
        }
    }
}

impl Race<'_> {
    /// Mapped files, in turn.
    pub(super) fn views(&mut self) {
        for repeat in 1..=self.options.repeat() {
            for size in views::Size::ALL {
                for threads in views::THREADS {
                    for contender in self.wanted(&views::CONTENDERS) {
                        eprintln!(
                            "views: {repeat} of {}: {}, {}",
                            self.options.repeat(),
                            size.cell("all", threads),
                            contender.name()
                        );
                        self.view(size, threads, contender, repeat);
                    }
                }
            }
        }
    }

    fn view(&mut self, size: views::Size, threads: u64, contender: ContenderKind, repeat: u32) {
        let (data, ram) = match size {
            views::Size::Fits => {
                let fitting = self.options.fitting().get();
                (fitting, ByteCount::new(fitting * 3))
            }
            views::Size::Larger => (self.options.data().get(), self.options.ram()),
        };
        let place = Place {
            ram,
            folder: self.folder.clone(),
        };
        let seconds = self.options.seconds().min(2.0);
        let work = Work::Views(views::Job {
            contender,
            place: place.clone(),
            size,
            data_bytes: data,
            threads,
            seconds,
            seed: self.options.seed + u64::from(repeat),
        });
        let limit = Duration::from_secs_f64(60.0 + 4.0 * seconds + data as f64 / 1e6);
        let turn: Turn<views::Report> =
            self.turn("views", contender, &place, data, data, work, limit);
        if let Turn::Done(report, _) = turn {
            self.note_differences("views", contender, report.wrong_pages, true);
            for (what, ns) in report.figures {
                self.add("views", &size.cell(&what, threads), contender, "ns", ns);
            }
            let memory = size.cell("memory", threads);
            let cached = report.peak.page_cache as f64;
            self.add("views", &memory, contender, "page cache bytes", cached);
            if let Some(bytes) = report.mapped_peak_bytes {
                self.add("views", &memory, contender, "mapped bytes", bytes as f64);
            }
        }
    }
}

/// Seconds of a slice of work that is watched, with one look, or not; pairs of these in each process.
const MONITOR_SLICE: f64 = 0.25;
const MONITOR_PAIRS: u32 = 60;

impl Race<'_> {
    /// Work that is watched and not watched, by turns within one child.
    pub(super) fn monitor(&mut self) {
        for repeat in 1..=self.options.repeat() {
            let loads = Load::ALL.into_iter();
            for (load, regions) in loads.flat_map(|load| REGIONS.map(|regions| (load, regions))) {
                for contender in self.wanted(&MONITOR) {
                    let Some(engine) = contender.engine() else {
                        continue;
                    };
                    eprintln!(
                        "monitor: {repeat} of {}: {}, {}",
                        self.options.repeat(),
                        load.cell(regions),
                        contender.name()
                    );
                    let data = match load {
                        Load::Fits => ByteCount::new(self.options.ram().get() / 2),
                        Load::Pages => self.options.data(),
                    };
                    let place = Place {
                        ram: self.options.ram(),
                        folder: self.folder.clone(),
                    };
                    let job = monitor::Job {
                        engine: engine.name().to_owned(),
                        place: place.clone(),
                        load,
                        regions,
                        data_bytes: data.get(),
                        seconds: MONITOR_SLICE,
                        pairs: if self.options.quick { 3 } else { MONITOR_PAIRS },
                        seed: self.options.seed + u64::from(repeat),
                    };
                    let seconds = job.seconds * 2.0 * f64::from(job.pairs);
                    let limit = Duration::from_secs_f64(120.0 + 3.0 * seconds);
                    let work = Work::Monitor(job);
                    let turn: Turn<monitor::Report> = self.turn(
                        "monitor",
                        contender,
                        &place,
                        0,
                        data.get() + (64 << 20),
                        work,
                        limit,
                    );
                    if let Turn::Done(report, _) = turn {
                        self.collect_monitor(&load.cell(regions), contender, &report);
                    }
                }
            }
        }
    }

    fn collect_monitor(&mut self, cell: &str, contender: ContenderKind, report: &monitor::Report) {
        self.note_differences("monitor", contender, report.wrong_words, true);
        for (alone, watched) in &report.pairs {
            let lost = 1.0 - watched / alone;
            for (metric, value) in [
                ("alone operations/s", *alone),
                ("watched operations/s", *watched),
                ("lost ms", lost * MONITOR_SLICE * 1e3),
                ("cost %", lost * MONITOR_SLICE * 100.0),
            ] {
                self.add("monitor", cell, contender, metric, value);
            }
        }
        for took in &report.look_ms {
            self.add("monitor", cell, contender, "look ms", *took);
        }
    }
}

/// The budget for the metadata measurements: enough for all pages in RAM, with any engine, where the machine has twice
/// that; else the RAM of the other measurements, and the page file holds the rest.
pub(crate) fn metadata_ram(options: &Options) -> ByteCount {
    let wanted = options.commits() * 4096 * 5 / 2 + (256 << 20);
    let available = MemoryInfo::read().map_or(0, |info| info.available_bytes);
    if available >= wanted * 2 {
        ByteCount::new(wanted)
    } else {
        options.ram()
    }
}
