//! A snapshot as C has it: `pagekeeper.h`.

use core::ffi::c_char;

/// Declares structures of 64-bit figures that have the same names on both sides.
macro_rules! figures {
    ($(#[$attribute:meta])* $name:ident from $source:path { $($field:ident),+ $(,)? }) => {
        $(#[$attribute])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        #[allow(missing_docs, reason = "fields are those of the Rust structure of the same name")]
        pub struct $name {
            $(pub $field: u64,)+
        }

        impl From<&$source> for $name {
            fn from(source: &$source) -> Self {
                // Every field of the other side, so that none is forgotten.
                let $source { $($field),+ } = *source;
                Self { $($field),+ }
            }
        }
    };
}

figures! {
    /// Where pages are ([`pagekeeper::monitor::Whereabouts`]).
    PAGEKEEPER_PAGES from pagekeeper::monitor::Whereabouts {
        resident, modified, standby, compressed, page_file, swapped, untouched, lost,
    }
}

figures! {
    /// Sums ([`pagekeeper::monitor::Totals`]).
    PAGEKEEPER_TOTALS from pagekeeper::monitor::Totals {
        reserved_bytes, committed_bytes, private_bytes, shared_bytes, working_set_bytes, working_set_private_bytes,
        working_set_shared_bytes, modified_bytes, standby_bytes, compressed_bytes, page_file_bytes, swapped_bytes,
        pool_bytes, locked_bytes, budget_bytes, overhead_bytes, commit_charge_bytes, commit_limit_bytes,
        commit_peak_bytes, page_file_allocated_bytes, page_file_maximum_bytes, page_table_bytes,
    }
}

figures! {
    /// What happened ([`pagekeeper::monitor::Counters`]).
    PAGEKEEPER_COUNTERS from pagekeeper::monitor::Counters {
        soft_faults, hard_faults, zero_faults, transition_faults, pool_faults, bytes_in, bytes_out, clean_drops,
        packed_in_place, lost, refused, process_minor_faults, process_major_faults,
    }
}

/// An engine ([`pagekeeper::monitor::EngineFigures`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    reason = "fields are those of the Rust structure of the same name"
)]
pub struct PAGEKEEPER_ENGINE {
    pub space: u64,
    pub engine: *const c_char,
    pub budget_bytes: u64,
    pub resident_bytes: u64,
    pub modified_bytes: u64,
    pub standby_bytes: u64,
    pub compressed_bytes: u64,
    pub pool_bytes: u64,
    pub page_file_bytes: u64,
    pub peak_bytes: u64,
    pub is_sampled: u32,
    pub unused: u32,
}

/// A region ([`pagekeeper::monitor::Region`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    reason = "fields are those of the Rust structure of the same name"
)]
pub struct PAGEKEEPER_REGION {
    pub base: u64,
    pub size_bytes: u64,
    pub allocation_base: u64,
    pub allocation_protection: u32,
    pub protection: u32,
    /// 0 reserved, 1 committed, 2 merged.
    pub usage: u32,
    /// The place in [`pagekeeper::monitor::RegionKind::ALL`].
    pub kind: u32,
    pub is_shared: u32,
    pub is_sampled: u32,
    pub engine: *const c_char,
    pub name: *const c_char,
    pub file_offset: u64,
    pub committed_bytes: u64,
    pub pages: PAGEKEEPER_PAGES,
    pub heat: *const u8,
    pub heat_count: usize,
}

/// Code that faults ([`pagekeeper::monitor::FaultSite`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    reason = "fields are those of the Rust structure of the same name"
)]
pub struct PAGEKEEPER_FAULT_SITE {
    pub address: u64,
    pub faults: u64,
    pub module: *const c_char,
    pub offset: u64,
}

/// A process at one moment ([`pagekeeper::monitor::Snapshot`]).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(
    missing_docs,
    reason = "fields are those of the Rust structure of the same name"
)]
pub struct PAGEKEEPER_SNAPSHOT {
    pub taken_at_ms: u64,
    pub age_ms: u64,
    pub pid: u32,
    pub user: u32,
    pub is_pagekeeper: u32,
    pub is_residence_sampled: u32,
    pub are_faults_sampled: u32,
    pub unused: u32,
    pub name: *const c_char,
    pub command: *const c_char,
    pub totals: PAGEKEEPER_TOTALS,
    pub counters: PAGEKEEPER_COUNTERS,
    pub regions: *const PAGEKEEPER_REGION,
    pub region_count: usize,
    pub engines: *const PAGEKEEPER_ENGINE,
    pub engine_count: usize,
    pub latency: *const u64,
    pub latency_count: usize,
    pub fault_sites: *const PAGEKEEPER_FAULT_SITE,
    pub fault_site_count: usize,
    pub notes: *const *const c_char,
    pub note_count: usize,
}
