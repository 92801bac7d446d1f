//! The kernel's map of a process's address space, and the sums that it keeps.
//!
//! | module | what |
//! |---|---|
//! | [`Maps`] | `/proc/PID/maps`, line by line, in one fixed buffer |
//! | [`MapLookup`] | the mapping at an address: by `PROCMAP_QUERY` (6.11), or by reading the text |
//! | [`Residence`] | resident, swapped, locked, page tables: `status` |
//! | [`Rollup`] | proportional sums: `smaps_rollup` (walks every page table: not for polling) |

mod lines;
mod lookup;
mod sums;

pub use lines::{Maps, Region, RegionName};
pub use lookup::{ByQuery, ByText, MapLookup, map_lookup};
pub use sums::{Residence, Rollup};

#[cfg(test)]
mod tests;
