//! Reading ahead: while the program works on one run of a stream, the next is on its way from the disk.
//!
//! A fault reads an extent at most and waits for it. While its pages are then checked, copied and looked at by the program, the
//! disk has nothing to do. So a fault that reads most of an extent, which only streams do, orders the next ones: threads of
//! the working set read slots into buffers of their own. They know nothing of pages, and take no lock that a fault takes. The
//! fault that wants the pages later compares each with the checksum that is kept for its slot *then*: a slot that was
//! given up or written anew meanwhile does not match, and is read as usual.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lends buffers to whoever won their state word"
)]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use pagekeeper_store::page_file::Slot;
use pagekeeper_sys::lock::{Event, SignalsBlocked, WaitWord};
use pagekeeper_sys::map::{Purpose, SharedBytes, Treatment};
use pagekeeper_units::{PAGE_SIZE, PageCount};

use super::extent::EXTENT_PAGES;
use super::working_set::WorkingSet;
use crate::error::EngineError;
use crate::inside;

/// Threads that read, hence reads in flight: a disk that serves several at once serves a stream faster than one by one.
const READERS: usize = 3;
/// One is copied from, each thread reads into one, and two are ordered: the disk need not wait for a thread to wake up.
pub(super) const BUFFERS: usize = 1 + READERS + 2;
/// Shorter runs are not worth a thread's wake-up.
const RUN_MIN: u64 = 16;
/// After so many later orders a run that nobody took is old: more than several streams have at once.
const OLD: u64 = 16;
/// How long a fault waits for a read that is on its way, at one look, and how often it looks. Then it reads by itself.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 50;
/// Nobody ordered for so long: the buffers' memory goes back.
const NAP: Duration = Duration::from_millis(500);
/// Stack of the thread in bytes.
const STACK_BYTES: usize = 128 << 10;

/// What a buffer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    /// Somebody wants the run; nobody has begun.
    Ordered,
    /// The thread reads into it.
    Reading,
    /// The run's bytes are in it, unchecked.
    Ready,
    /// A fault copies from it.
    InUse,
}

/// A buffer's state and run in one word, so that they change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    state: State,
    slot: u32,
    count: u8,
}

impl Word {
    const EMPTY: Self = Self {
        state: State::Empty,
        slot: 0,
        count: 0,
    };

    const fn bits(self) -> u64 {
        (self.slot as u64) << 32 | (self.count as u64) << 8 | self.state as u64
    }

    const fn from_bits(bits: u64) -> Self {
        let state = match bits & 0xFF {
            1 => State::Ordered,
            2 => State::Reading,
            3 => State::Ready,
            4 => State::InUse,
            _ => State::Empty,
        };
        Self {
            state,
            slot: (bits >> 32) as u32,
            count: (bits >> 8) as u8,
        }
    }

    const fn with(self, state: State) -> Self {
        Self { state, ..self }
    }

    fn is_for(self, slot: u32, count: u64) -> bool {
        self.slot == slot && u64::from(self.count) >= count
    }
}

#[derive(Debug, Default)]
struct Buffer {
    word: AtomicU64,
    /// Which order it was, counted from the first.
    order: AtomicU64,
    /// Whether its pages may hold memory.
    has_memory: AtomicBool,
    /// Moves when a read has ended.
    ended: WaitWord,
}

