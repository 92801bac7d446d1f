//! Reads and writes with several buffers.
//!
//! The vector's array may be out as well as the buffers, so what reaches paged memory goes through a bounce buffer as a
//! whole: gathered before a write, spread after a read. One part at a time, split where that is legal (see
//! [`super::transfer`]). Vectors that do not reach paged memory go to the kernel as they are.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_int, c_ulong};

use libc::{iovec, off_t};

use super::file_io::unsplit;
use super::reach::{ErrnoKept, admit, fail, reaches, reaches_wanted};
use super::scratch::{Scratch, copy};
use super::transfer::{ATOMIC_MOST, BOUNCE_BYTES, Behind, behind, in_parts};
use super::wrap::{real, rows};
use crate::engine::inline::pin::Want;

/// The kernel takes no more vectors.
const VECTORS_MOST: usize = libc::UIO_MAXIOV as usize;

rows! { "file";
    readv: "the vectors and their buffers";
    writev: "the vectors and their buffers";
    preadv: "the vectors and their buffers";
    preadv64: "the vectors and their buffers";
    preadv2: "the vectors and their buffers";
    preadv64v2: "the vectors and their buffers";
    pwritev: "the vectors and their buffers";
    pwritev64: "the vectors and their buffers";
    pwritev2: "the vectors and their buffers";
    pwritev64v2: "the vectors and their buffers";
    vmsplice: "the vectors and their buffers";
    process_vm_readv: "the local vectors and their buffers, the array of remote ones";
    process_vm_writev: "the local vectors and their buffers, the array of remote ones";
}

/// A copy of the caller's vectors in ordinary memory.
pub(super) struct Vectors {
    memory: Scratch,
    count: usize,
}

impl Vectors {
    /// Whether the array or a buffer reaches paged memory; `want` is what the kernel does with the buffers.
    ///
    /// # Safety
    /// The caller's promises to `readv`.
    pub(super) unsafe fn reach(vectors: *const iovec, count: usize, want: Want) -> bool {
        if count == 0 || count > VECTORS_MOST || vectors.is_null() || !super::reach::active() {
            return false;
        }
        // SAFETY: promised by the caller; reading it may fault, and is then brought in.
        reaches(vectors, count * size_of::<iovec>())
            || (0..count).any(|index| unsafe {
                let vector = &*vectors.add(index);
                reaches_wanted(vector.iov_base, vector.iov_len, want)
            })
    }

    /// Copies them, looking at the array's pages first.
    ///
    /// # Safety
    /// As for `reach`.
    pub(super) unsafe fn new(vectors: *const iovec, count: usize) -> Result<Self, c_int> {
        let bytes = count * size_of::<iovec>();
        admit(vectors.cast(), bytes, Want::Read)?;
        let memory = Scratch::new(bytes)?;
        // SAFETY: readable, and the copy has room.
        unsafe { copy(vectors.cast(), memory.start(), bytes) };
        Ok(Self { memory, count })
    }

    pub(super) fn as_slice(&self) -> &[iovec] {
        // SAFETY: `new` copied so many; the scratch is aligned to a page.
        unsafe { core::slice::from_raw_parts(self.memory.start().cast::<iovec>(), self.count) }
    }

    /// Bytes in all.
    pub(super) fn total(&self) -> usize {
        self.as_slice()
            .iter()
            .fold(0_usize, |sum, vector| sum.saturating_add(vector.iov_len))
    }

    /// The pieces of the buffers that lie `skip` bytes in and are `length` bytes long together.
    fn pieces(&self, skip: usize, length: usize) -> impl Iterator<Item = (*mut u8, usize)> {
        let (mut skip, mut length) = (skip, length);
        self.as_slice().iter().filter_map(move |vector| {
            let from = skip.min(vector.iov_len);
            skip -= from;
            let size = (vector.iov_len - from).min(length);
            length -= size;
            (size > 0).then(|| (vector.iov_base.cast::<u8>().wrapping_add(from), size))
        })
    }

    /// Looks at a part's pages.
    pub(super) fn admit(&self, skip: usize, length: usize, want: Want) -> Result<(), c_int> {
        self.pieces(skip, length)
            .try_for_each(|(at, size)| admit(at, size, want))
    }

    /// Copies a part from the buffers.
    ///
    /// # Safety
    /// What lies outside of paged memory must be readable; `to` must have room.
    pub(super) unsafe fn gather(&self, skip: usize, length: usize, to: *mut u8) {
        let mut done = 0;
        for (at, size) in self.pieces(skip, length) {
            // SAFETY: passed on.
            unsafe { copy(at, to.add(done), size) };
            done += size;
        }
    }

