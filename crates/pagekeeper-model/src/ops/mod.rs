//! The operations of an address space, one file each. They add methods to [`crate::AddressSpace`].

mod access;
mod commit;
mod decommit;
mod discard;
mod free;
mod guard;
mod lock;
mod map_view;
mod placeholder;
mod prefetch;
mod protect;
mod query;
mod release;
mod reserve;
mod reset;

pub use access::Verdict;
pub use commit::CommitPlan;
pub use decommit::DecommitPlan;
pub use discard::DiscardPlan;
pub use free::{FreePlan, FreeRequest};
pub use lock::{LockPlan, UnlockPlan};
pub use map_view::{FollowPlan, MapPlan, MapRequest};
pub use placeholder::{CoalescePlan, PreservePlan, ReplacePlan, ReplaceRequest};
pub use prefetch::PrefetchPlan;
pub use protect::ProtectPlan;
pub use query::{RegionInfo, RegionState, RegionType};
pub use release::ReleasePlan;
pub use reserve::{Placement, ReservePlan, ReserveRequest};
pub use reset::ResetPlan;
