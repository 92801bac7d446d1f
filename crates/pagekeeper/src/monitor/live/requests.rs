//! One page of this process: where it is, and what it holds.

use core::sync::atomic::Ordering;

use pagekeeper_model::{RegionInfo, RegionState, RegionType};
use pagekeeper_sys::prctl;
use pagekeeper_sys::process::ProcessMemory;
use pagekeeper_sys::shared_file::OwnedFile;
use pagekeeper_units::{PAGE_SIZE, PageNumber};

use super::super::region::RegionUse;
use super::layout::{self, word};
use super::record::RegionRecord;
use crate::engine::{EngineKind, Peeked, Residence};
use crate::space::observe;

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(in super::super) enum Outcome {
    /// What was asked for follows.
    Found = 0,
    /// The address is in no space: the kernel knows.
    NotOurs = 1,
    NotCommitted = 2,
    Lost = 3,
    Unreadable = 4,
    /// The process does not want to be looked into (any more).
    NotDumpable = 5,
}

impl Outcome {
    pub(super) fn of(word: u64) -> Option<Self> {
        [
            Self::Found,
            Self::NotOurs,
            Self::NotCommitted,
            Self::Lost,
            Self::Unreadable,
            Self::NotDumpable,
        ]
        .into_iter()
        .find(|outcome| *outcome as u64 == word)
    }
}

const RESIDENCES: [Residence; 7] = [
    Residence::Untouched,
    Residence::Resident,
    Residence::Modified,
    Residence::Standby,
    Residence::Compressed,
    Residence::PageFile,
    Residence::Lost,
];

/// The word for where a page is; 0: nowhere.
fn residence_bits(residence: Option<Residence>) -> u64 {
    RESIDENCES
        .iter()
        .position(|known| Some(*known) == residence)
        .map_or(0, |place| place as u64 + 1)
}

/// And back.
pub(super) fn residence_of(bits: u64) -> Option<Residence> {
    let place = usize::try_from(bits).ok()?.checked_sub(1)?;
    RESIDENCES.get(place).copied()
}

/// Answers the request that stands in the words.
pub(super) fn answer(file: &OwnedFile) {
    let words = file.words();
    // Written last by the reader: what follows is this request, or one that nobody waits for any more.
    let asked = words[word::ASKED].load(Ordering::Acquire);
    let low = words[word::ADDRESS].load(Ordering::Acquire);
    let high = words[word::ADDRESS + 1].load(Ordering::Acquire);
    let address = u64::from(high) << 32 | u64::from(low);
    let bytes = match words[word::REQUEST].load(Ordering::Acquire) {
        layout::WHERE => locate(address),
        layout::READ => read(PageNumber::containing(address)),
        _ => return,
    };
    file.write(layout::ANSWER_AT, &bytes);
    words[word::ANSWER_BYTES].store(bytes.len() as u32, Ordering::Release);
    words[word::TOLD].store(asked, Ordering::Release);
}

/// Where the page of an address is: outcome, residence, whether anything is allocated there, the region, its name.
fn locate(address: u64) -> Vec<u8> {
    let mut writer = super::record::Writer::default();
    let Some(place) = observe::all()
        .iter()
        .find_map(|space| space.place_at(address))
    else {
        writer.word(Outcome::NotOurs as u64);
        return writer.bytes;
    };
    writer.word(Outcome::Found as u64);
    writer.word(residence_bits(place.residence));
    writer.word(u64::from(place.region.allocation.is_some()));
    describe(&place.region, place.engine).encode(&mut writer);
    writer.text(place.name.as_deref().unwrap_or_default());
    writer.bytes
}

fn describe(region: &RegionInfo, engine: Option<EngineKind>) -> RegionRecord {
    let size_bytes = region.range.bytes().get();
    let is_committed = matches!(region.state, RegionState::Committed(_));
    let (base, protection) = region.allocation.map_or((0, 0), |(base, protection)| {
        (base.address(), protection.to_windows())
    });
    RegionRecord {
        base: region.range.address(),
        size_bytes,
        allocation_base: base,
        allocation_protection: protection,
        protection: region.state.protect(),
        usage: match is_committed {
            true => RegionUse::Committed,
            false => RegionUse::Reserved,
        },
        is_section: matches!(region.kind, Some(RegionType::Mapped | RegionType::Image)),
        engine,
        committed_bytes: if is_committed { size_bytes } else { 0 },
        ..RegionRecord::default()
    }
}

/// The bytes of a page of a space: outcome, then the page. Other memory is for the kernel to show or not.
fn read(page: PageNumber) -> Vec<u8> {
    let memory = ProcessMemory::own();
    let mapping = |page: PageNumber, into: &mut [u8; PAGE_SIZE]| {
        memory
            .as_ref()
            .is_ok_and(|memory| memory.read(page.address(), into).is_ok())
    };
    let mut bytes = [0; PAGE_SIZE];
    let spaces = observe::all();
    let mut peek = || {
        let mut spaces = spaces.iter();
        spaces.find_map(|space| space.peek(page, &mut bytes, &mapping))
    };
    let found = prctl::is_dumpable().then(&mut peek);
    let outcome = match found.flatten() {
        Some(Peeked::Done) => Outcome::Found,
        Some(Peeked::NotCommitted) => Outcome::NotCommitted,
        Some(Peeked::Lost) => Outcome::Lost,
        Some(Peeked::Unreadable) => Outcome::Unreadable,
        None if found.is_none() => Outcome::NotDumpable,
        None => Outcome::NotOurs,
    };
    let mut writer = super::record::Writer::default();
    writer.word(outcome as u64);
    if outcome == Outcome::Found {
        writer.bytes.extend_from_slice(&bytes);
    }
    writer.bytes
}
