//! Working-set policy, pure: which extents leave RAM, how many pages come in at a fault, when to begin.
//!
//! The pager calls it on the fault path under a futex lock: nothing here allocates after construction, panics, or
//! loops without a bound.

mod extent_queue;
mod extent_table;
mod pool_share;
mod read_ahead;
mod watermarks;

pub use extent_queue::{ExtentQueue, Insertion};
pub use extent_table::ExtentStorage;
pub use pool_share::PoolShare;
pub use read_ahead::{Directions, ReadAhead, Window};
pub use watermarks::Watermarks;
