//! The front: what a program calls.
//!
//! A small block takes the fast way when it can: its size's magazine of this thread, without a lock. Everything else takes the
//! core's lock.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands out memory and takes it back by pointer"
)]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::classes::{LARGEST, class_for, class_served, units_for};
use crate::core::Core;
use crate::deferred::Unseen;
use crate::gate::Gate;
use crate::header::{Block, Header, Seal, State};
use crate::memory::Memory;
use crate::owners::{self, Owner};
use crate::request::{Misuse, Options, Request, Unavailable};
use crate::shard::Shards;
use crate::{LARGE_BLOCK, OVERHEAD};

/// A growable heap's first reservation is larger than what it commits by this. Source: windows-memory-behaviour.md 16.1.
const SPARE: usize = 0x1_0000;
/// The first extension.
const FIRST_EXTENSION: usize = 0x10_0000;
/// Committed at the beginning, and what the size of a fixed heap is rounded up to.
const STEP: usize = 0x2000;
/// After so many live blocks of one size the front end is on, and says so.
const LIVE_FOR_FRONT_END: u32 = 18;
/// After so many calls it works in any case.
const CALLS_FOR_FRONT_END: u32 = 256;
/// Smaller fixed heaps have no front end: what lies in magazines would be missed.
const SMALLEST_WITH_FRONT_END: usize = 1 << 20;
/// How often a caller that must not wait tries for the lock.
const TRIES: usize = 1000;

/// A private heap. Threads may share it; dropping it frees all its blocks at once.
pub struct Heap<M: Memory> {
    pub(crate) owner: Owner,
    pub(crate) seal: Seal,
    pub(crate) gate: Gate,
    pub(crate) shards: Shards,
    pub(crate) core: Mutex<Core>,
    pub(crate) memory: M,
    base: usize,
    is_fixed: bool,
    may_cache: bool,
    /// 0 off; 1 working; 2 working and said so.
    front_end: AtomicU8,
    calls: AtomicU32,
    /// Freed blocks that wait for somebody with the lock.
    pub(crate) deferred: AtomicUsize,
    /// Freed pointers that nobody has looked at yet.
    pub(crate) unseen: AtomicPtr<Unseen>,
}

/// Where a pointer leads.
pub(crate) enum Found {
    Block(Block, Header),
    Large(u32),
}

