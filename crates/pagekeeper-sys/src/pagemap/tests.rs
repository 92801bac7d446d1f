//! The three ways to look at the page map agree about real memory.

use pagekeeper_units::PAGE_SIZE;

use super::*;
use crate::map::{self, Access, Advice, Treatment, reserve};

/// 16 pages, of which some are touched: 0, 1 and 5 written, 8 only read (the page of zeros).
fn patterned() -> map::Mapping {
    let treatment = Treatment::NO_HUGE_PAGES;
    let memory = reserve(PageCount::new(16), Access::READ_WRITE, treatment).unwrap();
    for page in [0, 1, 5] {
        // SAFETY: Inside the mapping.
        unsafe { memory.base().add(page * PAGE_SIZE).write_volatile(1) };
    }
    // SAFETY: Inside the mapping.
    unsafe { memory.base().add(8 * PAGE_SIZE).read_volatile() };
    memory
}

#[test]
fn entries_show_what_was_touched() {
    let memory = patterned();
    let entries = Entries::open().unwrap();
    let mut words = [Entry::default(); 20];
    assert_eq!(entries.read(memory.range(), &mut words), Ok(16));
    let present: Vec<_> = (0..16).filter(|&page| words[page].is_present()).collect();
    assert_eq!(present, [0, 1, 5, 8]);
    assert!(words[0].is_exclusive() && !words[0].is_file() && !words[0].is_swapped());
    assert!(!words[8].is_exclusive());
    let mut few = [Entry::default(); 2];
    assert_eq!(entries.read(memory.range(), &mut few), Ok(2));
}

#[test]
fn entries_of_large_ranges_come_in_pieces() {
    let pages = PageCount::new(1000);
    let memory = reserve(pages, Access::READ_WRITE, Treatment::NO_HUGE_PAGES).unwrap();
    // SAFETY: Inside the mapping.
    unsafe { memory.base().add(777 * PAGE_SIZE).write_volatile(1) };
    let mut words = vec![Entry::default(); 1000];
    assert_eq!(
        Entries::open().unwrap().read(memory.range(), &mut words),
        Ok(1000)
    );
    assert_eq!(words.iter().position(|word| word.is_present()), Some(777));
    assert_eq!(words.iter().filter(|word| word.is_present()).count(), 1);
}

#[test]
fn scans_report_runs_by_category() {
    let Ok(scan) = Scan::open() else {
        return println!("skipped, because nothing can scan");
    };
    let memory = patterned();
    let collect = |query: Query| {
        let mut runs = Vec::new();
        scan.walk(memory.range(), query, |range, categories| {
            let first = range.start().get() - memory.page(0).get();
            runs.push((first, range.count().get(), categories));
        })
        .unwrap();
        runs
    };
    let (present, zero) = (Categories::PRESENT, Categories::ZERO);
    let both = Query::new().all_of(present).report(present | zero);
    assert_eq!(
        collect(both),
        [(0, 2, present), (5, 1, present), (8, 1, present | zero)]
    );
    assert_eq!(
        collect(Query::new().all_of(present).none_of(zero).report(present)),
        [(0, 2, present), (5, 1, present)]
    );
    let at_most = Query::new()
        .all_of(present)
        .report(present)
        .at_most(PageCount::ONE);
    let mut runs = [PageRun::default(); 4];
    let scanned = scan.once(memory.range(), at_most, &mut runs).unwrap();
    assert_eq!(scanned.runs, 1);
    assert_eq!(runs[0].range().count(), PageCount::ONE);
    assert!(scanned.stopped_at < memory.range().end());
}

#[test]
fn many_runs_pass_through_a_small_buffer() {
    let Ok(scan) = Scan::open() else {
        return println!("skipped, because nothing can scan");
    };
    let pages = PageCount::new(1000);
    let memory = reserve(pages, Access::READ_WRITE, Treatment::NO_HUGE_PAGES).unwrap();
    for page in (0..1000).step_by(2) {
        // SAFETY: Inside the mapping.
        unsafe { memory.base().add(page * PAGE_SIZE).write_volatile(1) };
    }
    let query = Query::new()
        .all_of(Categories::PRESENT)
        .report(Categories::PRESENT);
    let mut seen = Vec::new();
    scan.walk(memory.range(), query, |range, _| {
        seen.extend(range.pages().map(|page| page.get() - memory.page(0).get()));
    })
    .unwrap();
    assert_eq!(seen, (0..1000).step_by(2).collect::<Vec<_>>());
}

#[test]
fn guard_markers_can_be_seen() {
    let memory = patterned();
    let range = PageRange::new(memory.page(4), PageCount::new(2));
    // SAFETY: Ours.
    if unsafe { map::advise(range, Advice::GuardInstall) }.is_err() {
        return println!("skipped, because this kernel has no markers");
    }
    let mut words = [Entry::default(); 16];
    Entries::open()
        .unwrap()
        .read(memory.range(), &mut words)
        .unwrap();
    let marked: Vec<_> = (0..16).filter(|&page| words[page].is_guard()).collect();
    if marked.is_empty() {
        return println!("skipped, because this kernel does not show its markers");
    }
    assert_eq!(marked, [4, 5]);
}

#[test]
fn residence_counts_pages_and_refuses_holes() {
    let memory = patterned();
    // The page of zeros counts as there for some kernels and not for others.
    let count = resident_pages(memory.range()).unwrap().get();
    assert!((3..=4).contains(&count), "{count}");
    let mut short = [0; 3];
    assert_eq!(residence(memory.range(), &mut short), Err(Errno::INVAL));
    let nowhere = PageRange::new(PageNumber::new(1 << 30), PageCount::ONE);
    assert_eq!(resident_pages(nowhere), Err(Errno::NOMEM));
    assert_eq!(resident_pages(PageRange::default()), Ok(PageCount::ZERO));
}

#[test]
fn both_presences_agree() {
    use crate::probe::{Feature, Features, Switches};
    let memory = patterned();
    let all = Features::get().clone();
    let without = all
        .clone()
        .with(Switches::all_on().without(Feature::PagemapScan));
    let wanted: Vec<_> = [(0, 2), (5, 1), (8, 1)]
        .map(|(first, count)| PageRange::new(memory.page(first), PageCount::new(count)))
        .into();
    for features in [all, without] {
        let presence = presence(&features).unwrap();
        let mut runs = Vec::new();
        presence
            .present_runs(memory.range(), &mut |run| runs.push(run))
            .unwrap();
        assert_eq!(runs, wanted, "{}", presence.name());
        assert_eq!(
            presence.present_pages(memory.range()),
            Ok(PageCount::new(4))
        );
        let odd = PageRange::new(memory.page(1), PageCount::new(5));
        assert_eq!(presence.present_pages(odd), Ok(PageCount::new(2)));
        let large = reserve(
            PageCount::new(5000),
            Access::READ_WRITE,
            Treatment::NO_HUGE_PAGES,
        );
        let large = large.unwrap();
        // SAFETY: Ours.
        unsafe { map::advise(large.range(), Advice::PopulateWrite).unwrap() };
        assert_eq!(
            presence.present_pages(large.range()),
            Ok(PageCount::new(5000))
        );
    }
}
