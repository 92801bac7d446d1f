//! Looking at memory: a process at one moment, without stopping it.
//!
//! What a process that uses Pagekeeper says of itself is asked of it and exact; any other process is looked at through the
//! kernel's `/proc`. Both come as the same [`Snapshot`].
//!
//! | item | what |
//! |---|---|
//! | [`Snapshot`] | a process at one moment: totals, counters, engines, latencies, fault sites, regions |
//! | [`Region`] | one stretch of address space, and how much of it is where |
//! | [`snapshot()`] | this process |
//! | [`Observer`] | looks at one process again and again |
//! | [`Processes`], [`processes()`] | the list of processes |
//! | [`MonitorError`] | why a process cannot be looked at |

mod error;
mod heat;
mod kernel_view;
mod live;
mod observer;
mod page_info;
mod page_map;
mod processes;
mod region;
mod snapshot;
mod sums;

pub use error::MonitorError;
pub(crate) use live::start as start_live_source;
pub use observer::Observer;
pub use page_info::PageInfo;
pub use processes::{ProcessSummary, Processes, processes};
pub use region::{HEAT_CELLS, Region, RegionKind, RegionUse, Whereabouts, protection_name};
pub use snapshot::{Counters, EngineFigures, FaultSite, Snapshot, Source, Totals, snapshot};
