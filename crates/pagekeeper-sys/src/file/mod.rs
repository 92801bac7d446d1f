//! Files as page files: creating them so that nothing is left behind, allocating their space,
//! reading and writing past the page cache, and steering the page cache.
//!
//! | module | what |
//! |---|---|
//! | [`create`] | a nameless file in a folder, or a named empty one; every refusal in clear words |
//! | [`regular`](self) | opening what somebody else names |
//! | [`space`](self) | allocate in steps, punch, free space, kind of file system |
//! | [`direct`](self) | direct I/O, found out by doing it |
//! | [`cache`](self) | write out, forget, count what is cached |

mod cache;
mod create;
mod direct;
mod facts;
mod regular;
mod space;

pub use cache::{CacheState, WriteOut, cache_state, forget, prefetch, write_error, write_out};
pub use create::{
    Created, FileError, Origin, create, create_in_folder, create_in_memory, create_named,
};
pub use direct::{AlignedPage, DirectIo, probe_direct, reopen, set_direct};
pub use facts::{
    FileFacts, duplicate, facts, is_open_for, make_private, of_process, read_at, reopen_alike,
    write_at,
};
pub use regular::open_regular;
pub use space::{
    AllocateHow, Allocated, FileSystem, FileSystemKind, allocate, file_system, file_system_of,
    punch, truncate, zero_range,
};

/// Retries `call` while a signal interrupts it.
pub(crate) fn retry<T>(
    mut call: impl FnMut() -> Result<T, crate::Errno>,
) -> Result<T, crate::Errno> {
    loop {
        match call() {
            Err(crate::Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
