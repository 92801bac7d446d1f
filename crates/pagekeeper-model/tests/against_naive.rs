//! Random operations: the model against the plain array of `naive`.
//!
//! The fast loop does a million operations with a seed that it prints; `PAGEKEEPER_SEED` repeats one and
//! `PAGEKEEPER_OPERATIONS` changes how many. The proptest loop does fewer and shrinks what it finds.

// Longer than 500 lines because the naive model must be complete to be an oracle.

mod naive;

use std::collections::BTreeMap;

use naive::operations::{Op, Raw, op_of};
use naive::{FOREIGN, Naive, PAGES, Role, WORLD};
use pagekeeper_model::{
    Access, AddressSpace, EngineTag, ForeignKind, ForeignMapping, FreePlan, FreeRequest, PageState,
    Placement, Protection, Refusal, RegionState, ReplaceRequest, ReserveRequest, Verdict,
};
use pagekeeper_units::{PageCount, PageNumber, PageRange};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The model, the array, and the kernel's map that both would see.
struct Pair {
    space: AddressSpace,
    naive: Naive,
    kernel: Vec<ForeignMapping>,
    outcomes: Outcomes,
}

fn range(start: usize, end: usize) -> PageRange {
    let page = |page: usize| PageNumber::new(WORLD + page as u64);
    PageRange::between(page(start), page(end))
}

