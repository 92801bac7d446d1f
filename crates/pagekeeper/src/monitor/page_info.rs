//! One page: what region it lies in, and where it is.

use pagekeeper_units::{HIGHEST_ADDRESS, PAGE_SIZE, PageNumber};

use super::kernel_view::{self, Pages};
use super::region::{Region, Whereabouts};
use super::snapshot::Snapshot;

/// Where a page is, and what region it lies in.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PageInfo {
    /// The region from the page upwards; `None` where the address space is free.
    pub region: Option<Region>,
    /// How far free address space goes, in bytes; 0 where it is not free.
    pub free_bytes: u64,
    /// Where the page is, in one word: `resident`, `modified`, `standby`, `compressed`, `page_file`, `swapped`, `untouched`,
    /// `lost`; empty where nothing is committed, or it is not known.
    pub page: String,
}

pub(super) fn residence_name(residence: crate::Residence) -> &'static str {
    match residence {
        crate::Residence::Untouched => "untouched",
        crate::Residence::Resident => "resident",
        crate::Residence::Modified => "modified",
        crate::Residence::Standby => "standby",
        crate::Residence::Compressed => "compressed",
        crate::Residence::PageFile => "page_file",
        crate::Residence::Lost => "lost",
    }
}

/// A region from the page of `address` upwards, and where that page is, by the kernel.
pub(super) fn from_page(region: &Region, address: u64, pages: Option<&Pages>) -> PageInfo {
    let page = PageNumber::containing(address);
    let mut above = region.clone();
    above.base = page.address();
    above.size_bytes = region.end() - above.base;
    if above.committed_bytes > 0 {
        above.committed_bytes = above.size_bytes;
    }
    let mut only = [Region {
        size_bytes: PAGE_SIZE as u64,
        committed_bytes: above.committed_bytes.min(PAGE_SIZE as u64),
        pages: Whereabouts::default(),
        ..above.clone()
    }];
    let looked = pages.is_some_and(|pages| kernel_view::fill_pages(pages, &mut only).is_ok());
    let found = &only[0].pages;
    let page = match (looked, above.committed_bytes > 0) {
        (true, true) if found.resident > 0 => "resident",
        (true, true) if found.swapped > 0 => "swapped",
        (true, true) => "untouched",
        _ => "",
    };
    PageInfo {
        region: Some(above),
        free_bytes: 0,
        page: page.to_owned(),
    }
}

pub(super) fn free_at(snapshot: &Snapshot, address: u64) -> PageInfo {
    let page = PageNumber::containing(address).address();
    let behind = snapshot
        .regions
        .partition_point(|region| region.base <= address);
    let end = snapshot
        .regions
        .get(behind)
        .map_or(HIGHEST_ADDRESS + 1, |region| region.base);
    PageInfo {
        region: None,
        free_bytes: end.saturating_sub(page),
        page: String::new(),
    }
}
