//! Query: what a page is. Windows: `VirtualQuery`.

use pagekeeper_model::{Access, PageState, RegionInfo, RegionState, Verdict};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use super::{Core, Request, Shared, Space, foreign};
use crate::engine::{Change, Residence};
use crate::error::Error;

impl Space {
    /// What the page at `address` is, and how far upwards pages are like it; for any address, free and foreign ones too.
    /// Never faults and never disarms a guard.
    ///
    /// Memory that this space did not make (program, libraries, stack, other spaces) is answered from the kernel's map.
    ///
    /// Windows: `VirtualQuery`.
    ///
    /// # Errors
    /// `AddressTooHigh` above the highest address that a program may use.
    pub fn query(&self, address: u64) -> Result<RegionInfo, Error> {
        let request = Request::new("query", address, 0);
        let mut core = self.shared().core();
        core.follow_section(address);
        let mut region = core
            .model
            .query(address, &foreign::KernelMap::new(&core.foreign))
            .map_err(|refusal| request.refused(refusal))?;
        core.show_copies(&mut region);
        Ok(region)
    }

    /// What an access at `address` meets now, and does to it: an armed guard page is disarmed by asking, as by the access. For
    /// those who copy on behalf of others and were refused.
    pub fn access(&self, address: u64, access: Access) -> Verdict {
        self.shared().judge(address, access)
    }

    /// Where each page of the `size` bytes at `address` is right now, in runs, upwards. Pages that are not committed
    /// are left out. Windows: `QueryWorkingSetEx`, with more to say.
    pub fn residence(&self, address: u64, size: u64) -> Vec<(PageRange, Residence)> {
        let mut runs = Vec::new();
        let core = self.shared().core();
        let Some(range) = PageRange::touched_by(address, size) else {
            return runs;
        };
        for region in core.model.regions(range) {
            let RegionState::Committed(_) = region.state else {
                continue;
            };
            let engine = core
                .engine_of(region.range)
                .and_then(|tag| core.ledger.engine(tag));
            if let Some(engine) = engine {
                engine.residence(region.range.intersection(range), &mut |part, residence| {
                    runs.push((part, residence));
                });
            }
        }
        runs
    }
}

impl Shared {
    /// What the rules say to an access now. An armed guard page is disarmed by asking, as by the access.
    pub(crate) fn judge(&self, address: u64, access: Access) -> Verdict {
        let mut core = self.core();
        if core.offered.contains(PageNumber::containing(address)) {
            let state = core.model.state_at(PageNumber::containing(address));
            return Verdict::AccessViolation(state);
        }
        core.follow_section(address);
        let verdict = core.model.access(address, access);
        let Verdict::Guard(remaining) = verdict else {
            return verdict;
        };
        let page = PageNumber::containing(address);
        debug_assert_eq!(core.model.guard_at(page), Some(remaining));
        if core.disarm(page) {
            verdict
        } else {
            // The kernel refuses to open the page: it stays armed, and the access is wrong.
            Verdict::AccessViolation(core.model.state_at(page))
        }
    }

    /// A few words on the page at `address`, for a message.
    pub(crate) fn describe(&self, address: u64) -> String {
        let core = self.core();
        let page = PageNumber::containing(address);
        match (core.model.state_at(page), core.model.allocation_at(page)) {
            (Some(PageState::Committed(protection)), _) => {
                format!("committed, {protection}")
            }
            (Some(PageState::Reserved), Some(allocation)) => format!(
                "reserved but not committed (reservation at {:#x}, {} bytes)",
                allocation.range.address(),
                allocation.range.bytes().get()
            ),
            _ => "free".to_owned(),
        }
    }
}

impl Core {
    /// Disarms the guard of `page`, on real memory and in the rules; whether it is disarmed now by this call.
    pub(crate) fn disarm(&mut self, page: PageNumber) -> bool {
        let Some(remaining) = self.model.guard_at(page) else {
            return false;
        };
        let tag = self.engine_of(PageRange::new(page, PageCount::ONE));
        let engine = tag.and_then(|tag| self.ledger.engine(tag));
        let opened = engine.is_some_and(|engine| engine.disarm_guard(page, remaining).is_ok());
        if !opened || !self.model.clear_guard(page) {
            return false;
        }
        self.watch_again(&[Change {
            range: PageRange::new(page, PageCount::ONE),
            before: PageState::Committed(remaining),
            after: PageState::Committed(remaining),
        }]);
        true
    }
}