    /// Copies a part into the buffers.
    ///
    /// # Safety
    /// What lies outside of paged memory must be writable.
    pub(super) unsafe fn spread(&self, skip: usize, length: usize, from: *const u8) {
        let mut done = 0;
        for (at, size) in self.pieces(skip, length) {
            // SAFETY: passed on.
            unsafe { copy(from.add(done), at, size) };
            done += size;
        }
    }
}

/// What a vectored call moves at once, at most.
const fn most_at_once(behind: Behind) -> usize {
    match behind {
        Behind::Message => ATOMIC_MOST,
        Behind::File | Behind::Stream => BOUNCE_BYTES,
    }
}

/// A vectored read through bounce buffers; `call` gets one buffer and how many bytes are done.
unsafe fn read_vectors(
    behind: Behind,
    vectors: *const iovec,
    count: usize,
    mut call: impl FnMut(*mut u8, usize, usize) -> isize,
) -> isize {
    // SAFETY: the caller's promises to `readv`.
    unsafe {
        let vectors = match Vectors::new(vectors, count) {
            Ok(vectors) => vectors,
            Err(number) => return fail(number),
        };
        let most = most_at_once(behind);
        // More may not be there yet, and then waiting for it would be wrong: only files go on.
        let total = match behind {
            Behind::File => vectors.total(),
            Behind::Stream | Behind::Message => vectors.total().min(most),
        };
        let Ok(bounce) = Scratch::new(total.min(most)) else {
            return fail(libc::ENOMEM);
        };
        in_parts(total, most, |done, part| {
            // Messages may be much shorter than the room for them: only the beginning is looked at.
            let looked_at = if behind == Behind::File { part } else { 1 };
            vectors.admit(done, looked_at, Want::Write)?;
            let moved = call(bounce.start(), part, done);
            let _kept = ErrnoKept::new();
            if moved > 0 {
                let arrived = (moved as usize).min(part);
                vectors.admit(done, arrived, Want::Write)?;
                vectors.spread(done, arrived, bounce.start());
            }
            Ok(moved)
        })
    }
}

/// A vectored write through bounce buffers.
unsafe fn write_vectors(
    descriptor: c_int,
    vectors: *const iovec,
    count: usize,
    mut call: impl FnMut(*const u8, usize, usize) -> isize,
) -> isize {
    // SAFETY: the caller's promises to `writev`.
    unsafe {
        let vectors = match Vectors::new(vectors, count) {
            Ok(vectors) => vectors,
            Err(number) => return fail(number),
        };
        let total = vectors.total();
        let most = most_at_once(unsplit(descriptor, total));
        let Ok(bounce) = Scratch::new(total.min(most)) else {
            return fail(libc::ENOMEM);
        };
        in_parts(total, most, |done, part| {
            vectors.admit(done, part, Want::Read)?;
            vectors.gather(done, part, bounce.start());
            Ok(call(bounce.start(), part, done))
        })
    }
}

/// The offset of a later part: -1 means "where the file stands", which moves by itself.
fn later(offset: off_t, done: usize) -> off_t {
    if offset == -1 {
        -1
    } else {
        offset.saturating_add(done as off_t)
    }
}

fn one(at: *const u8, length: usize) -> iovec {
    iovec {
        iov_base: at.cast_mut().cast(),
        iov_len: length,
    }
}

macro_rules! vectored {
    ($(fn $name:ident($($extra:ident: $type:ty),*) by $how:ident with $value:ident { $($later:expr),* })*) => { $(
        #[unsafe(no_mangle)]
        pub(super) unsafe extern "C-unwind" fn $name(
            descriptor: c_int,
            vectors: *const iovec,
            count: c_int,
            $($extra: $type),*
        ) -> isize {
            let real = real!($name: (c_int, *const iovec, c_int, $($type),*) -> isize);
            let vector_count = usize::try_from(count).unwrap_or(0);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if !Vectors::reach(vectors, vector_count, vectored!(@want $how)) {
                    return real(descriptor, vectors, count, $($extra),*);
                }
                vectored!(@$how descriptor vectors vector_count |at, length, $value| {
                    let vector = one(at, length);
                    real(descriptor, &raw const vector, 1, $($later),*)
                })
            }
        }
    )* };
    (@want reading) => { Want::Write };
    (@want writing) => { Want::Read };
    (@reading $descriptor:ident $vectors:ident $count:ident $call:expr) => {
        read_vectors(behind($descriptor), $vectors, $count, $call)
    };
    (@writing $descriptor:ident $vectors:ident $count:ident $call:expr) => {
        write_vectors($descriptor, $vectors, $count, $call)
    };
}

