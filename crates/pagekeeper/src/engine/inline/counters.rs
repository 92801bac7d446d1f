//! What the fault path and the way out count.

use crate::fault_sites::FaultSites;
use crate::statistics::{Counter, EngineStatistics, LatencyHistogram};

/// What the fault path counts.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) zero_faults: Counter,
    pub(crate) soft_faults: Counter,
    pub(crate) pool_faults: Counter,
    pub(crate) hard_faults: Counter,
    pub(crate) pages_in: Counter,
    pub(crate) pages_out: Counter,
    pub(crate) clean_drops: Counter,
    pub(crate) packed_in_place: Counter,
    pub(crate) pages_ahead: Counter,
    pub(crate) lost: Counter,
    pub(crate) refused: Counter,
    pub(crate) latency: LatencyHistogram,
    pub(crate) sites: FaultSites,
}

impl Counters {
    /// What was counted, without the figures of the working set's lists.
    pub(super) fn statistics(&self) -> EngineStatistics {
        EngineStatistics {
            zero_faults: self.zero_faults.get(),
            soft_faults: self.soft_faults.get(),
            pool_faults: self.pool_faults.get(),
            hard_faults: self.hard_faults.get(),
            pages_in: self.pages_in.get(),
            pages_out: self.pages_out.get(),
            clean_drops: self.clean_drops.get(),
            packed_in_place: self.packed_in_place.get(),
            pages_ahead: self.pages_ahead.get(),
            lost: self.lost.get(),
            refused: self.refused.get(),
            latency: self.latency.snapshot(),
            sites: self.sites.snapshot(),
            ..EngineStatistics::default()
        }
    }
}
