//! A heap's pages: reservations of a space that nobody else owns.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: implements the heap's memory trait, gives pages back by address"
)]

use std::sync::{Arc, Mutex, PoisonError};

use pagekeeper_heap::Memory;
use pagekeeper_model::{FreeRequest, Protection};
use pagekeeper_sys::barrier;
use pagekeeper_units::ByteCount;

use crate::engine::EngineKind;
use crate::error::Error;
use crate::space::Space;

/// Where a heap of a space takes its pages from.
#[derive(Debug)]
pub struct HeapMemory {
    space: Space,
    engine: EngineKind,
    protection: Protection,
    failure: Arc<Failure>,
}

/// Why memory could not be had the last time.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<Error>>);

impl Failure {
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

impl HeapMemory {
    pub(super) fn new(space: Space, engine: EngineKind, protection: Protection) -> Self {
        Self {
            space,
            engine,
            protection,
            failure: Arc::default(),
        }
    }

    pub(super) fn failure(&self) -> Arc<Failure> {
        Arc::clone(&self.failure)
    }

    /// The space.
    pub const fn space(&self) -> &Space {
        &self.space
    }

    fn noted<T>(&self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.failure.note(error)).ok()
    }
}

// SAFETY: reservations are the heap's alone, since nobody else learns of them; committed pages can be used and read as zero.
unsafe impl Memory for HeapMemory {
    fn reserve(&self, size: usize) -> Option<usize> {
        let reservation = self
            .space
            .reserve(ByteCount::new(size as u64))
            .engine(self.engine)
            .protection(self.protection)
            .build_detached();
        let range = self.noted(reservation)?;
        Some(range.address() as usize)
    }

    fn commit(&self, address: usize, size: usize) -> bool {
        let (address, size) = (address as u64, size as u64);
        self.noted(self.space.commit_at(address, size, self.protection))
            .is_some()
    }

    unsafe fn decommit(&self, address: usize, size: usize) -> bool {
        let (address, size) = (address as u64, size as u64);
        // SAFETY: the heap uses the pages no more.
        unsafe { self.space.free_at(address, size, FreeRequest::Decommit) }.is_ok()
    }

    unsafe fn release(&self, address: usize, _size: usize) {
        // SAFETY: the heap uses the range no more. In a forked child the space refuses: nothing of it is there.
        let _ = unsafe { self.space.free_at(address as u64, 0, FreeRequest::Release) };
    }

    fn barrier(&self) -> bool {
        barrier::all_threads().is_ok()
    }
}
