//! The one door through which this crate reaches locks and atomics.
//!
//! Everything that the fault path locks is a [`Lock`]: a futex lock that allocates nothing, taken
//! with all signals blocked. What it guards are atomics in tables, stored and loaded relaxed: the
//! lock orders them.

pub(crate) use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64};

/// A lock for the fault path.
pub(crate) type Lock<T = ()> = pagekeeper_sys::lock::FutexLock<T>;