impl<M: Memory> Heap<M> {
    /// A new heap in `memory`.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn new(memory: M, options: &Options) -> Result<Self, Unavailable> {
        let is_fixed = options.maximum != 0;
        let round = |size: usize| size.checked_next_multiple_of(STEP).ok_or(Unavailable);
        let initial = round(options.initial.max(1))?;
        let reserve = if is_fixed {
            round(options.maximum.max(options.initial))?
        } else {
            round(options.initial)?
                .checked_add(SPARE)
                .ok_or(Unavailable)?
        };
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_usize(core::ptr::from_ref(&memory).addr());
        let (seal, owner) = (Seal::new(hasher.finish()), Owner::new());
        let mut core = Core::new(seal, owner, (!is_fixed).then_some(FIRST_EXTENSION));
        let base = core
            .begin(&memory, reserve, initial.min(reserve))
            .ok_or(Unavailable)?;
        Ok(Self {
            owner,
            seal,
            gate: Gate::new(memory.barrier()),
            shards: Shards::new(),
            core: Mutex::new(core),
            memory,
            base,
            is_fixed,
            may_cache: !is_fixed || reserve >= SMALLEST_WITH_FRONT_END,
            front_end: AtomicU8::new(0),
            calls: AtomicU32::new(0),
            deferred: AtomicUsize::new(0),
            unseen: AtomicPtr::new(core::ptr::null_mut()),
        })
    }

    /// Where its first segment begins: a multiple of 64 KiB that no other heap has. Windows: the heap's handle.
    pub const fn base(&self) -> usize {
        self.base
    }

    /// Whether an address lies in its memory, or is where one of its large blocks begins. Looks at nothing there.
    #[inline]
    pub fn owns(&self, pointer: *const u8) -> bool {
        let address = pointer.addr();
        owners::of(address.wrapping_sub(OVERHEAD)).is_of(self.owner)
            || owners::of(address).is_of(self.owner)
    }

    /// What it takes its pages from.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Whether some header or list was found overwritten so far.
    pub fn is_damaged(&self) -> bool {
        self.core().is_damaged()
    }

    /// A block of `size` bytes at a multiple of 16; nothing without memory. Size 0 gives a block, too. Windows: `HeapAlloc`.
    #[inline]
    pub fn allocate(&self, size: usize, request: Request) -> Option<NonNull<u8>> {
        if size >= LARGE_BLOCK {
            return self.allocate_large(size, 1, request);
        }
        let block = self
            .pop(size)
            .or_else(|| self.allocate_slowly(size, request))?;
        Some(Self::hand_out(block, size, request.zeroed))
    }

    /// The same at a multiple of `align`, a power of two of 64 KiB at most.
    pub fn allocate_aligned(
        &self,
        size: usize,
        align: usize,
        request: Request,
    ) -> Option<NonNull<u8>> {
        if align <= OVERHEAD {
            return self.allocate(size, request);
        }
        if size >= LARGE_BLOCK || align >= LARGE_BLOCK / 8 {
            return self.allocate_large(size, align, request);
        }
        let mut core = self.enter(request)?;
        let block = core.allocate_aligned(&self.memory, units_for(size), align)?;
        self.make_busy(block, size);
        drop(core);
        Some(Self::hand_out(block, size, request.zeroed))
    }

    /// The fast way: a block of this thread's magazine. It becomes the program's before other threads could stop this one, so
    /// that whoever stops all finds each cached block in some magazine.
    #[inline]
    fn pop(&self, size: usize) -> Option<Block> {
        let units = units_for(size);
        if units > LARGEST || self.front_end.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let class = class_for(units);
        loop {
            let taken = self.shards.pop(&self.gate, class, |block| {
                let header = self.seal.read(block)?;
                (header.state == State::Cached).then(|| {
                    self.write_busy(block, Header::busy(header.units, size));
                    block
                })
            })?;
            if taken.is_some() {
                return taken;
            }
            // Overwritten, or freed by two threads at once: never used again.
            self.core().damaged = true;
        }
    }

    /// A block that left its list becomes the program's. The core's lock is held.
    fn make_busy(&self, block: Block, size: usize) {
        let units = self
            .seal
            .read(block)
            .map_or_else(|| units_for(size), |header| header.units);
        self.write_busy(block, Header::busy(units, size));
    }

    /// What the program gets of a block that is its own now.
    #[inline]
    fn hand_out(block: Block, size: usize, zeroed: bool) -> NonNull<u8> {
        let user = core::ptr::with_exposed_provenance_mut::<u8>(block.user());
        if zeroed {
            // SAFETY: the block has room for `size` bytes, and nobody knows of it yet.
            unsafe { user.write_bytes(0, size) };
        }
        // SAFETY: no block begins at address 0.
        unsafe { NonNull::new_unchecked(user) }
    }

    /// The mark behind the block's last byte, then the header that says where it is: somebody may be validating the heap.
    #[inline]
    pub(crate) fn write_busy(&self, block: Block, header: Header) {
        block.mark_tail(header);
        fence(Ordering::Release);
        self.seal.write(block, header);
    }

    #[cold]
    fn allocate_slowly(&self, size: usize, request: Request) -> Option<Block> {
        let units = units_for(size);
        let mut core = self.enter(request)?;
        let mut found = self.take(&mut core, units);
        // Other threads may have what is missing in their magazines.
        if found.is_none() && self.front_end.load(Ordering::Relaxed) != 0 {
            self.empty_shards(&mut core);
            found = core.allocate(&self.memory, units, State::Busy);
        }
        let block = found?;
        self.make_busy(block, size);
        Some(block)
    }

    fn take(&self, core: &mut Core, units: u32) -> Option<Block> {
        if units > LARGEST {
            return core.allocate(&self.memory, units, State::Busy);
        }
        let class = class_for(units);
        let front_end = self.front_end.load(Ordering::Relaxed);
        if front_end == 0 {
            let block = core.allocate(&self.memory, units, State::Busy)?;
            self.consider_front_end(core, class);
            if self.front_end.load(Ordering::Relaxed) != 0 {
                core.round_up(&self.memory);
            }
            return Some(block);
        }
        if front_end == 1 && core.out[class] >= LIVE_FOR_FRONT_END {
            self.front_end.store(2, Ordering::Relaxed);
        }
        // SAFETY: the core's lock is held until the pair is let go.
        match unsafe { self.shards.pair(class) } {
            Some(pair) => core.refill(&self.memory, class, pair),
            None => core.allocate(&self.memory, units, State::Busy),
        }
    }

    fn consider_front_end(&self, core: &Core, class: usize) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.may_cache {
            return;
        }
        if core.out[class] >= LIVE_FOR_FRONT_END {
            self.front_end.store(2, Ordering::Relaxed);
        } else if calls >= CALLS_FOR_FRONT_END {
            self.front_end.store(1, Ordering::Relaxed);
        }
    }

    /// Whether the low-fragmentation front end is said to be on. Windows: `HeapCompatibilityInformation` 2.
    pub fn has_front_end(&self) -> bool {
        self.front_end.load(Ordering::Relaxed) == 2
    }

    /// Switches it on.
    pub fn use_front_end(&self) {
        self.front_end.store(2, Ordering::Relaxed);
    }

    fn allocate_large(&self, size: usize, align: usize, request: Request) -> Option<NonNull<u8>> {
        if self.is_fixed {
            return None;
        }
        let mut core = self.enter(request)?;
        let owner = self.owner;
        let address = core.large.create(&self.memory, owner, size, align)?;
        NonNull::new(core::ptr::with_exposed_provenance_mut(address))
    }

    /// Takes a block back. Windows: `HeapFree`.
    ///
    /// # Errors
    /// [`Misuse`]; nothing has changed then.
    ///
    /// # Safety
    /// Nobody uses the block any more. Pointers that are not blocks of this heap, or were freed before, are refused.
    #[inline]
    pub unsafe fn free(&self, pointer: *mut u8, request: Request) -> Result<(), Misuse> {
        let address = pointer.addr();
        if let Some((block, header)) = self.look(address)?
            && header.units <= LARGEST
            && self.front_end.load(Ordering::Relaxed) != 0
        {
            let freed = Header::new(header.units, State::Cached);
            let mark = || self.seal.write(block, freed);
            let class = class_served(header.units);
            if self.shards.push(&self.gate, class, block, mark) {
                return Ok(());
            }
        }
        self.free_slowly(address, request)
    }

    #[cold]
    pub(crate) fn free_slowly(&self, address: usize, request: Request) -> Result<(), Misuse> {
        let Some(mut core) = self.enter(request) else {
            return self.defer(address);
        };
        match self.find(&core, address)? {
            Found::Large(number) => core.large.destroy(&self.memory, number),
            Found::Block(block, header) => self.put_back(&mut core, block, header),
        }
        Ok(())
    }

    fn put_back(&self, core: &mut Core, block: Block, header: Header) {
        if header.units <= LARGEST && self.front_end.load(Ordering::Relaxed) != 0 {
            let class = class_served(header.units);
            let mark = || {
                self.seal
                    .write(block, Header::new(header.units, State::Cached));
            };
            // SAFETY: the core's lock is held until the pair is let go.
            if let Some(pair) = unsafe { self.shards.pair(class) }
                && core.make_room(&self.memory, class, pair)
                && pair.push(class, block, mark)
            {
                return;
            }
        }
        core.free(&self.memory, block, header.units);
    }

    /// Bytes that were asked for. Windows: `HeapSize`.
    ///
    /// # Errors
    /// [`Misuse`].
    pub fn size(&self, pointer: *const u8) -> Result<usize, Misuse> {
        if let Some((_, header)) = self.look(pointer.addr())? {
            return Ok(header.size());
        }
        let core = self.core();
        match self.find(&core, pointer.addr())? {
            Found::Block(_, header) => Ok(header.size()),
            Found::Large(number) => core
                .large
                .get(number)
                .map_or(Err(Misuse::Free), |large| Ok(large.size())),
        }
    }

    /// The block at an address whose memory is surely there; nothing where the core must look closer.
    #[inline]
    pub(crate) fn look(&self, address: usize) -> Result<Option<(Block, Header)>, Misuse> {
        if owners::of(address.wrapping_sub(OVERHEAD)) != self.owner {
            return Ok(None);
        }
        if !address.is_multiple_of(16) {
            return Err(Misuse::NoBlock);
        }
        // SAFETY: the piece is this heap's, and all of it committed.
        let block = unsafe { Block::at(address - OVERHEAD) };
        self.busy(block).map(Some)
    }

    fn busy(&self, block: Block) -> Result<(Block, Header), Misuse> {
        let header = self.seal.read(block).ok_or(Misuse::NoBlock)?;
        match header.state {
            State::Busy => Ok((block, header)),
            State::Cached | State::Deferred | State::Free | State::Holes => Err(Misuse::Free),
            State::End => Err(Misuse::NoBlock),
        }
    }

    /// The same for any address, with the core's lock.
    pub(crate) fn find(&self, core: &Core, address: usize) -> Result<Found, Misuse> {
        let owner = owners::of(address);
        if let Some(number) = owner.large_number() {
            let is_start = owner.is_of(self.owner)
                && core
                    .large
                    .get(number)
                    .is_some_and(|large| large.address() == address);
            return if is_start {
                Ok(Found::Large(number))
            } else if owner.is_of(self.owner) {
                Err(Misuse::NoBlock)
            } else {
                Err(Misuse::Foreign)
            };
        }
        let before = address.wrapping_sub(OVERHEAD);
        if !owners::of(before).is_of(self.owner) {
            return Err(Misuse::Foreign);
        }
        let is_there = core
            .segment_of(before)
            .is_some_and(|at| core.segments[at].is_committed(before));
        if !address.is_multiple_of(16) || !is_there {
            return Err(Misuse::NoBlock);
        }
        // SAFETY: the page is this heap's, and committed.
        let block = unsafe { Block::at(before) };
        self.busy(block)
            .map(|(block, header)| Found::Block(block, header))
    }

    /// The core, waiting for whoever has it and nothing else.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core, when no other thread has locked the heap; nothing for a caller that does not wait and cannot have it.
    pub(crate) fn enter(&self, request: Request) -> Option<MutexGuard<'_, Core>> {
        loop {
            let mut core = if request.impatient {
                self.try_core()?
            } else {
                self.core()
            };
            if request.serialised && self.gate.is_locked_by_another() {
                drop(core);
                if request.impatient {
                    return None;
                }
                self.gate.wait();
                continue;
            }
            if self.deferred.load(Ordering::Relaxed) != 0
                || !self.unseen.load(Ordering::Relaxed).is_null()
            {
                self.take_deferred(&mut core);
            }
            return Some(core);
        }
    }

    fn try_core(&self) -> Option<MutexGuard<'_, Core>> {
        for round in 0..TRIES {
            match self.core.try_lock() {
                Ok(core) => return Some(core),
                Err(TryLockError::Poisoned(core)) => return Some(core.into_inner()),
                Err(TryLockError::WouldBlock) if round % 64 == 63 => std::thread::yield_now(),
                Err(TryLockError::WouldBlock) => core::hint::spin_loop(),
            }
        }
        None
    }
}

impl<M: Memory> Drop for Heap<M> {
    fn drop(&mut self) {
        self.forget_unseen();
        let core = self.core.get_mut().unwrap_or_else(PoisonError::into_inner);
        core.clear(&self.memory);
    }
}

impl<M: Memory> core::fmt::Debug for Heap<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Heap")
            .field("base", &format_args!("{:#x}", self.base))
            .finish_non_exhaustive()
    }
}
