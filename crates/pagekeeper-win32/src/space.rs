//! The process's one space, made at the first call that needs it, from the `PAGEKEEPER_...` variables.
//!
//! Where it cannot be made (a variable says nonsense, no disk, no memory) the first call says why on the standard error
//! output, and every call fails.

#![allow(unsafe_code, reason = "UNSAFETY: registers a function for the exit")]

use std::io::Write;
use std::sync::OnceLock;

use pagekeeper::{Error, Space};

use crate::errors::Code;

static SPACE: OnceLock<Result<Space, Code>> = OnceLock::new();

/// The space.
pub(crate) fn get() -> Result<&'static Space, Code> {
    SPACE
        .get_or_init(|| open().inspect(|_| at_exit()).map_err(complain))
        .as_ref()
        .map_err(|code| *code)
}

fn open() -> Result<Space, Error> {
    Space::builder().from_env()?.build()
}

fn complain(error: Error) -> Code {
    let _ = writeln!(std::io::stderr(), "pagekeeper: {error}");
    Code::from(error)
}

/// The summary that `PAGEKEEPER_STATS=1` asks for: a static is never dropped, so nobody else would print it.
fn at_exit() {
    extern "C" fn print() {
        if let Some(Ok(space)) = SPACE.get() {
            space.print_statistics_if_wanted();
        }
    }
    // SAFETY: the function may run at any time, also while threads are still running.
    unsafe { libc::atexit(print) };
}

/// Address space in bytes that is mapped in this process but not ours: program, libraries, stacks, malloc.
pub(crate) fn mapped_by_others() -> u64 {
    SPACE
        .get()
        .and_then(|space| space.as_ref().ok())
        .map_or(0, Space::foreign_bytes)
}
