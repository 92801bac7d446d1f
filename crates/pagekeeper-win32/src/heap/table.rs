//! The heaps of the process, by handle.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a thread remembers the heap that it used last"
)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use pagekeeper::{ByteCount, Heap, HeapBlocks};
use pagekeeper_heap::Request;

use crate::constants::{
    ERROR_INVALID_HANDLE, ERROR_NOT_ENOUGH_MEMORY, HEAP_GENERATE_EXCEPTIONS, HEAP_NO_SERIALIZE,
    HEAP_ZERO_MEMORY,
};
use crate::errors::Code;
use crate::space;
use crate::types::{DWORD, HANDLE};

/// A heap, and what it was asked to be.
#[derive(Debug)]
pub(super) struct Open {
    heap: Heap,
    flags: DWORD,
}

/// In the order in which they were made; the process's own comes first.
static OPEN: RwLock<Vec<Arc<Open>>> = RwLock::new(Vec::new());
/// Changes whenever a heap goes, so that no thread uses one that it remembers.
static GONE: AtomicU64 = AtomicU64::new(1);
static OF_PROCESS: OnceLock<Result<Arc<Open>, Code>> = OnceLock::new();

thread_local! {
    // Constant and without a destructor. The heap lives as long as `GONE` says the same.
    static LAST: Cell<(usize, *const Open, u64)> = const { Cell::new((0, ptr::null(), 0)) };
}

impl Open {
    pub(super) fn blocks(&self) -> &HeapBlocks {
        self.heap.blocks()
    }

    pub(super) fn heap(&self) -> &Heap {
        &self.heap
    }

    pub(super) fn handle(&self) -> HANDLE {
        ptr::with_exposed_provenance_mut(self.heap.base())
    }

    /// The flags of a call together with the heap's.
    pub(super) const fn flags(&self, of_call: DWORD) -> DWORD {
        self.flags | of_call
    }

    /// Whether it was made without serialisation.
    pub(super) const fn is_unserialised(&self) -> bool {
        self.flags & HEAP_NO_SERIALIZE != 0
    }

    /// How a call with these flags is carried out.
    pub(super) const fn request(&self, of_call: DWORD) -> Request {
        let flags = self.flags(of_call);
        Request {
            zeroed: flags & HEAP_ZERO_MEMORY != 0,
            serialised: flags & HEAP_NO_SERIALIZE == 0,
            impatient: false,
        }
    }

    /// Whether failures are to be exceptions.
    pub(super) const fn raises(&self, of_call: DWORD) -> bool {
        self.flags(of_call) & HEAP_GENERATE_EXCEPTIONS != 0
    }
}

fn read() -> std::sync::RwLockReadGuard<'static, Vec<Arc<Open>>> {
    OPEN.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> std::sync::RwLockWriteGuard<'static, Vec<Arc<Open>>> {
    OPEN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the table as it is as long as it lives.
pub(super) struct Hold(
    #[allow(dead_code, reason = "kept for its drop")] RwLockWriteGuard<'static, Vec<Arc<Open>>>,
);

/// The same, waiting for whoever is at work in it.
pub(super) fn hold() -> Hold {
    Hold(write())
}

/// Makes a heap and enters it.
pub(super) fn add(flags: DWORD, initial: u64, maximum: u64) -> Result<Arc<Open>, Code> {
    // The process's heap comes first, whoever asks first.
    of_process()?;
    let open = make(flags, initial, maximum)?;
    write().push(Arc::clone(&open));
    Ok(open)
}

fn make(flags: DWORD, initial: u64, maximum: u64) -> Result<Arc<Open>, Code> {
    let space = space::get().map_err(|_| Code(ERROR_NOT_ENOUGH_MEMORY))?;
    let mut builder = Heap::builder(space)
        .initial(ByteCount::new(initial))
        .maximum(ByteCount::new(maximum));
    if flags & crate::constants::HEAP_CREATE_ENABLE_EXECUTE != 0 {
        builder = builder.executable();
    }
    let heap = builder.build().map_err(|_| Code(ERROR_NOT_ENOUGH_MEMORY))?;
    super::fork::watch();
    Ok(Arc::new(Open { heap, flags }))
}

/// The process's heap.
pub(super) fn of_process() -> Result<&'static Arc<Open>, Code> {
    let made = OF_PROCESS.get_or_init(|| {
        let open = make(0, 0, 0)?;
        write().insert(0, Arc::clone(&open));
        Ok(open)
    });
    made.as_ref().map_err(|code| *code)
}

/// Takes a heap out; it goes when the last call in it ends.
pub(super) fn remove(handle: HANDLE) -> Result<Arc<Open>, Code> {
    let mut open = write();
    let at = open.iter().position(|open| open.handle() == handle);
    // The process's heap stays.
    let at = at.filter(|at| *at != 0).ok_or(Code(ERROR_INVALID_HANDLE))?;
    GONE.fetch_add(1, Ordering::Release);
    Ok(open.remove(at))
}

/// Handles of all heaps.
pub(super) fn all() -> Vec<HANDLE> {
    let _ = of_process();
    read().iter().map(|open| open.handle()).collect()
}

/// Calls `use_it` with the heap behind a handle. (Whoever destroys a heap that another thread is using breaks Windows' rule.)
#[inline]
pub(super) fn with<T>(handle: HANDLE, use_it: impl FnOnce(&Open) -> T) -> Result<T, Code> {
    let (last, open, gone) = LAST.get();
    if last == handle.addr() && gone == GONE.load(Ordering::Acquire) {
        // SAFETY: no heap has gone since it was looked up.
        return Ok(use_it(unsafe { &*open }));
    }
    look_up(handle).map(|open| use_it(&open))
}

#[cold]
fn look_up(handle: HANDLE) -> Result<Arc<Open>, Code> {
    let open = read();
    let found = open.iter().find(|open| open.handle() == handle);
    let found = found.ok_or(Code(ERROR_INVALID_HANDLE))?;
    let gone = GONE.load(Ordering::Acquire);
    LAST.set((handle.addr(), Arc::as_ptr(found), gone));
    Ok(Arc::clone(found))
}
