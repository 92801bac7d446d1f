//! Against the real map of this process.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches and protects memory that the test has just reserved"
)]

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::*;
use crate::map::{self, Access, Treatment, reserve};

/// Six pages, of which the middle two have other rights: three mappings.
fn striped() -> map::Mapping {
    let memory = reserve(PageCount::new(6), Access::READ_WRITE, Treatment::empty()).unwrap();
    let middle = PageRange::new(memory.page(2), PageCount::new(2));
    // SAFETY: Ours, and nobody looks at it.
    unsafe { map::protect(middle, Access::READ).unwrap() };
    memory
}

fn lookups() -> Vec<Box<dyn MapLookup>> {
    let mut lookups: Vec<Box<dyn MapLookup>> = vec![Box::new(ByText)];
    match ByQuery::open() {
        Ok(query) => lookups.push(Box::new(query)),
        Err(errno) => println!("PROCMAP_QUERY is left out, because opening it gives {errno}"),
    }
    lookups
}

#[test]
fn both_lookups_find_the_same_region() {
    let memory = striped();
    for lookup in lookups() {
        let middle = memory.range().address() + 2 * PAGE_SIZE as u64 + 17;
        let region = lookup.at(middle).unwrap().unwrap();
        assert_eq!(
            region.range,
            PageRange::new(memory.page(2), PageCount::new(2))
        );
        assert_eq!(region.access, Access::READ);
        assert!(!region.shared && !region.has_file());
        let own_code = both_lookups_find_the_same_region as *const () as u64;
        let region = lookup.at(own_code).unwrap().unwrap();
        assert_eq!(region.access, Access::READ | Access::EXECUTE);
        assert!(region.has_file());
        let path = std::env::current_exe().unwrap();
        assert_eq!(region.name.to_text(), path.to_str().unwrap());
    }
}

#[test]
fn free_addresses_lead_to_the_next_region_or_nowhere() {
    let memory = striped();
    for lookup in lookups() {
        assert_eq!(lookup.at(0x10).unwrap(), None);
        let first = lookup.at_or_above(0).unwrap().unwrap();
        assert!(first.range.start() > PageNumber::new(0));
        assert_eq!(lookup.at_or_above(u64::MAX).unwrap(), None);
        assert!(
            lookup
                .at_or_above(memory.range().address())
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn the_whole_map_is_sorted_and_whole() {
    let memory = striped();
    let mut maps = Maps::own().unwrap();
    for _ in 0..2 {
        let regions: Vec<_> = maps.by_ref().map(Result::unwrap).collect();
        assert!(
            regions
                .windows(2)
                .all(|two| two[0].range.end() <= two[1].range.start())
        );
        assert!(
            regions
                .iter()
                .any(|region| region.name.as_bytes() == b"[stack]")
        );
        let ours: u64 = regions
            .iter()
            .map(|region| region.range.intersection(memory.range()).count().get())
            .sum();
        assert_eq!(ours, 6);
        maps.rewind().unwrap();
    }
}

#[test]
fn thousands_of_lines_pass_through_one_buffer() {
    let memory = reserve(PageCount::new(4000), Access::READ_WRITE, Treatment::empty()).unwrap();
    for index in (0..4000).step_by(2) {
        let page = PageRange::new(memory.page(index), PageCount::ONE);
        // SAFETY: Ours, and nobody looks at it.
        unsafe { map::protect(page, Access::READ).unwrap() };
    }
    let inside = |region: &Region| memory.range().covers(region.range);
    let count = Maps::own()
        .unwrap()
        .map(Result::unwrap)
        .filter(inside)
        .count();
    assert!(count >= 3999, "{count} regions");
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    assert!(Maps::of(u32::MAX >> 2).is_err());
    assert!(Residence::of(u32::MAX >> 2).is_err());
    assert!(Rollup::of(u32::MAX >> 2).is_err());
}

#[test]
fn sums_see_what_was_touched() {
    let pages = 4096;
    let treatment = Treatment::NO_HUGE_PAGES;
    let before = Residence::own().unwrap();
    let memory = reserve(PageCount::new(pages), Access::READ_WRITE, treatment).unwrap();
    for index in 0..pages as usize {
        // SAFETY: Inside the mapping.
        unsafe { memory.base().add(index * PAGE_SIZE).write_volatile(1) };
    }
    let after = Residence::own().unwrap();
    let touched = pages * PAGE_SIZE as u64;
    let slack = 2 << 20; // other tests come and go in other threads
    assert!(after.mapped_bytes + (64 << 20) >= before.mapped_bytes + touched);
    assert!(after.anonymous_bytes + slack >= touched, "{after:?}");
    assert!(after.peak_resident_bytes >= after.resident_bytes.min(touched));
    let rollup = Rollup::own().unwrap();
    assert!(rollup.anonymous_bytes >= touched && rollup.private_dirty_bytes >= touched);
    assert!(rollup.proportional_bytes <= rollup.resident_bytes);
}

#[test]
fn a_query_whose_number_was_taken_is_noticed() {
    let Ok(query) = ByQuery::open() else {
        println!("skipped, because this kernel does not answer PROCMAP_QUERY");
        return;
    };
    assert!(query.is_intact());
    let other = std::fs::File::open("/proc/self/status").unwrap();
    // Under its number lies another file now, which dropping the query must leave open.
    let number = query.number();
    // SAFETY: the number is the query's, which is asked nothing more than whether it is intact.
    let replaced = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&other), number) };
    assert_eq!(replaced, number);
    assert!(!query.is_intact());
    drop(query);
    // SAFETY: as above; it was not closed, so it is closed here.
    assert_eq!(unsafe { libc::close(number) }, 0);
}
