//! At scale: a million regions, a million allocations, ten million changes. Times are printed, not asserted (CI machines
//! differ); memory and right answers are asserted.

mod support;

use std::time::Instant;

use pagekeeper_model::*;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use support::{PG, RW, pages};

const ENGINE: EngineTag = EngineTag(0);
const START: u64 = 0x10_0000_0000;

fn big_space() -> AddressSpace {
    let mut space = AddressSpace::new(PageCount::new(1 << 40));
    let arena = PageRange::new(PageNumber::containing(START), PageCount::new(1 << 33));
    space.add_arena(arena, ENGINE).unwrap();
    space
}

fn reserve(space: &mut AddressSpace, size: u64) -> u64 {
    let plan = space
        .plan_reserve(&ReserveRequest::anywhere(size, ENGINE))
        .unwrap();
    space.apply_reserve(plan).address()
}

fn commit_page(space: &mut AddressSpace, address: u64) {
    let plan = space.plan_commit(address, PG, RW).unwrap();
    space.apply_commit(plan);
}

fn decommit_page(space: &mut AddressSpace, address: u64) {
    let plan = space.plan_decommit(address, PG).unwrap();
    space.apply_decommit(plan);
}

fn timed<T>(what: &str, count: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let each = start.elapsed().as_nanos() as f64 / count as f64;
    println!("{what}: {each:.0} ns each");
    result
}

#[test]
fn reserving_a_tebibyte_costs_next_to_nothing() {
    let mut space = big_space();
    reserve(&mut space, PG);
    let before = space.metadata_bytes().get();
    for _ in 0..20 {
        reserve(&mut space, 1 << 40);
    }
    let each = (space.metadata_bytes().get() - before) / 20;
    assert!(each < 300, "{each} bytes for each reservation of 1 TiB");
    assert_eq!(space.commit_account().charged(), PageCount::ZERO);
}

#[test]
fn a_million_alternating_pages_and_ten_million_changes() {
    const REGIONS: u64 = 1_000_000;
    let mut space = big_space();
    let base = reserve(&mut space, 1 << 40);
    let at = |page: u64| base + page * PG;
    timed("commit of every other page", REGIONS, || {
        (0..REGIONS).for_each(|region| commit_page(&mut space, at(2 * region)));
    });
    assert_eq!(space.totals().committed.get(), REGIONS);
    let bytes = space.metadata_bytes().get();
    println!(
        "{:.2} bytes of metadata a committed page",
        bytes as f64 / REGIONS as f64
    );
    assert!(bytes <= 16 * REGIONS, "{bytes} bytes of metadata");

    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut below = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) % bound
    };
    timed("query at random among two million regions", REGIONS, || {
        for _ in 0..REGIONS {
            let page = below(2 * REGIONS - 1);
            let region = space.query(at(page), &NoForeignMemory).unwrap();
            assert_eq!(region.range, pages(at(page), PG));
            let committed = matches!(region.state, RegionState::Committed(_));
            assert_eq!(committed, page % 2 == 0);
        }
    });

    // Ten million changes on top, with a bit for each page beside them.
    let mut shadow: Vec<bool> = (0..2 * REGIONS).map(|page| page % 2 == 0).collect();
    timed("random commit or decommit", 10_000_000, || {
        for _ in 0..10_000_000 {
            let page = below(2 * REGIONS);
            let committed = &mut shadow[page as usize];
            *committed = !*committed;
            if *committed {
                commit_page(&mut space, at(page));
            } else {
                decommit_page(&mut space, at(page));
            }
        }
    });
    let expected = shadow.iter().filter(|&&committed| committed).count() as u64;
    assert_eq!(space.totals().committed.get(), expected);
    let regions = timed("walk over regions", expected, || {
        space.regions(pages(base, 1 << 40)).count()
    });
    let changes = shadow.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(
        (changes + 1..=changes + 2).contains(&regions),
        "{regions} regions, {changes} changes"
    );
    assert!(space.metadata_bytes().get() <= 16 * expected);

    timed("decommit of everything in one call", 1, || {
        let plan = space.plan_decommit(base, 0).unwrap();
        assert_eq!(plan.refund().get(), expected);
        space.apply_decommit(plan);
    });
    let left = space.metadata_bytes().get();
    assert!(left < 10_000, "{left} bytes of metadata are left");
}

#[test]
fn a_million_allocations() {
    const COUNT: u64 = 1_000_000;
    let mut space = big_space();
    let mut bases = timed("reserve", COUNT, || {
        (0..COUNT)
            .map(|_| reserve(&mut space, 0x1_0000))
            .collect::<Vec<_>>()
    });
    let bytes = space.metadata_bytes().get() / COUNT;
    println!("{bytes} bytes of metadata an allocation");
    assert!(bytes < 256, "{bytes} bytes of metadata an allocation");
    assert!(
        space
            .allocations()
            .map(|a| a.range.address())
            .eq(bases.iter().copied()),
        "ascending"
    );

    timed(
        "release of every other and reserve in the holes",
        COUNT / 2,
        || {
            for base in bases.iter().step_by(2) {
                let plan = space.plan_release(*base, 0).unwrap();
                space.apply_release(plan);
            }
            // Too large for any hole: behind them all. Small ones: lowest hole first.
            assert_eq!(reserve(&mut space, 0x1_0001), START + COUNT * 0x1_0000);
            for base in bases.iter_mut().step_by(2) {
                assert_eq!(reserve(&mut space, 0x8000), *base);
            }
        },
    );
    assert_eq!(space.totals().allocations as u64, COUNT + 1);
    timed("reserve and release, a million alive", COUNT, || {
        for _ in 0..COUNT {
            let base = reserve(&mut space, 0x1_0000);
            let plan = space.plan_release(base, 0).unwrap();
            space.apply_release(plan);
        }
    });
    timed("release of all", COUNT, || {
        for base in bases {
            let plan = space.plan_release(base, 0).unwrap();
            space.apply_release(plan);
        }
    });
    assert_eq!(space.totals().allocations, 1);
}