vectored! {
    fn readv() by reading with _done {}
    fn writev() by writing with _done {}
    fn preadv(offset: off_t) by reading with done { later(offset, done) }
    fn preadv64(offset: off_t) by reading with done { later(offset, done) }
    fn preadv2(offset: off_t, flags: c_int) by reading with done { later(offset, done), flags }
    fn preadv64v2(offset: off_t, flags: c_int) by reading with done { later(offset, done), flags }
    fn pwritev(offset: off_t) by writing with done { later(offset, done) }
    fn pwritev64(offset: off_t) by writing with done { later(offset, done) }
    fn pwritev2(offset: off_t, flags: c_int) by writing with done { later(offset, done), flags }
    fn pwritev64v2(offset: off_t, flags: c_int) by writing with done { later(offset, done), flags }
}

/// Puts the buffers' pages into a pipe. Copies stand in, whose pages the pipe keeps: later changes by the caller do not
/// show at the other end.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn vmsplice(
    descriptor: c_int,
    vectors: *const iovec,
    count: usize,
    flags: u32,
) -> isize {
    let real = real!(vmsplice: (c_int, *const iovec, usize, u32) -> isize);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        let into = super::reach::active() && reads_from_pipe(descriptor);
        let want = if into { Want::Write } else { Want::Read };
        if !Vectors::reach(vectors, count, want) {
            return real(descriptor, vectors, count, flags);
        }
        let vectors = match Vectors::new(vectors, count) {
            Ok(vectors) => vectors,
            Err(number) => return fail(number),
        };
        // A pipe holds a MiB as a rule; a short count is legal.
        let part = vectors.total().min(BOUNCE_BYTES);
        let bounce = match vectors
            .admit(0, part, want)
            .and_then(|()| Scratch::new(part))
        {
            Ok(bounce) => bounce,
            Err(number) => return fail(number),
        };
        if !into {
            vectors.gather(0, part, bounce.start());
        }
        let vector = one(bounce.start(), part);
        let moved = real(descriptor, &raw const vector, 1, flags);
        let _kept = ErrnoKept::new();
        if into && moved > 0 {
            vectors.spread(0, moved as usize, bounce.start());
        }
        moved
    }
}

/// Whether the descriptor is a pipe's reading end, which `vmsplice` fills the buffers from.
fn reads_from_pipe(descriptor: c_int) -> bool {
    let _kept = ErrnoKept::new();
    // SAFETY: asks for flags.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    flags != -1 && flags & libc::O_ACCMODE == libc::O_RDONLY
}

macro_rules! other_process {
    ($($name:ident by $want:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(
            process: libc::pid_t,
            local: *const iovec,
            local_count: c_ulong,
            remote: *const iovec,
            remote_count: c_ulong,
            flags: c_ulong,
        ) -> isize {
            let real = real!($name: (libc::pid_t, *const iovec, c_ulong, *const iovec, c_ulong, c_ulong) -> isize);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                let remote_bytes = (remote_count as usize).saturating_mul(size_of::<iovec>());
                if !Vectors::reach(local, local_count as usize, Want::$want) && !reaches(remote, remote_bytes) {
                    return real(process, local, local_count, remote, remote_count, flags);
                }
                let lists = Vectors::new(local, (local_count as usize).min(VECTORS_MOST))
                    .and_then(|local| Ok((local, Vectors::new(remote, (remote_count as usize).min(VECTORS_MOST))?)));
                let (local, remote) = match lists {
                    Ok(lists) => lists,
                    Err(number) => return fail(number),
                };
                // A short count is legal here.
                let part = local.total().min(BOUNCE_BYTES);
                let bounce = match local.admit(0, part, Want::$want).and_then(|()| Scratch::new(part)) {
                    Ok(bounce) => bounce,
                    Err(number) => return fail(number),
                };
                if Want::$want == Want::Read {
                    local.gather(0, part, bounce.start());
                }
                let vector = one(bounce.start(), part);
                let moved = real(process, &raw const vector, 1, remote.as_slice().as_ptr(), remote_count, flags);
                let _kept = ErrnoKept::new();
                if moved > 0 && Want::$want == Want::Write {
                    local.spread(0, moved as usize, bounce.start());
                }
                moved
            }
        }
    )* };
}

other_process! { process_vm_readv by Write process_vm_writev by Read }
