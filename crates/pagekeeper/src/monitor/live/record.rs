//! Figures and regions as bytes: 64-bit words, low byte first; texts with their length before them.

use super::super::region::{HEAT_CELLS, Region, RegionKind, RegionUse, Whereabouts};
use super::super::snapshot::{Counters, EngineFigures, Totals};
use crate::engine::EngineKind;
use crate::statistics::Exactness;

/// Bytes of a region's record.
pub(super) const REGION_BYTES: usize = 8 * (6 + 8) + HEAT_CELLS;

/// What the spaces of a process say of themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct LiveFigures {
    /// When, in milliseconds since 1970.
    pub(in super::super) taken_at_ms: u64,
    /// What they manage; whole-process figures are left at 0.
    pub(in super::super) totals: Totals,
    pub(in super::super) counters: Counters,
    pub(in super::super) residence: Exactness,
    pub(in super::super) faults: Exactness,
    pub(in super::super) engines: Vec<EngineFigures>,
    pub(in super::super) latency: Vec<u64>,
    pub(in super::super) sites: Vec<(u64, u64)>,
    pub(in super::super) notes: Vec<String>,
}

/// Writes words.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn word(&mut self, word: u64) {
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// Reads words; `None` behind the end, or where they make no sense.
pub(super) struct Reader<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Reader<'bytes> {
    pub(super) fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*word))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'bytes [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.word()?).ok()?;
        Some(String::from_utf8_lossy(self.bytes(length)?).into_owned())
    }

    /// A number of items, each of which takes a word at least.
    pub(super) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.word()?).ok()?;
        (count <= self.rest.len() / 8).then_some(count)
    }
}

impl LiveFigures {
    /// Whether pages are looked up rather than counted.
    pub(in super::super) fn is_sampled(&self) -> bool {
        self.residence == Exactness::Sampled
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.word(self.taken_at_ms);
        for field in fields_of_totals(&mut self.totals.clone()) {
            writer.word(*field);
        }
        for field in fields_of_counters(&mut self.counters.clone()) {
            writer.word(*field);
        }
        writer.word(exactness_bits(self.residence) | exactness_bits(self.faults) << 1);
        writer.word(self.engines.len() as u64);
        for engine in &self.engines {
            writer.word(engine.space);
            writer.text(&engine.engine);
            writer.word(exactness_bits(engine.exactness));
            for field in fields_of_engine(&mut engine.clone()) {
                writer.word(*field);
            }
        }
        writer.word(self.latency.len() as u64);
        for count in &self.latency {
            writer.word(*count);
        }
        writer.word(self.sites.len() as u64);
        for (address, faults) in &self.sites {
            writer.word(*address);
            writer.word(*faults);
        }
        writer.word(self.notes.len() as u64);
        for note in &self.notes {
            writer.text(note);
        }
        writer.bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut found = Self {
            taken_at_ms: reader.word()?,
            ..Self::default()
        };
        for field in fields_of_totals(&mut found.totals) {
            *field = reader.word()?;
        }
        for field in fields_of_counters(&mut found.counters) {
            *field = reader.word()?;
        }
        let exactness = reader.word()?;
        found.residence = exactness_of(exactness & 1);
        found.faults = exactness_of(exactness >> 1 & 1);
        for _ in 0..reader.count()? {
            let mut engine = EngineFigures {
                space: reader.word()?,
                engine: reader.text()?,
                exactness: exactness_of(reader.word()?),
                ..EngineFigures::default()
            };
            for field in fields_of_engine(&mut engine) {
                *field = reader.word()?;
            }
            found.engines.push(engine);
        }
        for _ in 0..reader.count()? {
            found.latency.push(reader.word()?);
        }
        for _ in 0..reader.count()? {
            found.sites.push((reader.word()?, reader.word()?));
        }
        for _ in 0..reader.count()? {
            found.notes.push(reader.text()?);
        }
        Some(found)
    }
}

fn exactness_bits(exactness: Exactness) -> u64 {
    u64::from(exactness == Exactness::Sampled)
}

fn exactness_of(bits: u64) -> Exactness {
    match bits {
        0 => Exactness::Exact,
        _ => Exactness::Sampled,
    }
}

/// The totals that a process tells of what it manages.
fn fields_of_totals(totals: &mut Totals) -> [&mut u64; 15] {
    [
        &mut totals.reserved_bytes,
        &mut totals.working_set_bytes,
        &mut totals.modified_bytes,
        &mut totals.standby_bytes,
        &mut totals.compressed_bytes,
        &mut totals.page_file_bytes,
        &mut totals.pool_bytes,
        &mut totals.locked_bytes,
        &mut totals.budget_bytes,
        &mut totals.overhead_bytes,
        &mut totals.commit_charge_bytes,
        &mut totals.commit_limit_bytes,
        &mut totals.commit_peak_bytes,
        &mut totals.page_file_allocated_bytes,
        &mut totals.page_file_maximum_bytes,
    ]
}

fn fields_of_counters(counters: &mut Counters) -> [&mut u64; 11] {
    [
        &mut counters.soft_faults,
        &mut counters.hard_faults,
        &mut counters.zero_faults,
        &mut counters.transition_faults,
        &mut counters.pool_faults,
        &mut counters.bytes_in,
        &mut counters.bytes_out,
        &mut counters.clean_drops,
        &mut counters.packed_in_place,
        &mut counters.lost,
        &mut counters.refused,
    ]
}

