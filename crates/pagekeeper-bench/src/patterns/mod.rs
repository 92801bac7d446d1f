//! What is measured: one file per family.
//!
//! | family | what |
//! |---|---|
//! | [`paging`] | data several times larger than the RAM: fill, scan, random and other patterns ([`access`]), everything checked |
//! | [`fits`] | data that fits: first touch, random reads, bytes written |
//! | [`metadata`] | reserve, commit, query, decommit: in time and in bytes |
//! | [`heap`] | a private heap beside glibc's malloc and mimalloc |
//! | [`views`] | a mapped file: our view beside a plain `mmap` |
//! | [`monitor`] | the same work watched and unwatched |
//! | [`calls`] | the same calls with few and many reservations alive, one and two threads |

pub(crate) mod access;
pub(crate) mod calls;
pub(crate) mod fits;
pub(crate) mod heap;
pub(crate) mod metadata;
pub(crate) mod monitor;
pub(crate) mod paging;
pub(crate) mod views;
