//! Every reason to refuse has its Windows error number, so that the one table in `pagekeeper-win32` can be filled: this is
//! that table, taken from windows-memory-behaviour.md.

use std::collections::{HashMap, HashSet};

use pagekeeper_model::{EngineTag, Protection, Refusal};
use pagekeeper_units::{PageCount, PageNumber, PageRange};

/// One of each: a test compares it with the source.
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
        Refusal::PlaceholderProtected {
            protection: Protection::READ_WRITE,
        },
        Refusal::IsPlaceholder { base: page },
        Refusal::NotPlaceholder { base: page },
        Refusal::NotWholePlaceholder { placeholder: range },
        Refusal::ImageInPlaceholder,
        Refusal::OnePlaceholder { placeholder: range },
        Refusal::ViewMisaligned { value: address },
        Refusal::NotAView { address },
        Refusal::IsView { view: page },
        Refusal::ProtectionNotForView {
            protection: Protection::READ_WRITE,
            view: Protection::READ_ONLY,
        },
        Refusal::CommitInFile { page },
        Refusal::ResetInFile { page },
        Refusal::ProtectionNotForSection {
            protection: Protection::NO_ACCESS,
        },
        Refusal::SectionForbids {
            view: Protection::READ_WRITE,
            section: Protection::READ_ONLY,
        },
        Refusal::OutsideSection {
            offset: 0,
            size,
            section: 1,
        },
        Refusal::FileEmpty,
        Refusal::SectionTooLarge { size, limit: 1 },
        Refusal::NoSuchName,
        Refusal::NameInvalid,
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
        R::PlaceholderProtected { .. } | R::ImageInPlaceholder => (87, "12"),
        R::IsPlaceholder { .. } | R::NotPlaceholder { .. } => (487, "12"),
        R::NotWholePlaceholder { .. } | R::OnePlaceholder { .. } => (487, "12"),
        R::ViewMisaligned { .. } => (1132, "13"),
        R::NotAView { .. } => (487, "13"),
        R::IsView { .. } | R::ProtectionNotForView { .. } => (87, "13"),
        R::CommitInFile { .. } | R::SectionForbids { .. } | R::OutsideSection { .. } => (5, "13"),
        R::ResetInFile { .. } => (1224, "13"),
        R::ProtectionNotForSection { .. } | R::NameInvalid => (87, "13"),
        R::FileEmpty => (1006, "13"),
        R::SectionTooLarge { .. } => (8, "13"),
        R::NoSuchName => (2, "13"),
        other => panic!("{other:?} has no number: add it here"),
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
}

#[test]
fn every_reason_is_listed_and_its_text_names_its_number() {
    let documented = documented();
    assert!(documented.len() > 40, "the source was not understood");
    let listed: HashMap<String, u32> = every_refusal()
        .iter()
        .map(|refusal| (name(refusal), windows_error(refusal).0))
        .collect();
    assert_eq!(documented, listed);
}

/// The variant's name.
fn name(refusal: &Refusal) -> String {
    let text = format!("{refusal:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// The number that a text begins with.
fn leading_number(text: &str) -> Option<u32> {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// The variants and the numbers in their texts, from the source.
fn documented() -> HashMap<String, u32> {
    let source = include_str!("../src/refusal.rs");
    let mut numbers = HashMap::new();
    let mut number = None;
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("    /// ") {
            number = text.split('(').find_map(leading_number).or(number);
        } else if let Some(rest) = line.strip_prefix("    ")
            && rest.starts_with(|first: char| first.is_ascii_uppercase())
        {
            let name = rest.trim_end_matches(['{', ',', ' ']);
            let number = number
                .take()
                .unwrap_or_else(|| panic!("{name} names no number"));
            numbers.insert(name.to_owned(), number);
        }
    }
    numbers
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
