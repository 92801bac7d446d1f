//! The rules of a Windows address space, pure: no kernel, no threads, no unsafe code, deterministic.
//!
//! An operation is a `plan_...` that refuses or answers with a plan, and an `apply_...` that records the plan after the
//! caller made it true on real memory. Reasons to refuse are one enum, [`Refusal`]; Windows error numbers
//! are attached to them elsewhere.
//!
//! | module | what it holds |
//! |---|---|
//! | [`AddressSpace`] | allocations, arenas, commit account; the operations are in `ops`, one file each |
//! | [`Protection`], [`PageState`] | what a page may be, in one byte |
//! | [`CommitAccount`], [`WorkingSetLimits`] | what may be promised, and what may stay in RAM |
//! | [`ForeignMemory`] | the kernel's map, for queries outside our own memory |
//! | [`policy`] | which pages leave RAM, and how many come in at a fault |
//!
//! Source of the rules: windows-memory-behaviour.md; doc comments name its sections.

mod allocation;
mod arena;
mod changes;
mod commit_account;
mod foreign;
mod hints;
mod ops;
mod page_map;
pub mod policy;
mod protection;
mod refusal;
mod space;
mod state;
mod tree;
mod working_set;

pub use allocation::{AllocationInfo, AllocationKind, PlaceholderRole};
pub use arena::{ArenaError, ArenaInfo};
pub use changes::{Change, ChangeList};
pub use commit_account::CommitAccount;
pub use foreign::{ForeignKind, ForeignMapping, ForeignMemory, NoForeignMemory};
pub use ops::*;
pub use protection::{Access, BaseProtection, Protection};
pub use refusal::Refusal;
pub use space::{AddressSpace, Totals};
pub use state::PageState;
pub use working_set::{WorkingSetChange, WorkingSetFlags, WorkingSetLimits};

/// Which engine owns an arena or serves an allocation. Chosen by the caller; the model only compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct EngineTag(pub u8);