impl Buffer {
    fn load(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn change(&self, from: Word, to: Word) -> bool {
        self.word
            .compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

/// See the module text.
#[derive(Debug)]
pub(crate) struct ReadingAhead {
    bytes: SharedBytes,
    buffers: [Buffer; BUFFERS],
    orders: AtomicU64,
    ordered: Event,
    /// Whether there are threads, or never will be.
    is_settled: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A buffer that holds a run that was read ahead. Empty when dropped.
pub(crate) struct RunAhead<'set> {
    buffer: &'set Buffer,
    bytes: &'set [u8],
}

impl RunAhead<'_> {
    /// The pages as they were read: to be compared with their checksums before they are used.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for RunAhead<'_> {
    fn drop(&mut self) {
        self.buffer
            .word
            .store(Word::EMPTY.bits(), Ordering::Release);
    }
}

impl ReadingAhead {
    /// Buffers without memory and without a thread: both come with the first order.
    pub(crate) fn new() -> Result<Self, EngineError> {
        let pages = PageCount::new(BUFFERS as u64 * EXTENT_PAGES);
        let treatment = Treatment::NO_HUGE_PAGES | Treatment::NOT_DUMPED | Treatment::NOT_INHERITED;
        Ok(Self {
            bytes: SharedBytes::new(pages, treatment, Purpose::Buffers)
                .map_err(EngineError::AddressSpace)?,
            buffers: Default::default(),
            orders: AtomicU64::new(0),
            ordered: Event::new(),
            is_settled: AtomicBool::new(false),
            threads: Mutex::default(),
        })
    }

    /// A run of a stream that will be wanted soon; `wanted_now` is the one that the caller is about to take, `distance` says how
    /// many runs lie between. Whether somebody has to start the threads. For the fault path.
    pub(crate) fn order(&self, slot: u32, count: u64, wanted_now: u32, distance: u64) -> bool {
        let words = || self.buffers.iter().map(|buffer| (buffer, buffer.load()));
        let has_it = |word: Word| word.state != State::Empty && word.slot == slot;
        let is_worth_it = (RUN_MIN..=EXTENT_PAGES).contains(&count);
        if !is_worth_it || words().any(|(_, word)| has_it(word)) {
            return false;
        }
        // What nobody took while so many others were ordered belongs to a stream that has ended: another one's next run is not
        // thrown away, or two streams would read everything twice.
        let now = self.orders.load(Ordering::Relaxed);
        let is_old = |buffer: &Buffer, word: Word| {
            let age = now.saturating_sub(buffer.order.load(Ordering::Relaxed));
            word.state == State::Ready && word.slot != wanted_now && age >= OLD
        };
        let free = words()
            .find(|(_, word)| word.state == State::Empty)
            .or_else(|| words().find(|(buffer, word)| is_old(buffer, *word)));
        let order = Word {
            state: State::Ordered,
            slot,
            count: count as u8,
        };
        if let Some((buffer, word)) = free
            && buffer.change(word, order)
        {
            let number = self.orders.fetch_add(1, Ordering::Relaxed);
            buffer.order.store(number, Ordering::Relaxed);
            self.ordered.set();
        } else if distance == 0 {
            // Only who has not even the next run waits for others to grow old: a stream that has it has its share.
            self.orders.fetch_add(1, Ordering::Relaxed);
        }
        !self.is_settled.load(Ordering::Relaxed)
    }

    /// The run at `slot`, if it was ordered and read, or is being read: then the caller waits. For the fault path, without
    /// a lock held.
    pub(crate) fn take(&self, slot: u32, count: u64) -> Option<RunAhead<'_>> {
        let place = self
            .buffers
            .iter()
            .position(|buffer| buffer.load().is_for(slot, count))?;
        let buffer = self.buffers.get(place)?;
        for _ in 0..LOOKS {
            let seen = buffer.ended.current();
            let word = buffer.load();
            if !word.is_for(slot, count) {
                return None;
            }
            match word.state {
                State::Empty | State::InUse => return None,
                // Nobody has begun: it is faster to read it here.
                State::Ordered => {
                    buffer.change(word, Word::EMPTY);
                }
                State::Reading => {
                    buffer.ended.wait(seen, Some(LOOK));
                }
                State::Ready if buffer.change(word, word.with(State::InUse)) => {
                    // SAFETY: whoever moved the word from `Ready` to `InUse` is alone with the buffer until it is empty.
                    let bytes = unsafe { self.bytes.slice(span(place, count as usize)) };
                    return bytes.ok().map(|bytes| RunAhead { buffer, bytes });
                }
                State::Ready => {}
            }
        }
        None
    }

    /// As if a run had been read into the first buffer.
    #[cfg(test)]
    pub(crate) fn pretend_read(&self, slot: u32, bytes: &[u8]) {
        let word = Word {
            state: State::Ready,
            slot,
            count: (bytes.len() / PAGE_SIZE) as u8,
        };
        self.bytes.copy_in(0, bytes).expect("a run");
        self.buffers[0].word.store(word.bits(), Ordering::Release);
    }

    /// Bytes of RAM in use beside the budget.
    pub(crate) fn bytes(&self) -> u64 {
        let holds = |buffer: &&Buffer| buffer.has_memory.load(Ordering::Relaxed);
        let buffers = self.buffers.iter().filter(holds).count();
        span(buffers, 0).start as u64
    }

    /// Starts the thread if somebody ordered and there is none. User context.
    pub(crate) fn start_if_wanted(&self, set: &Arc<WorkingSet>) {
        if !self.is_any_ordered() || self.is_settled.swap(true, Ordering::Relaxed) {
            return;
        }
        let weak = Arc::downgrade(set);
        let _blocked = SignalsBlocked::new();
        // Without a thread every fault reads by itself: slower, nothing else.
        let reader = |_| {
            let weak = Weak::clone(&weak);
            std::thread::Builder::new()
                .name("pk-ahead".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || run(&weak))
                .ok()
        };
        *self.threads() = (0..READERS).filter_map(reader).collect();
    }

    /// Ends the threads and waits for them; the set's `stop` is set already.
    pub(crate) fn shut_down(&self) {
        let threads = core::mem::take(&mut *self.threads());
        // The one that sees it passes it on.
        self.ordered.set();
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn is_any_ordered(&self) -> bool {
        let is_ordered = |buffer: &Buffer| buffer.load().state == State::Ordered;
        self.buffers.iter().any(is_ordered)
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is ordered.
    fn work_off(&self, set: &WorkingSet) {
        for (place, buffer) in self.buffers.iter().enumerate() {
            let order = buffer.load();
            let reading = order.with(State::Reading);
            if order.state != State::Ordered || !buffer.change(order, reading) {
                continue;
            }
            if self.is_any_ordered() {
                // Orders that came together woke one thread.
                self.ordered.set();
            }
            buffer.has_memory.store(true, Ordering::Relaxed);
            // SAFETY: whoever moved the word to `Reading` is alone with the buffer until it moves on.
            let bytes = unsafe { self.bytes.slice_mut(span(place, usize::from(order.count))) };
            let is_read = bytes.is_ok_and(|bytes| {
                let slot = Slot::from_bits(order.slot);
                set.files().read_unchecked(slot, bytes).is_ok()
            });
            let result = match is_read {
                true => order.with(State::Ready),
                false => Word::EMPTY,
            };
            buffer.word.store(result.bits(), Ordering::Release);
            buffer.ended.wake_all();
        }
    }

    /// Forgets what nobody took, and gives the memory back. Whether none is left.
    fn rest(&self) -> bool {
        for (place, buffer) in self.buffers.iter().enumerate() {
            let word = buffer.load();
            let is_idle = matches!(word.state, State::Empty | State::Ready);
            if is_idle && buffer.change(word, word.with(State::InUse)) {
                // SAFETY: as in `take`.
                let _ = unsafe { self.bytes.discard(span(place, EXTENT_PAGES as usize)) };
                buffer.has_memory.store(false, Ordering::Relaxed);
                buffer.word.store(Word::EMPTY.bits(), Ordering::Release);
            }
        }
        self.bytes() == 0
    }
}

/// Where a buffer's first pages are among the bytes.
fn span(place: usize, pages: usize) -> core::ops::Range<usize> {
    let start = place * EXTENT_PAGES as usize * PAGE_SIZE;
    start..start + pages * PAGE_SIZE
}

fn run(set: &Weak<WorkingSet>) {
    inside::stay();
    // With no memory to give back there is nothing to wake up for but an order or the end.
    let mut is_at_rest = false;
    while let Some(set) = set.upgrade() {
        let nap = (!is_at_rest).then_some(NAP);
        let before = set.ahead().orders.load(Ordering::Relaxed);
        let is_ordered = set.ahead().ordered.wait(nap);
        if set.stop.load(Ordering::Acquire) {
            set.ahead().ordered.set();
            return;
        }
        if is_ordered {
            set.ahead().work_off(&set);
            is_at_rest = false;
        } else if set.ahead().orders.load(Ordering::Relaxed) == before {
            // Nor had another thread anything to do.
            is_at_rest = set.ahead().rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(ahead: &ReadingAhead, place: usize, slot: u32) {
        let word = Word {
            state: State::Ready,
            slot,
            count: 64,
        };
        ahead.buffers[place]
            .word
            .store(word.bits(), Ordering::Release);
    }

    #[test]
    fn state_and_run_survive_the_word() {
        for state in [
            State::Empty,
            State::Ordered,
            State::Reading,
            State::Ready,
            State::InUse,
        ] {
            let word = Word {
                state,
                slot: 0xFFFF_FFFE,
                count: 64,
            };
            assert_eq!(Word::from_bits(word.bits()), word);
        }
    }

    #[test]
    fn a_run_is_ordered_once_and_short_ones_never() {
        let ahead = ReadingAhead::new().unwrap();
        ahead.order(500, RUN_MIN - 1, 0, 0);
        ahead.order(500, EXTENT_PAGES + 1, 0, 0);
        assert!(ahead.buffers.iter().all(|b| b.load() == Word::EMPTY));
        assert!(ahead.order(500, 64, 0, 0), "there is no thread yet");
        ahead.order(500, 64, 0, 0);
        assert_eq!(ahead.buffers[1].load(), Word::EMPTY);
        for more in 1..=BUFFERS as u32 {
            ahead.order(500 + 100 * more, 64, 0, 0);
        }
        let slots = ahead.buffers.each_ref().map(|buffer| buffer.load().slot);
        let wanted = core::array::from_fn(|place| 500 + 100 * place as u32);
        assert_eq!(slots, wanted, "no buffer is free for the last");
    }

    #[test]
    fn what_nobody_took_makes_room_but_not_what_is_about_to_be_taken() {
        let ahead = ReadingAhead::new().unwrap();
        ready(&ahead, 0, 100);
        for place in 1..BUFFERS {
            ready(&ahead, place, 200);
        }
        for _ in 0..OLD {
            ahead.order(300, 64, 100, 0);
            assert_eq!(
                ahead.buffers[1].load().slot,
                200,
                "another stream's next run"
            );
        }
        ahead.order(300, 64, 100, 0);
        assert_eq!(ahead.buffers[0].load().slot, 100);
        assert_eq!(ahead.buffers[1].load().state, State::Ordered);
        let run = ahead.take(100, 64).expect("it is there");
        assert_eq!(run.bytes().len(), 64 * PAGE_SIZE);
        assert!(ahead.take(100, 64).is_none(), "it is in use");
        drop(run);
        assert_eq!(ahead.buffers[0].load(), Word::EMPTY);
        assert!(ahead.take(100, 64).is_none());
    }

    /// Two streams by turns: what was read for one is still there when it comes to it.
    #[test]
    fn two_streams_leave_each_other_what_was_read_for_them() {
        let ahead = ReadingAhead::new().unwrap();
        let read_all = || {
            for buffer in &ahead.buffers {
                let word = buffer.load();
                if word.state == State::Ordered {
                    assert!(buffer.change(word, word.with(State::Ready)));
                }
            }
        };
        let is_there = |slot| {
            ahead
                .buffers
                .iter()
                .any(|buffer| buffer.load().slot == slot)
        };
        let mut ordered = std::collections::HashSet::new();
        for step in 0..200_u32 {
            for stream in [0, 1_000_000] {
                let now = stream + step * 64;
                drop(ahead.take(now, 64));
                let runs = (now + 64..).step_by(64).take(BUFFERS - 1);
                for (distance, slot) in (0..).zip(runs) {
                    let was_there = is_there(slot);
                    ahead.order(slot, 64, now, distance);
                    if is_there(slot) && !was_there {
                        assert!(ordered.insert(slot), "slot {slot} is read twice");
                    }
                }
                read_all();
            }
        }
        assert!(ordered.len() > 300, "{}", ordered.len());
    }

    #[test]
    fn a_run_that_nobody_has_begun_or_that_is_too_short_is_not_waited_for() {
        let ahead = ReadingAhead::new().unwrap();
        ahead.order(500, 32, 0, 0);
        assert!(ahead.take(500, 33).is_none());
        assert_eq!(ahead.buffers[0].load().state, State::Ordered);
        assert!(ahead.take(500, 32).is_none());
        assert_eq!(ahead.buffers[0].load(), Word::EMPTY, "taken off the list");
    }
}
