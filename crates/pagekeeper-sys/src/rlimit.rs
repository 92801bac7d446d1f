//! The process's resource limits, as far as they bite a pager.

use rustix::process::{Resource, getrlimit};

/// The soft limit of `resource`; `u64::MAX` for none.
fn soft(resource: Resource) -> u64 {
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

/// `RLIMIT_FSIZE`: bytes of the largest file. Beyond it a write raises SIGXFSZ.
pub fn file_size_bytes() -> u64 {
    soft(Resource::Fsize)
}

/// `RLIMIT_AS`: bytes of address space, reservations included.
pub fn address_space_bytes() -> u64 {
    soft(Resource::As)
}

/// `RLIMIT_MEMLOCK`: bytes that may be locked in memory (no limit with `CAP_IPC_LOCK`).
pub fn locked_memory_bytes() -> u64 {
    soft(Resource::Memlock)
}

/// `RLIMIT_NOFILE`: one more than the highest descriptor number.
pub fn descriptors() -> u64 {
    soft(Resource::Nofile)
}

/// `RLIMIT_DATA`: bytes of private writable memory.
pub fn data_bytes() -> u64 {
    soft(Resource::Data)
}

/// `RLIMIT_STACK`: bytes the main thread's stack may grow to.
pub fn stack_bytes() -> u64 {
    soft(Resource::Stack)
}

/// `RLIMIT_CORE`: bytes of a core dump.
pub fn core_dump_bytes() -> u64 {
    soft(Resource::Core)
}
