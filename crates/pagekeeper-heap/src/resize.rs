//! Changing the size of a block: in place where that can be, else elsewhere.

#![allow(unsafe_code, reason = "UNSAFETY: moves contents between blocks")]

use core::ptr::NonNull;

use crate::LARGE_BLOCK;
use crate::classes::LARGEST;
use crate::header::{Block, Header};
use crate::heap::{Found, Heap};
use crate::memory::Memory;
use crate::request::{Misuse, Request, ResizeError};

impl<M: Memory> Heap<M> {
    /// Makes a block hold `size` bytes: where it is if it can, else (unless `in_place`) elsewhere, with its contents. Windows:
    /// `HeapReAlloc`.
    ///
    /// # Errors
    /// [`ResizeError`]; the block is as it was.
    ///
    /// # Safety
    /// Nobody else uses the block meanwhile, nor at its old place if it moved.
    pub unsafe fn resize(
        &self,
        pointer: *mut u8,
        size: usize,
        in_place: bool,
        request: Request,
    ) -> Result<NonNull<u8>, ResizeError> {
        let here = NonNull::new(pointer).ok_or(Misuse::Foreign)?;
        let old = self.size(pointer)?;
        if self.resize_here(pointer.addr(), size, request)? {
            if request.zeroed && size > old {
                // SAFETY: the block holds `size` bytes now, and the caller has it for itself.
                unsafe { pointer.add(old).write_bytes(0, size - old) };
            }
            return Ok(here);
        }
        if in_place {
            return Err(ResizeError::NoMemory);
        }
        let plain = Request {
            zeroed: false,
            ..request
        };
        let new = self.allocate(size, plain).ok_or(ResizeError::NoMemory)?;
        // SAFETY: both hold as many bytes, the new one is nobody's yet, and the old one is the caller's to give.
        unsafe {
            new.copy_from_nonoverlapping(here, old.min(size));
            if request.zeroed && size > old {
                new.add(old).write_bytes(0, size - old);
            }
            self.free(pointer, plain)?;
        }
        Ok(new)
    }

    /// Whether the block could be resized where it is.
    fn resize_here(&self, address: usize, size: usize, request: Request) -> Result<bool, Misuse> {
        if let Some((block, header)) = self.look(address)?
            && size <= header.capacity()
            && (header.units <= LARGEST / 8 || size >= header.capacity() / 4 * 3)
        {
            self.write_size(block, header.units, size);
            return Ok(true);
        }
        let Some(mut core) = self.enter(request) else {
            return Ok(false);
        };
        match self.find(&core, address)? {
            Found::Large(number) => Ok(core.large.resize(&self.memory, number, size)),
            Found::Block(block, header) => {
                let done = size < LARGE_BLOCK && core.resize(&self.memory, block, header, size);
                if done && let Some(header) = self.seal.read(block) {
                    self.write_size(block, header.units, size);
                }
                Ok(done)
            }
        }
    }

    fn write_size(&self, block: Block, units: u32, size: usize) {
        self.write_busy(block, Header::busy(units, size));
    }
}
