//! What the rules cost: nanoseconds an operation with 1, 1,000 and 1,000,000 allocations alive, and with a
//! million regions in one reservation.
//!
//! `cargo run --release -p pagekeeper-model --example model_costs`

use std::hint::black_box;
use std::time::Instant;

use pagekeeper_model::{
    Access, AddressSpace, EngineTag, NoForeignMemory, Protection, ReserveRequest,
};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

const ENGINE: EngineTag = EngineTag(0);
const PAGE: u64 = 4096;

/// A small generator, so that the numbers need no crate and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

fn time(name: &str, count: u64, mut operation: impl FnMut(u64)) {
    let start = Instant::now();
    for step in 0..count {
        operation(step);
    }
    let nanoseconds = start.elapsed().as_nanos() as f64 / count as f64;
    println!("  {name:<44} {nanoseconds:>8.1} ns");
}

fn space() -> AddressSpace {
    let mut space = AddressSpace::new(PageCount::new(1 << 40));
    let arena = PageRange::new(PageNumber::new(1 << 16), PageCount::new(1 << 32));
    space.add_arena(arena, ENGINE).expect("the arena is free");
    space
}

fn reserve(space: &mut AddressSpace, size: u64) -> PageNumber {
    let plan = space
        .plan_reserve(&ReserveRequest::anywhere(size, ENGINE))
        .expect("room is left");
    space.apply_reserve(plan).start()
}

fn release(space: &mut AddressSpace, base: PageNumber) {
    let plan = space.plan_release(base.address(), 0).expect("it is a base");
    space.apply_release(plan);
}

fn commit(space: &mut AddressSpace, page: PageNumber) {
    let plan = space
        .plan_commit(page.address(), PAGE, Protection::READ_WRITE)
        .expect("it is reserved");
    space.apply_commit(black_box(plan));
}

fn with_allocations(alive: u64) {
    println!("{alive} allocations of 64 KiB alive, every other one released and made anew:");
    let mut space = space();
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let mut bases: Vec<_> = (0..alive).map(|_| reserve(&mut space, 65_536)).collect();
    for _ in 0..alive / 2 {
        let at = random.below(alive) as usize;
        release(&mut space, bases[at]);
        bases[at] = reserve(&mut space, 1 + random.below(8 * 65_536));
    }
    time("reserve + release, lowest hole", 1_000_000, |_| {
        let base = reserve(&mut space, 65_536);
        release(&mut space, base);
    });
    time("release one at random, reserve another", 1_000_000, |_| {
        let at = random.below(alive) as usize;
        release(&mut space, bases[at]);
        bases[at] = reserve(&mut space, 65_536 * (1 + random.below(3)));
    });
    time("query at random", 1_000_000, |_| {
        let at = bases[random.below(alive) as usize];
        black_box(
            space
                .query(at.address() + 5000, &NoForeignMemory)
                .expect("inside"),
        );
    });
    time("commit one page in one at random", 1_000_000, |_| {
        let base = bases[random.below(alive) as usize];
        commit(&mut space, base);
    });
    let bytes = space.metadata_bytes();
    println!(
        "  metadata: {bytes:?}, {} bytes an allocation",
        bytes.get() / alive
    );
}

fn growing_array() {
    println!("one reservation of 1 TiB:");
    let mut space = space();
    let base = reserve(&mut space, 1 << 40);
    println!("  metadata: {:?}", space.metadata_bytes());
    time("commit the next page", 1_000_000, |step| {
        commit(&mut space, base.plus(PageCount::new(step)));
    });
    time("query", 1_000_000, |step| {
        let address = base.address() + step * PAGE;
        black_box(space.query(address, &NoForeignMemory).expect("inside"));
    });
    time("access verdict", 1_000_000, |step| {
        black_box(space.access(base.address() + step * PAGE, Access::Write));
    });
}

fn alternating(regions: u64) {
    println!("{regions} alternating pages in one reservation:");
    let mut space = space();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let base = reserve(&mut space, regions * 2 * PAGE);
    let page = |number: u64| base.plus(PageCount::new(number));
    time("commit every other page", regions, |step| {
        commit(&mut space, page(2 * step))
    });
    println!("  metadata: {:.2} bytes a committed page", {
        space.metadata_bytes().get() as f64 / regions as f64
    });
    time("query at random", 1_000_000, |_| {
        let address = page(random.below(2 * regions)).address();
        black_box(space.query(address, &NoForeignMemory).expect("inside"));
    });
    time("decommit or commit a page at random", 10_000_000, |_| {
        let at = page(random.below(2 * regions));
        if random.below(2) == 0 {
            commit(&mut space, at);
        } else {
            let plan = space.plan_decommit(at.address(), PAGE).expect("inside");
            space.apply_decommit(plan);
        }
    });
    time("plan one commit of everything", 1, |_| {
        let size = regions * 2 * PAGE;
        black_box(
            space
                .plan_commit(base.address(), size, Protection::READ_ONLY)
                .expect("inside"),
        );
    });
}

fn main() {
    for alive in [1, 1_000, 1_000_000] {
        with_allocations(alive);
    }
    growing_array();
    for regions in [1, 1_000, 1_000_000] {
        alternating(regions);
    }
}
