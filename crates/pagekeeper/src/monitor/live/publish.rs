//! The thread that answers readers.

use core::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use pagekeeper_sys::descriptor::KeptDescriptor;
use pagekeeper_sys::lock::SignalsBlocked;
use pagekeeper_sys::shared_file::{OwnedFile, wait_shared, wake_shared};
use pagekeeper_sys::time::thread_processor_time;

use super::super::sums::now_ms;
use super::layout::{self, word};
use super::{collect, requests};
use crate::inside;

/// Of a processor, the part that answering may take: a fiftieth. What takes longer is done less often, and readers get what was
/// written last.
const REST: u32 = 50;
/// Answers that are so quick are always fresh.
const QUICK: Duration = Duration::from_millis(1);
/// Regions that nobody asked for in this time are forgotten, with the RAM that they use; not before they may be listed again.
const IDLE: Duration = Duration::from_secs(30);
/// Stack of the thread in bytes.
const STACK_BYTES: usize = 256 << 10;

/// The mark of the process that has a publisher.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Starts telling, once in a process. Where it cannot be done, others see what `/proc` shows.
pub(crate) fn start() {
    let mark = crate::fork::process_mark();
    let before = STARTED.load(Ordering::Relaxed);
    if before == mark
        || STARTED
            .compare_exchange(before, mark, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    let Ok((file, descriptor)) = OwnedFile::create(layout::NAME, layout::PAGES) else {
        return;
    };
    let words = file.words();
    words[word::VERSION].store(layout::VERSION, Ordering::Relaxed);
    words[word::OWNER].store(std::process::id(), Ordering::Relaxed);
    words[word::MAGIC].store(layout::MAGIC, Ordering::Release);
    let _blocked = SignalsBlocked::new();
    let thread = std::thread::Builder::new()
        .name("pk-live".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // What it allocates must not lie in paged memory: with all signals blocked a touch would be the end.
            inside::stay();
            Publisher::new(file).run();
        });
    if thread.is_ok() {
        // It stays open for the rest of the process's life, out of the program's way.
        match KeptDescriptor::keep(descriptor) {
            Ok(kept) => core::mem::forget(kept),
            Err(errno) => tracing::debug!(%errno, "nobody can look into this process"),
        }
    }
}

/// A part of the file: where it lies, how much room it has, and the word that says how many bytes it is.
struct Part {
    at: usize,
    room: usize,
    count: usize,
}

const FIGURES: Part = Part {
    at: layout::FIGURES_AT,
    room: layout::FIGURES_ROOM,
    count: word::FIGURE_BYTES,
};
const REGIONS: Part = Part {
    at: layout::REGIONS_AT,
    room: layout::REGIONS_ROOM,
    count: word::REGION_BYTES,
};

struct Publisher {
    file: OwnedFile,
    figures: Work,
    regions: Work,
    has_regions: bool,
    /// When somebody last asked for them.
    asked: Instant,
}

/// Something that is written down again and again.
#[derive(Default)]
struct Work {
    /// When it was last done, and how much processor time that took.
    last: Option<(Instant, Duration)>,
}

impl Work {
    /// Whether enough time has passed since the last time.
    fn is_due(&self) -> bool {
        self.last
            .is_none_or(|(end, took)| took < QUICK || end.elapsed() > took * REST)
    }

    /// It is done; `start` is what the thread had used of the processor before.
    fn done(&mut self, start: Duration) {
        let took = thread_processor_time().saturating_sub(start);
        self.last = Some((Instant::now(), took));
    }
}

impl Publisher {
    fn new(file: OwnedFile) -> Self {
        Self {
            file,
            figures: Work::default(),
            regions: Work::default(),
            has_regions: false,
            asked: Instant::now(),
        }
    }

    /// For ever. All signals are blocked, so nothing here touches paged memory.
    fn run(mut self) {
        let mut answered = 0;
        loop {
            let ticket = self.file.words()[word::TICKET].load(Ordering::Acquire);
            if ticket == answered {
                let timeout = self.has_regions.then_some(IDLE);
                wait_shared(&self.file.words()[word::TICKET], ticket, timeout);
                self.forget_regions();
                continue;
            }
            self.answer();
            answered = ticket;
            let words = self.file.words();
            words[word::ANSWERED].store(ticket, Ordering::Release);
            wake_shared(&words[word::ANSWERED]);
        }
    }

    fn answer(&mut self) {
        let wanted = self.file.words()[word::WANTED].swap(0, Ordering::AcqRel);
        if wanted & layout::ONE_PAGE != 0 {
            requests::answer(&self.file);
        }
        if wanted & layout::FIGURES != 0 && self.figures.is_due() {
            let start = thread_processor_time();
            let (figures, is_whole) = collect::figures();
            // Half of it would look as if counters ran backwards: readers keep what was told before.
            let is_first = self.file.words()[word::FIGURE_BYTES].load(Ordering::Relaxed) == 0;
            if is_whole || is_first {
                // Before the regions, which may take long.
                self.write(&FIGURES, &figures.encode());
            }
            self.figures.done(start);
        }
        if wanted & layout::REGIONS != 0 {
            self.asked = Instant::now();
            if self.regions.is_due() {
                let (start, taken_at_ms) = (thread_processor_time(), now_ms());
                let listed = collect::regions(&|| self.meanwhile());
                let took_ms = now_ms().saturating_sub(taken_at_ms);
                if listed.is_whole {
                    let bytes = listed.encode(taken_at_ms, took_ms);
                    self.has_regions |= self.write(&REGIONS, &bytes);
                }
                self.regions.done(start);
            }
        }
    }

    /// While regions are being listed: says that it goes on, and answers who wants one page only.
    fn meanwhile(&self) {
        let words = self.file.words();
        words[word::BEAT].fetch_add(1, Ordering::Relaxed);
        let one_page = layout::ONE_PAGE;
        if words[word::WANTED].load(Ordering::Relaxed) & one_page != 0
            && words[word::WANTED].fetch_and(!one_page, Ordering::AcqRel) & one_page != 0
        {
            requests::answer(&self.file);
            wake_shared(&words[word::ANSWERED]);
        }
    }

    /// Replaces a part of what readers see, if the new one fits. Both do: their counts are limited, and notes that are longer are
    /// no use to anybody.
    fn write(&self, part: &Part, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= part.room;
        if fits {
            self.change(|| {
                self.file.write(part.at, bytes);
                self.file.words()[part.count].store(bytes.len() as u32, Ordering::Relaxed);
            });
        }
        fits
    }

    /// Runs what changes what readers see. They notice when they read meanwhile, and read again.
    fn change(&self, run: impl FnOnce()) {
        let sequence = &self.file.words()[word::SEQUENCE];
        sequence.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        run();
        fence(Ordering::SeqCst);
        sequence.fetch_add(1, Ordering::AcqRel);
    }

    fn forget_regions(&mut self) {
        if !self.has_regions || self.asked.elapsed() <= IDLE || !self.regions.is_due() {
            return;
        }
        self.change(|| {
            self.file.words()[word::REGION_BYTES].store(0, Ordering::Relaxed);
            // Where the kernel does not take it back, it is used again for the next answer.
            let _ = self.file.release_from(layout::REGIONS_AT);
        });
        self.has_regions = false;
    }
}