fn name(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// How often each kind of operation came out in which way: shows that the test reaches what it should.
type Outcomes = BTreeMap<(String, String), u64>;

/// Both refuse for the same reason, or both give the same answer.
fn agree<T: PartialEq + std::fmt::Debug>(
    outcomes: &mut Outcomes,
    model: Result<T, Refusal>,
    naive: Result<T, &'static str>,
    op: &Op,
) {
    let model = model.as_ref().map_err(name);
    let naive = naive.as_ref().map_err(|name| (*name).to_owned());
    assert_eq!(
        model, naive,
        "the model (left) and the array (right) differ on {op:x?}"
    );
    let kind = format!("{op:?}")
        .split(' ')
        .next()
        .unwrap_or_default()
        .to_owned();
    let outcome = model.err().unwrap_or_else(|| "done".to_owned());
    *outcomes.entry((kind, outcome)).or_default() += 1;
}

impl Pair {
    fn new() -> Self {
        let mut space = AddressSpace::new(PageCount::new(2000));
        let naive = Naive::new(2000);
        for arena in &naive.arenas {
            space
                .add_arena(range(arena.start, arena.end), EngineTag(arena.engine))
                .unwrap();
        }
        let mut pair = Self {
            space,
            naive,
            kernel: Vec::new(),
            outcomes: BTreeMap::new(),
        };
        pair.map_kernel();
        pair
    }

    /// The kernel shows arenas as mappings too, and merges neighbours where it can: here an arena with the foreign
    /// mapping behind it, and the two arenas that touch.
    fn map_kernel(&mut self) {
        let arenas = self
            .naive
            .arenas
            .iter()
            .map(|arena| (arena.start, arena.end));
        let mut all: Vec<_> = arenas.chain(FOREIGN).collect();
        all.sort_unstable();
        self.kernel.clear();
        for (start, end) in all {
            let range = range(start, end);
            match self.kernel.last_mut() {
                Some(last) if last.range.end() == range.start() && start != FOREIGN[1].0 => {
                    last.range = PageRange::between(last.range.start(), range.end());
                }
                _ => self.kernel.push(ForeignMapping {
                    range,
                    allocation_base: range.start(),
                    readable: true,
                    writable: true,
                    executable: false,
                    shared: false,
                    kind: ForeignKind::Anonymous,
                }),
            }
        }
    }

    fn reserve(&mut self, request: &ReserveRequest, windows: u32, op: &Op) {
        let ReserveRequest {
            at,
            size,
            engine,
            top_down,
            commit,
            placeholder,
            ..
        } = *request;
        let placed = match naive::check_protection(windows) {
            // The address and the size are looked at first, and they are in order.
            _ if placeholder && size > 0 && (windows & 0x7FF != 1 || commit) => {
                Err("PlaceholderProtected")
            }
            // The size is looked at first.
            Err(_) if size == 0 => Err("SizeZero"),
            Err(name) => Err(name),
            Ok(()) => self.naive.place(at, size, engine.0, top_down, commit),
        };
        let plan = self.space.plan_reserve(request);
        let planned = plan.as_ref().map_err(|refusal| *refusal).map(|plan| {
            (
                plan.range(),
                matches!(plan.placement(), Placement::NewArenaAt(_)),
            )
        });
        agree(
            &mut self.outcomes,
            planned,
            placed.map(|(start, end, own)| (range(start, end), own)),
            op,
        );
        let (Ok(plan), Ok((start, end, own_arena))) = (plan, placed) else {
            return;
        };
        if own_arena {
            if FOREIGN.iter().any(|&(low, high)| low < end && start < high) {
                return; // The kernel refuses: nothing is applied.
            }
            self.space.add_arena(plan.range(), engine).unwrap();
            self.naive.arenas.push(naive::Arena {
                start,
                end,
                engine: engine.0,
            });
            self.map_kernel();
        }
        self.space.apply_reserve(plan);
        let role = if placeholder {
            Role::Placeholder
        } else {
            Role::None
        };
        self.naive.reserve(start, end, windows, commit, role);
    }

    fn replace(&mut self, request: &ReplaceRequest, windows: u32, op: &Op) {
        let plan = self.space.plan_replace(request);
        agree(
            &mut self.outcomes,
            plan.as_ref().map(|_| ()).map_err(|refusal| *refusal),
            self.naive
                .replace(request.address, request.size, windows, request.commit),
            op,
        );
        if let Ok(plan) = plan {
            self.space.apply_replace(plan);
        }
    }

    fn preserve(&mut self, address: u64, size: u64, op: &Op) {
        let plan = self.space.plan_preserve(address, size);
        if let Ok(plan) = &plan {
            self.check_changes(plan.changes());
        }
        let refund = plan.as_ref().map(|plan| plan.refund().get());
        agree(
            &mut self.outcomes,
            refund.map_err(|refusal| *refusal),
            self.naive.preserve(address, size),
            op,
        );
        if let Ok(plan) = plan {
            self.space.apply_preserve(plan);
        }
    }

    fn coalesce(&mut self, address: u64, size: u64, op: &Op) {
        let plan = self.space.plan_coalesce(address, size);
        let count = plan.as_ref().map(pagekeeper_model::CoalescePlan::count);
        agree(
            &mut self.outcomes,
            count.map_err(|refusal| *refusal),
            self.naive.coalesce(address, size),
            op,
        );
        if let Ok(plan) = plan {
            self.space.apply_coalesce(plan);
        }
    }

    fn release(&mut self, address: u64, size: u64, both: bool, op: &Op) {
        let request = if both {
            FreeRequest::DecommitAndRelease
        } else {
            FreeRequest::Release
        };
        let plan = self.space.plan_free(address, size, request, false);
        agree(
            &mut self.outcomes,
            plan.as_ref().map(|_| ()).map_err(|refusal| *refusal),
            self.naive.release(address, size),
            op,
        );
        let Ok(FreePlan::Release(plan)) = plan else {
            return;
        };
        let released = plan.range();
        let promised = plan.emptied_arena();
        let emptied = self.space.apply_release(plan);
        assert_eq!(emptied, promised);
        let first = range(naive::ARENAS[0].0, naive::ARENAS[2].1);
        if emptied == Some(released) && !first.overlaps(released) || self.is_own_arena(released) {
            self.space.remove_arena(released).unwrap();
            self.map_kernel();
        }
    }

    /// Whether the model has an arena of exactly this range that the array has no more.
    fn is_own_arena(&self, released: PageRange) -> bool {
        let in_model = self
            .space
            .arena_at(released.start())
            .is_some_and(|a| a.range == released);
        in_model
            && !self
                .naive
                .arenas
                .iter()
                .any(|a| range(a.start, a.end) == released)
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Reserve {
                at,
                size,
                protection,
                engine,
                top_down,
                commit,
                placeholder,
            } => {
                let Ok(parsed) = Protection::from_windows(protection) else {
                    assert_eq!(
                        naive::check_protection(protection),
                        Err("ProtectionInvalid")
                    );
                    return;
                };
                let engine = EngineTag(engine);
                let protected = ReserveRequest {
                    protection: parsed,
                    ..ReserveRequest::anywhere(size, engine)
                };
                let request = ReserveRequest {
                    at,
                    top_down,
                    commit,
                    placeholder,
                    ..protected
                };
                self.reserve(&request, protection, op);
            }
            Op::Replace {
                address,
                size,
                protection,
                commit,
            } => {
                let Ok(parsed) = Protection::from_windows(protection) else {
                    return;
                };
                let request = ReplaceRequest {
                    address,
                    size,
                    protection: parsed,
                    commit,
                    write_watch: false,
                };
                self.replace(&request, protection, op);
            }
            Op::Preserve { address, size } => self.preserve(address, size, op),
            Op::Coalesce { address, size } => self.coalesce(address, size, op),
            Op::Commit {
                address,
                size,
                protection,
            } => {
                let Ok(parsed) = Protection::from_windows(protection) else {
                    return;
                };
                let plan = self.space.plan_commit(address, size, parsed);
                let charge = plan
                    .as_ref()
                    .map(|plan| plan.charge().get())
                    .map_err(|r| *r);
                if let Ok(plan) = &plan {
                    self.check_changes(plan.changes());
                }
                agree(
                    &mut self.outcomes,
                    charge,
                    self.naive.commit(address, size, protection),
                    op,
                );
                if let Ok(plan) = plan {
                    self.space.apply_commit(plan);
                }
            }
            Op::Decommit { address, size } => {
                let plan = self.space.plan_decommit(address, size);
                let refund = plan
                    .as_ref()
                    .map(|plan| plan.refund().get())
                    .map_err(|r| *r);
                if let Ok(plan) = &plan {
                    self.check_changes(plan.changes());
                }
                agree(
                    &mut self.outcomes,
                    refund,
                    self.naive.decommit(address, size),
                    op,
                );
                if let Ok(plan) = plan {
                    self.space.apply_decommit(plan);
                }
            }
            Op::Release {
                address,
                size,
                both,
            } => self.release(address, size, both, op),
            Op::Protect {
                address,
                size,
                protection,
            } => {
                let Ok(parsed) = Protection::from_windows(protection) else {
                    return;
                };
                let plan = self.space.plan_protect(address, size, parsed);
                let old = plan
                    .as_ref()
                    .map(|plan| plan.old().to_windows())
                    .map_err(|r| *r);
                if let Ok(plan) = &plan {
                    self.check_changes(plan.changes());
                }
                agree(
                    &mut self.outcomes,
                    old,
                    self.naive.protect(address, size, protection),
                    op,
                );
                if let Ok(plan) = plan {
                    self.space.apply_protect(plan);
                }
            }
            Op::Touch { address, write } => self.touch(address, write, op),
            Op::Lock { address, size } => self.lock(address, size, op),
            Op::Unlock { address, size } => {
                let plan = self.space.plan_unlock(address, size);
                let done = plan.as_ref().map(|_| ()).map_err(|r| *r);
                agree(
                    &mut self.outcomes,
                    done,
                    self.naive.unlock(address, size),
                    op,
                );
                if let Ok(plan) = plan {
                    self.space.apply_unlock(plan);
                }
            }
            Op::Discard { address, size } => {
                let done = self.space.plan_discard(address, size).map(|_| ());
                agree(
                    &mut self.outcomes,
                    done,
                    self.naive.discard(address, size),
                    op,
                );
            }
            Op::Reset { address, size } => {
                let plan = self.space.plan_reset(address, size);
                let pages = |plan: pagekeeper_model::ResetPlan| {
                    plan.committed()
                        .iter()
                        .map(|run| run.range.count().get())
                        .sum()
                };
                agree(
                    &mut self.outcomes,
                    plan.map(pages),
                    self.naive.reset(address, size),
                    op,
                );
            }
            Op::Query { address } => self.query(address, op),
            Op::Limit { pages } => {
                self.space
                    .commit_account_mut()
                    .set_limit(PageCount::new(pages));
                self.naive.limit = pages;
            }
        }
    }

    /// Every run of a plan says truly what its pages are now.
    fn check_changes(&self, changes: &[pagekeeper_model::Change]) {
        let mut last = PageNumber::new(0);
        for change in changes {
            assert!(
                change.range.start() >= last && !change.range.is_empty(),
                "runs ascend"
            );
            assert_ne!(
                change.before, change.after,
                "a run that changes nothing is left out"
            );
            last = change.range.end();
            for page in change.range.pages() {
                let state = self.space.state_at(page);
                assert_eq!(state, Some(change.before), "{change:?}");
            }
        }
    }

    fn touch(&mut self, address: u64, write: bool, op: &Op) {
        let access = if write { Access::Write } else { Access::Read };
        let verdict = self.space.access(address, access);
        let page = PageNumber::containing(address);
        let shown = match verdict {
            Verdict::Ok => "Ok",
            Verdict::Guard(_) => "Guard",
            Verdict::AccessViolation(_) => "AccessViolation",
            Verdict::Foreign => "Foreign",
        };
        assert_eq!(self.space.clear_guard(page), shown == "Guard", "{op:x?}");
        assert!(!self.space.clear_guard(page), "a guard goes off once");
        assert_eq!(shown, self.naive.touch(address, write), "{op:x?}");
    }

    fn lock(&mut self, address: u64, size: u64, op: &Op) {
        let plan = self.space.plan_lock(address, size);
        let done = plan.as_ref().map(|_| ()).map_err(|refusal| *refusal);
        let lockable = self.space.working_set().lockable().get();
        agree(
            &mut self.outcomes,
            done,
            self.naive.lock(address, size, lockable),
            op,
        );
        match plan {
            Ok(plan) => self.space.apply_lock(plan),
            Err(Refusal::GuardPage { page }) => assert!(self.space.clear_guard(page)),
            Err(_) => {}
        }
    }

    fn query(&self, address: u64, op: &Op) {
        let region = self.space.query(address, &self.kernel).unwrap();
        let (end, allocation, state, protect) = self.naive.query(address);
        let foreign = allocation.is_some() && region.range.end().get() != end;
        assert!(!foreign || self.space.state_at(region.range.start()).is_none());
        assert_eq!(region.range.start(), PageNumber::containing(address));
        assert_eq!(region.range.end().get(), end, "{op:x?}: {region:?}");
        let shown = match region.state {
            RegionState::Free => "Free",
            RegionState::Reserved => "Reserved",
            RegionState::Committed(_) => "Committed",
        };
        assert_eq!(
            (shown, region.state.protect()),
            (state, protect),
            "{op:x?}: {region:?}"
        );
        let is_ours = self.space.state_at(region.range.start()).is_some();
        if is_ours || allocation.is_none() {
            let base = region
                .allocation
                .map(|(base, protection)| (base.get(), protection.to_windows()));
            assert_eq!(base, allocation, "{op:x?}");
        }
    }

    fn check_totals(&self) {
        let totals = self.space.totals();
        assert_eq!(totals.committed.get(), self.naive.committed());
        assert_eq!(totals.reserved.get(), self.naive.reserved());
        assert_eq!(totals.locked.get(), self.naive.locked());
        let account = self.space.commit_account();
        assert_eq!(account.charged().get(), self.naive.committed());
        assert_eq!(account.peak().get(), self.naive.peak);
        let listed: u64 = self.space.allocations().map(|a| a.committed.get()).sum();
        assert_eq!(listed, self.naive.committed());
        let world = range(0, PAGES);
        let committed: u64 = self
            .space
            .regions(world)
            .filter(|region| matches!(region.state, RegionState::Committed(_)))
            .map(|region| region.range.count().get())
            .sum();
        assert_eq!(committed, self.naive.committed());
    }

    /// Every allocation released: nothing is left, and every hole is whole again.
    fn finish(&mut self) {
        let bases: Vec<_> = self
            .space
            .allocations()
            .map(|a| a.range.address())
            .collect();
        for address in bases {
            let op = Op::Release {
                address,
                size: 0,
                both: false,
            };
            self.step(&op);
        }
        self.check_totals();
        for (start, end, engine) in naive::ARENAS {
            let size = (end - start) as u64 * 4096;
            let request = ReserveRequest::at(range(start, end).address(), size, EngineTag(engine));
            assert!(
                self.space.plan_reserve(&request).is_ok(),
                "an arena is not whole again"
            );
        }
        let page = range(100, 101).start();
        assert_eq!(self.space.state_at(page), None::<PageState>);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The seed that was asked for, or a new one; printed, so that a failure can be repeated.
fn seed() -> u64 {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number(
        "PAGEKEEPER_SEED",
        clock.map_or(1, |time| time.as_nanos() as u64),
    );
    println!("PAGEKEEPER_SEED={seed}");
    seed
}

#[test]
fn a_million_random_operations() {
    let seed = seed();
    let operations = number("PAGEKEEPER_OPERATIONS", 1_000_000);
    let mut random = seed | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut pair = Pair::new();
    for step in 0..operations {
        let (a, b) = (next(), next());
        let mut raw = ((a >> 8) as u8, a >> 20, b >> 16, b as u8, a & 1 == 1);
        // Long stretches in which little is released, so that allocations grow old and fragmented.
        if (step / 10_000) % 2 == 1 && (13..19).contains(&(raw.0 % 40)) {
            raw.0 = 5;
        }
        let op = op_of(raw, &pair.naive);
        pair.step(&op);
        if step % 5_000 == 0 {
            pair.check_totals();
        }
        if step % 100_000 == 99_999 {
            pair.finish();
        }
    }
    pair.finish();
    let total: u64 = pair.outcomes.values().sum();
    for ((kind, outcome), count) in &pair.outcomes {
        println!("{kind:<10} {outcome:<22} {count:>8}");
    }
    println!("{total} operations that may be refused");
    if operations >= 1_000_000 {
        for kind in [
            "Reserve", "Commit", "Decommit", "Release", "Protect", "Lock", "Unlock", "Discard",
            "Reset", "Replace", "Preserve", "Coalesce",
        ] {
            let done = pair.outcomes.get(&(kind.to_owned(), "done".to_owned()));
            assert!(
                done.is_some_and(|&count| count > 500),
                "{kind} hardly ever succeeded"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn short_histories_that_shrink(
        raws in prop::collection::vec(any::<Raw>(), 1..400)
    ) {
        let mut pair = Pair::new();
        for raw in raws {
            let op = op_of(raw, &pair.naive);
            pair.step(&op);
        }
        pair.check_totals();
        pair.finish();
    }
}
