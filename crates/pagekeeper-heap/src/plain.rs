//! Memory for tests and for heaps without a pager: from the C library, and stern about its use.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: implements the memory trait over the system allocator"
)]

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::Memory;
use crate::segment::PAGE;

const GRANULARITY: usize = 1 << 16;
/// What decommitted pages hold, so that use of them is seen.
const POISON: u8 = 0xDD;

/// Plain memory with a limit on what is committed, and counts. Decommitted pages are filled with a poison.
#[derive(Debug)]
pub struct PlainMemory {
    limit: usize,
    state: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    reserved: usize,
    /// Addresses of committed pages.
    committed: BTreeSet<usize>,
}

impl Default for PlainMemory {
    fn default() -> Self {
        Self::with_limit(usize::MAX)
    }
}

impl PlainMemory {
    /// At most `limit` bytes are committed at a time.
    pub const fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::new(Held {
                reserved: 0,
                committed: BTreeSet::new(),
            }),
        }
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> usize {
        self.state().reserved
    }

    /// Bytes committed now.
    pub fn committed(&self) -> usize {
        self.state().committed.len() * PAGE
    }

    fn state(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size.max(1), GRANULARITY).ok()
}

// SAFETY: each reservation is an allocation of its own, writable from the beginning; commit fills it with zeros.
unsafe impl Memory for PlainMemory {
    fn reserve(&self, size: usize) -> Option<usize> {
        // SAFETY: the size is not zero.
        let start = unsafe { System.alloc(layout(size)?) };
        if start.is_null() {
            return None;
        }
        self.state().reserved += size;
        Some(start.expose_provenance())
    }

    fn commit(&self, address: usize, size: usize) -> bool {
        let mut state = self.state();
        let new: Vec<usize> = (address..address + size)
            .step_by(PAGE)
            .filter(|page| !state.committed.contains(page))
            .collect();
        if (state.committed.len() + new.len()) * PAGE > self.limit {
            return false;
        }
        for page in new {
            // SAFETY: inside a reservation, which is writable; nobody uses a page that is not committed.
            unsafe { core::ptr::with_exposed_provenance_mut::<u8>(page).write_bytes(0, PAGE) };
            state.committed.insert(page);
        }
        true
    }

    unsafe fn decommit(&self, address: usize, size: usize) -> bool {
        let mut state = self.state();
        for page in (address..address + size).step_by(PAGE) {
            state.committed.remove(&page);
        }
        // SAFETY: inside a reservation; the caller uses it no more.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write_bytes(POISON, size) };
        true
    }

    unsafe fn release(&self, address: usize, size: usize) {
        let mut state = self.state();
        state.reserved -= size;
        state
            .committed
            .retain(|page| !(address..address + size).contains(page));
        if let Some(layout) = layout(size) {
            // SAFETY: allocated with this layout by `reserve`, and no longer used.
            unsafe { System.dealloc(core::ptr::with_exposed_provenance_mut(address), layout) };
        }
    }
}
