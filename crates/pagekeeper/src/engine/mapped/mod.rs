//! The *mapped* engine: the kernel answers every fault, so system calls, locks, io_uring and debuggers just work.
//!
//! Reservations are slices of large inaccessible arenas. *Pieces* of 2 MiB are opened as commits need them: as
//! ordinary anonymous memory while the anonymous share of the budget (half of it by default) lasts, beyond that
//! **born as a shared mapping of the page file**. Nothing changes its nature later. A piece in which nothing
//! is committed any more is closed (a few are kept for a while): its share, or its place in the file, is free again.
//!
//! | module | what |
//! |---|---|
//! | [`piece`], [`page_set`] | an opened piece and what is known of its pages |
//! | [`book`] | arenas, pieces, charges; one mutex |
//! | [`open`] | opening pieces without ever showing a page too early |
//! | [`change`] | commit and protect: plan, do, undo, record |
//! | [`decommit`] | decommit and release |
//! | [`empties`] | which empty pieces stay open for a while |
//! | [`page_file`], [`files`], [`places`] | page files and who lies where in them |
//! | [`kernel`] | the calls, counted |
//! | [`lent`] | pages that views use, which no call reaches |
//! | [`balance`], [`levels`], [`trim`], [`read_ahead`], [`brake`] | keeping the file part within the budget |
//! | [`on_demand`] | threads that work while they are needed |
//! | [`look`] | where pages are, figures |
//!
//! # What counts against the budget
//!
//! *Anonymous part*: exact, by commit. The share is charged with **every page of an anonymous piece** when the
//! piece is opened (it cannot become a file piece later, so it must be able to take all its commits); what is
//! resident of it never exceeds what is committed in it. *File part*: pages of the page file in the page cache,
//! looked up in the kernel and trimmed by a thread to what the anonymous commits leave of the budget, within a
//! slack of at most 32 MiB and never more than the budget.
//!
//! # Stated results
//!
//! * A commit in an opened piece makes at most one system call; one more (a write of zeros) where the page was
//!   decommitted before and lies in the page file. Opening a run of pieces costs a constant few.
//! * Alternating commits cost no mappings. A mapping each is taken by an isolated run of pieces (two, with the
//!   gap behind it; from a quarter of the kernel's limit on, 8 and then 32 pieces are opened together, so that these
//!   do not meet it before disk and share run out), and by runs of pages that are read-only, executable, or (private, with contents) without
//!   access. Where the kernel lacks markers (before 6.13, for files 6.15) every run of committed pages is a
//!   mapping, so that `vm.max_map_count` (65,530) is met at about 32,000 runs: a clean refusal.
//! * A closed file piece gives its space back in the background, or at once when space is wanted.
//! * `mlockall`: pieces are unlocked again where the lock is in the way (markers, trimming).
//! * A child made by fork does not have the ranges (`MADV_DONTFORK`).
//! * Execute rights on file pieces need a page file on a file system that is not mounted `noexec`.

mod balance;
mod book;
mod brake;
mod change;
mod decommit;
mod empties;
mod engine;
mod files;
mod kernel;
mod lent;
mod levels;
mod look;
mod on_demand;
mod open;
mod page_file;
mod page_set;
mod piece;
mod places;
mod read_ahead;
mod trim;

#[cfg(test)]
mod tests;

pub(crate) use engine::{MappedEngine, MappedSettings, MappedSwitches};
