//! Sums: from the kernel's figures, from what the process said, and from the regions.

use std::time::{SystemTime, UNIX_EPOCH};

use pagekeeper_sys::process::{Identity, Transfers};
use pagekeeper_sys::procmap::Residence;
use pagekeeper_units::PAGE_SIZE;

use super::kernel_view::InMemory;
use super::live::record::LiveFigures;
use super::region::Region;
use super::snapshot::{Counters, FaultSite, Snapshot, Source, Totals};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What the kernel counted of a process.
pub(super) fn count_activity(snapshot: &mut Snapshot, pid: u32, identity: &Identity) {
    let transfers = Transfers::of(pid).unwrap_or_default();
    let counters = &mut snapshot.counters;
    counters.process_minor_faults = identity.minor_faults;
    counters.process_major_faults = identity.major_faults;
    counters.soft_faults = identity.minor_faults;
    counters.hard_faults = identity.major_faults;
    counters.bytes_in = transfers.read_bytes;
    counters.bytes_out = transfers.written_bytes;
}

/// Sums without regions: what the kernel keeps. What is committed is estimated.
pub(super) fn totals_of(sums: &Residence) -> Totals {
    let private_bytes = sums.data_bytes + sums.stack_bytes;
    Totals {
        reserved_bytes: sums.mapped_bytes,
        committed_bytes: private_bytes + sums.code_bytes,
        private_bytes,
        shared_bytes: sums.code_bytes,
        working_set_bytes: sums.resident_bytes,
        working_set_private_bytes: sums.anonymous_bytes,
        working_set_shared_bytes: sums.file_bytes + sums.shared_bytes,
        swapped_bytes: sums.swapped_bytes,
        locked_bytes: sums.locked_bytes,
        page_table_bytes: sums.page_table_bytes,
        ..Totals::default()
    }
}

/// Makes the first group of the totals the sum of the regions.
pub(super) fn sum_up(totals: &mut Totals, regions: &[Region], in_memory: Option<InMemory>) {
    let page = PAGE_SIZE as u64;
    let mut sum = Totals::default();
    for region in regions {
        sum.reserved_bytes += region.size_bytes;
        sum.committed_bytes += region.committed_bytes;
        if region.shared || region.kind.is_file() {
            sum.shared_bytes += region.committed_bytes;
        } else {
            sum.private_bytes += region.committed_bytes;
        }
        sum.working_set_bytes += region.pages.resident * page;
        sum.modified_bytes += region.pages.modified * page;
        sum.standby_bytes += region.pages.standby * page;
        sum.compressed_bytes += region.pages.compressed * page;
        sum.page_file_bytes += region.pages.page_file * page;
        sum.swapped_bytes += region.pages.swapped * page;
    }
    totals.reserved_bytes = sum.reserved_bytes;
    totals.committed_bytes = sum.committed_bytes;
    totals.private_bytes = sum.private_bytes;
    totals.shared_bytes = sum.shared_bytes;
    let Some(in_memory) = in_memory else {
        return;
    };
    totals.working_set_bytes = sum.working_set_bytes;
    totals.working_set_private_bytes = in_memory.private * page;
    totals.working_set_shared_bytes = in_memory.shared * page;
    totals.modified_bytes = sum.modified_bytes;
    totals.standby_bytes = sum.standby_bytes;
    totals.compressed_bytes = sum.compressed_bytes;
    totals.page_file_bytes = sum.page_file_bytes;
    totals.swapped_bytes = sum.swapped_bytes;
}

/// What the process said of itself, over what the kernel says of it.
pub(super) fn add_told(snapshot: &mut Snapshot, told: LiveFigures) {
    let process = snapshot.totals.clone();
    let kernel = snapshot.counters.clone();
    let is_sampled = told.is_sampled();
    snapshot.source = Source::Pagekeeper;
    snapshot.age_ms = now_ms().saturating_sub(told.taken_at_ms);
    snapshot.residence = told.residence;
    snapshot.faults = told.faults;
    snapshot.totals = Totals {
        committed_bytes: told.totals.commit_charge_bytes,
        private_bytes: told.totals.commit_charge_bytes,
        shared_bytes: 0,
        working_set_bytes: process.working_set_bytes,
        working_set_private_bytes: process.working_set_private_bytes,
        working_set_shared_bytes: process.working_set_shared_bytes,
        swapped_bytes: process.swapped_bytes,
        page_table_bytes: process.page_table_bytes,
        ..told.totals
    };
    snapshot.counters = Counters {
        process_minor_faults: kernel.process_minor_faults,
        process_major_faults: kernel.process_major_faults,
        ..told.counters
    };
    snapshot.engines = told.engines;
    snapshot.latency = told.latency;
    snapshot.fault_sites = told
        .sites
        .into_iter()
        .map(|(address, faults)| FaultSite {
            address,
            faults,
            ..FaultSite::default()
        })
        .collect();
    snapshot.notes.extend(told.notes);
    if is_sampled {
        snapshot.notes.push(
            "with the mapped engine pages and faults are looked up in the kernel, not counted one by one"
                .to_owned(),
        );
    }
}

/// Which file the code at an address comes from.
pub(super) fn place_code(site: &mut FaultSite, regions: &[Region]) {
    let behind = regions.partition_point(|region| region.base <= site.address);
    let region = behind.checked_sub(1).and_then(|place| regions.get(place));
    if let Some(region) = region.filter(|region| site.address < region.end()) {
        site.module.clone_from(&region.name);
        site.offset = site.address - region.base + region.file_offset;
    }
}
