//! Freed blocks that wait for somebody with the lock: for callers that must not wait.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: lists through freed blocks and through notes beside them"
)]

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::Ordering;
use std::alloc::System;

use crate::core::Core;
use crate::header::{Block, Header, State};
use crate::heap::{Found, Heap};
use crate::memory::Memory;
use crate::request::Misuse;

/// A freed pointer that could not be looked at without the lock.
pub(crate) struct Unseen {
    address: usize,
    next: *mut Unseen,
}

impl<M: Memory> Heap<M> {
    /// Takes a block back without the lock, and without calling the memory below: the next holder of the lock does the rest.
    ///
    /// # Errors
    /// [`Misuse`], as far as it can be seen so.
    ///
    /// # Safety
    /// As [`Heap::free`].
    pub unsafe fn free_later(&self, pointer: *mut u8) -> Result<(), Misuse> {
        self.defer(pointer.addr())
    }

    /// Leaves a freed block to whoever has the lock next.
    pub(crate) fn defer(&self, address: usize) -> Result<(), Misuse> {
        let Some((block, header)) = self.look(address)? else {
            self.defer_unseen(address);
            return Ok(());
        };
        self.seal
            .write(block, Header::new(header.units, State::Deferred));
        let mut head = self.deferred.load(Ordering::Relaxed);
        loop {
            block.link(0).store(head, Ordering::Relaxed);
            let placed = self.deferred.compare_exchange_weak(
                head,
                block.address(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match placed {
                Ok(_) => return Ok(()),
                Err(other) => head = other,
            }
        }
    }

    /// The same for a large block, or one beside a hole: which it is cannot be told without the lock. Without memory for the note
    /// the block is lost.
    fn defer_unseen(&self, address: usize) {
        // SAFETY: the layout has a size.
        let note = unsafe { System.alloc(Layout::new::<Unseen>()) }.cast::<Unseen>();
        if note.is_null() {
            return;
        }
        let mut next = self.unseen.load(Ordering::Relaxed);
        loop {
            // SAFETY: allocated above, and nobody else has it until it is placed.
            unsafe { note.write(Unseen { address, next }) };
            let (new, order) = (Ordering::Release, Ordering::Relaxed);
            match self.unseen.compare_exchange_weak(next, note, new, order) {
                Ok(_) => return,
                Err(other) => next = other,
            }
        }
    }

    fn take_unseen(&self, core: &mut Core) {
        let mut note = self.unseen.swap(core::ptr::null_mut(), Ordering::Acquire);
        while !note.is_null() {
            // SAFETY: a note that was placed is whole, and now this function's.
            let Unseen { address, next } = unsafe {
                let read = note.read();
                System.dealloc(note.cast(), Layout::new::<Unseen>());
                read
            };
            match self.find(core, address) {
                Ok(Found::Large(number)) => core.large.destroy(&self.memory, number),
                Ok(Found::Block(block, header)) => core.free(&self.memory, block, header.units),
                Err(_) => core.damaged = true,
            }
            note = next;
        }
    }

    #[cold]
    pub(crate) fn take_deferred(&self, core: &mut Core) {
        let mut at = self.deferred.swap(0, Ordering::Acquire);
        while at != 0 {
            // SAFETY: deferred blocks are whole and stay committed.
            let block = unsafe { Block::at(at) };
            let Some(header) = self.seal.read(block) else {
                core.damaged = true;
                return;
            };
            at = block.link(0).load(Ordering::Relaxed);
            core.free(&self.memory, block, header.units);
        }
        self.take_unseen(core);
    }

    /// Drops all notes.
    pub(crate) fn forget_unseen(&mut self) {
        let mut note = *self.unseen.get_mut();
        while !note.is_null() {
            // SAFETY: notes are this heap's alone now.
            unsafe {
                let next = (*note).next;
                System.dealloc(note.cast(), Layout::new::<Unseen>());
                note = next;
            }
        }
    }
}