fn fields_of_engine(engine: &mut EngineFigures) -> [&mut u64; 8] {
    [
        &mut engine.budget_bytes,
        &mut engine.resident_bytes,
        &mut engine.modified_bytes,
        &mut engine.standby_bytes,
        &mut engine.compressed_bytes,
        &mut engine.pool_bytes,
        &mut engine.page_file_bytes,
        &mut engine.peak_bytes,
    ]
}

fn fields_of_pages(pages: &mut Whereabouts) -> [&mut u64; 8] {
    [
        &mut pages.resident,
        &mut pages.modified,
        &mut pages.standby,
        &mut pages.compressed,
        &mut pages.page_file,
        &mut pages.swapped,
        &mut pages.untouched,
        &mut pages.lost,
    ]
}

/// A region as the process keeps it while it lists many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct RegionRecord {
    pub(super) base: u64,
    pub(super) size_bytes: u64,
    pub(super) allocation_base: u64,
    pub(super) allocation_protection: u32,
    pub(super) protection: u32,
    pub(super) usage: RegionUse,
    pub(super) is_section: bool,
    pub(super) engine: Option<EngineKind>,
    pub(super) sampled: bool,
    pub(super) committed_bytes: u64,
    pub(super) pages: Whereabouts,
    pub(super) heat: [u8; HEAT_CELLS],
    pub(super) cells: u8,
}

const ENGINES: [EngineKind; 4] = [
    EngineKind::Mapped,
    EngineKind::Inline,
    EngineKind::Resident,
    EngineKind::Views,
];
const USES: [RegionUse; 3] = [RegionUse::Reserved, RegionUse::Committed, RegionUse::Merged];

impl RegionRecord {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.word(self.base);
        writer.word(self.size_bytes);
        writer.word(self.allocation_base);
        writer.word(u64::from(self.allocation_protection) << 32 | u64::from(self.protection));
        let usage = USES.iter().position(|usage| *usage == self.usage);
        let engine = ENGINES.iter().position(|kind| Some(*kind) == self.engine);
        writer.word(
            usage.unwrap_or(0) as u64
                | engine.map_or(0, |place| place as u64 + 1) << 8
                | u64::from(self.is_section) << 16
                | u64::from(self.sampled) << 17
                | u64::from(self.cells) << 24,
        );
        writer.word(self.committed_bytes);
        let mut pages = self.pages;
        for field in fields_of_pages(&mut pages) {
            writer.word(*field);
        }
        writer.bytes.extend_from_slice(&self.heat);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (base, size_bytes, allocation_base) = (reader.word()?, reader.word()?, reader.word()?);
        let protections = reader.word()?;
        let bits = reader.word()?;
        let mut found = Self {
            base,
            size_bytes,
            allocation_base,
            allocation_protection: (protections >> 32) as u32,
            protection: protections as u32,
            usage: *USES.get((bits & 0xFF) as usize)?,
            is_section: bits >> 16 & 1 != 0,
            engine: (bits >> 8 & 0xFF)
                .checked_sub(1)
                .and_then(|place| ENGINES.get(place as usize).copied()),
            sampled: bits >> 17 & 1 != 0,
            committed_bytes: reader.word()?,
            cells: (bits >> 24) as u8,
            ..Self::default()
        };
        for field in fields_of_pages(&mut found.pages) {
            *field = reader.word()?;
        }
        found.heat.copy_from_slice(reader.bytes(HEAT_CELLS)?);
        // Whatever the other side wrote, an end is an end.
        base.checked_add(size_bytes)?;
        Some(found)
    }

    /// For people.
    pub(super) fn to_region(self) -> Region {
        Region {
            base: self.base,
            size_bytes: self.size_bytes,
            allocation_base: self.allocation_base,
            allocation_protection: self.allocation_protection,
            usage: self.usage,
            protection: self.protection,
            kind: match self.is_section {
                true => RegionKind::Section,
                false => RegionKind::Managed,
            },
            shared: self.is_section,
            engine: self
                .engine
                .map_or_else(String::new, |kind| kind.to_string()),
            name: String::new(),
            file_offset: 0,
            committed_bytes: self.committed_bytes,
            pages: self.pages,
            heat: self
                .heat
                .get(..usize::from(self.cells))
                .unwrap_or(&self.heat)
                .to_vec(),
            sampled: self.sampled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> LiveFigures {
        LiveFigures {
            taken_at_ms: 17,
            totals: Totals {
                reserved_bytes: 1 << 40,
                page_file_maximum_bytes: 5,
                ..Totals::default()
            },
            counters: Counters {
                hard_faults: 9,
                refused: 3,
                ..Counters::default()
            },
            faults: Exactness::Sampled,
            engines: vec![EngineFigures {
                space: 2,
                engine: "inline".to_owned(),
                peak_bytes: 77,
                exactness: Exactness::Sampled,
                ..EngineFigures::default()
            }],
            latency: vec![0, 1, 2],
            sites: vec![(0x4000, 16)],
            notes: vec!["the disk is full".to_owned()],
            ..LiveFigures::default()
        }
    }

    #[test]
    fn figures_come_back_as_they_were() {
        let bytes = figures().encode();
        assert_eq!(LiveFigures::decode(&bytes), Some(figures()));
    }

    #[test]
    fn what_is_cut_short_or_makes_no_sense_is_refused() {
        let bytes = figures().encode();
        for length in 0..bytes.len() {
            assert_eq!(LiveFigures::decode(&bytes[..length]), None, "{length}");
        }
    }
}
