//! Every reason to refuse has its Windows error number, so that the one table in `pagekeeper-win32` can be filled: this is
//! that table, taken from windows-memory-behaviour.md.

use std::collections::HashSet;

use pagekeeper_model::{EngineTag, Protection, Refusal};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

/// One of each. A variant that is added must be added here: see the match below.
fn every_refusal() -> Vec<Refusal> {
    let (address, size) = (0x1_2345, 0x2000);
    let page = PageNumber::new(0x12);
    let (pages, range) = (PageCount::new(5), PageRange::new(page, PageCount::new(5)));
    vec![
        Refusal::SizeZero,
        Refusal::SizeNotZero { size },
        Refusal::AddressTooLow { address },
        Refusal::AddressTooHigh { address },
        Refusal::EndsPastAddressSpace { address, size },
        Refusal::ProtectionInvalid { value: 0x101 },
        Refusal::ProtectionNotForPrivate {
            protection: Protection::WRITE_COPY,
        },
        Refusal::DecommitWithRelease,
        Refusal::ConflictingAddresses { allocation: page },
        Refusal::CrossesArena { arena: range },
        Refusal::ArenaOfOtherEngine {
            engine: EngineTag(2),
        },
        Refusal::NoHole { pages },
        Refusal::NotAllocated { address },
        Refusal::LeavesAllocation { allocation: range },
        Refusal::DecommitPastEnd { allocation: range },
        Refusal::NotAtBase { base: page },
        Refusal::NotCommitted { page },
        Refusal::CommitmentLimit {
            wanted: pages,
            available: pages,
        },
        Refusal::NotAccessible { page },
        Refusal::GuardPage { page },
        Refusal::WorkingSetQuota {
            wanted: pages,
            available: pages,
        },
        Refusal::NotLocked { page },
        Refusal::NotPageAligned { address, size },
        Refusal::NotReadWrite {
            page,
            protection: Protection::READ_ONLY,
        },
        Refusal::NotWatched { address },
        Refusal::NotPhysical { address },
        Refusal::InWindow { address },
        Refusal::NoRanges,
        Refusal::WorkingSetLimits {
            minimum: pages,
            maximum: pages,
            least: pages,
            most: pages,
        },
        Refusal::WorkingSetFlags { flags: 3 },
    ]
}

/// What GetLastError() gives, and the section that says so.
fn windows_error(refusal: &Refusal) -> (u32, &'static str) {
    use Refusal as R;
    match refusal {
        R::SizeZero => (87, "4.4, 6, 10.4"),
        R::SizeNotZero { .. } => (87, "5.3"),
        R::AddressTooLow { .. } | R::AddressTooHigh { .. } => (87, "4.4, 5.3, 7"),
        R::EndsPastAddressSpace { .. } => (87, "4.4"),
        R::ProtectionInvalid { .. } | R::ProtectionNotForPrivate { .. } => (87, "4.3, 6"),
        R::DecommitWithRelease => (87, "5.1"),
        R::ConflictingAddresses { .. } => (487, "4.4"),
        R::CrossesArena { .. } | R::ArenaOfOtherEngine { .. } => (487, "ours: as if taken"),
        R::NoHole { .. } => (8, "4.4"),
        R::NotAllocated { .. } => (487, "4.4, 5.2, 5.3, 6"),
        R::LeavesAllocation { .. } => (487, "4.4, 4.6, 6"),
        R::DecommitPastEnd { .. } => (87, "5.2"),
        R::NotAtBase { .. } => (487, "5.2, 5.3"),
        R::NotCommitted { .. } => (487, "6"),
        R::CommitmentLimit { .. } => (1455, "4.4, 14"),
        R::NotAccessible { .. } => (998, "10.1"),
        R::GuardPage { .. } => (0x8000_0001, "8.3"),
        R::WorkingSetQuota { .. } => (1453, "10.1"),
        R::NotLocked { .. } => (158, "10.1"),
        R::NotPageAligned { .. } | R::NotReadWrite { .. } => (87, "10.4"),
        R::NotWatched { .. } => (87, "9"),
        R::NotPhysical { .. } | R::InWindow { .. } => (87, "11"),
        R::NoRanges => (87, "10.4"),
        R::WorkingSetLimits { .. } | R::WorkingSetFlags { .. } => (87, "10.2"),
        other => panic!("{other:?} has no number: add it here and to every_refusal"),
    }
}

#[test]
fn every_reason_has_a_number_and_a_text_of_its_own() {
    let mut kinds = HashSet::new();
    let mut texts = HashSet::new();
    for refusal in every_refusal() {
        let (number, section) = windows_error(&refusal);
        assert!(number != 0 && !section.is_empty());
        let text = refusal.to_string();
        assert!(text.len() > 20 && !text.contains("PageCount"), "{text}");
        assert!(
            kinds.insert(std::mem::discriminant(&refusal)),
            "{refusal:?} is listed twice"
        );
        assert!(
            texts.insert(text.clone()),
            "two reasons share the text '{text}'"
        );
    }
    assert_eq!(
        kinds.len(),
        30,
        "a reason is missing from every_refusal, or its count here"
    );
}

#[test]
fn texts_say_what_to_change() {
    let limit = Refusal::CommitmentLimit {
        wanted: PageCount::new(9),
        available: PageCount::new(2),
    };
    assert_eq!(
        limit.to_string(),
        "committing 9 pages would exceed the commit limit, 2 pages are left: decommit something, or \
         raise the RAM budget or the page file's maximum"
    );
    let low = Refusal::AddressTooLow { address: 0x5000 };
    assert!(
        low.to_string()
            .starts_with("address 0x5000 lies below 0x10000"),
        "{low}"
    );
}
