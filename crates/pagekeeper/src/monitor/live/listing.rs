//! The regions of a process as bytes, with what else lies in its address space because of Pagekeeper.

use pagekeeper_sys::map::Purpose;
use pagekeeper_units::{PageNumber, PageRange};

use super::super::region::Region;
use super::layout::{MOST_HELD, NAMES_ROOM};
use super::record::{REGION_BYTES, Reader, RegionRecord, Writer};

/// What a process lists before it is written down.
#[derive(Default)]
pub(super) struct Listed {
    /// Regions of all spaces, from the lowest address up.
    pub(super) regions: Vec<RegionRecord>,
    /// The address space that spaces hold, free or not: sorted, apart.
    pub(super) arenas: Vec<PageRange>,
    /// What the library holds for itself.
    pub(super) held: Vec<(PageRange, Purpose)>,
    /// Regions of named sections, by their bases, upwards.
    pub(super) names: Vec<(u64, String)>,
    /// Whether no space was too busy to be asked.
    pub(super) is_whole: bool,
}

/// The regions that the spaces of a process made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct LiveRegions {
    /// When the listing began, in milliseconds since 1970.
    pub(in super::super) taken_at_ms: u64,
    /// How long it took.
    pub(in super::super) took_ms: u64,
    /// From the lowest address up.
    pub(in super::super) regions: Vec<Region>,
    /// The address space that spaces hold, free or not: sorted, apart.
    pub(in super::super) arenas: Vec<PageRange>,
    /// What the library holds for itself, from the lowest address up.
    pub(in super::super) held: Vec<(PageRange, Purpose)>,
}

impl Listed {
    /// For the reader.
    pub(super) fn encode(&self, taken_at_ms: u64, took_ms: u64) -> Vec<u8> {
        let mut writer = Writer::default();
        let rest = self.arenas.len() * 16 + MOST_HELD * 24 + NAMES_ROOM;
        writer
            .bytes
            .reserve(self.regions.len() * REGION_BYTES + rest);
        writer.word(taken_at_ms);
        writer.word(took_ms);
        writer.word(self.regions.len() as u64);
        for region in &self.regions {
            region.encode(&mut writer);
        }
        writer.word(self.arenas.len() as u64);
        for arena in &self.arenas {
            writer.word(arena.start().get());
            writer.word(arena.end().get());
        }
        let held = &self.held[..self.held.len().min(MOST_HELD)];
        writer.word(held.len() as u64);
        for (range, purpose) in held {
            writer.word(range.start().get());
            writer.word(range.end().get());
            writer.word(*purpose as u64);
        }
        let mut room = NAMES_ROOM;
        let fitting: Vec<_> = self
            .names
            .iter()
            .take_while(|(_, name)| {
                let needed = 16 + name.len();
                let fits = needed <= room;
                room = room.saturating_sub(needed);
                fits
            })
            .collect();
        writer.word(fitting.len() as u64);
        for (base, name) in fitting {
            writer.word(*base);
            writer.text(name);
        }
        writer.bytes
    }

    /// For somebody in this process.
    pub(super) fn into_live(self, taken_at_ms: u64, took_ms: u64) -> LiveRegions {
        let mut live = LiveRegions {
            taken_at_ms,
            took_ms,
            regions: self
                .regions
                .into_iter()
                .map(RegionRecord::to_region)
                .collect(),
            arenas: self.arenas,
            held: self.held,
        };
        live.finish(self.names);
        live
    }
}

impl LiveRegions {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut found = Self {
            taken_at_ms: reader.word()?,
            took_ms: reader.word()?,
            ..Self::default()
        };
        for _ in 0..reader.count()? {
            found
                .regions
                .push(RegionRecord::decode(&mut reader)?.to_region());
        }
        for _ in 0..reader.count()? {
            found.arenas.push(range(&mut reader)?);
        }
        for _ in 0..reader.count()? {
            found
                .held
                .push((range(&mut reader)?, Purpose::of(reader.word()?)?));
        }
        let mut names = Vec::new();
        for _ in 0..reader.count()? {
            names.push((reader.word()?, reader.text()?));
        }
        found.finish(names);
        Some(found)
    }

    fn finish(&mut self, names: Vec<(u64, String)>) {
        self.held.sort_unstable_by_key(|(range, _)| range.start());
        for (base, name) in names {
            if let Ok(place) = self
                .regions
                .binary_search_by_key(&base, |region| region.base)
            {
                self.regions[place].name = name;
            }
        }
    }
}

fn range(reader: &mut Reader<'_>) -> Option<PageRange> {
    let (start, end) = (reader.word()?, reader.word()?);
    (start <= end).then(|| PageRange::between(PageNumber::new(start), PageNumber::new(end)))
}

#[cfg(test)]
mod tests {
    use super::super::super::region::{RegionUse, Whereabouts};
    use super::*;
    use crate::engine::EngineKind;

    fn pages(start: u64, end: u64) -> PageRange {
        PageRange::between(PageNumber::new(start), PageNumber::new(end))
    }

    fn record(base: u64) -> RegionRecord {
        RegionRecord {
            base,
            size_bytes: 0x3000,
            allocation_base: 0xF_0000,
            allocation_protection: 4,
            protection: 0x102,
            usage: RegionUse::Committed,
            engine: Some(EngineKind::Inline),
            committed_bytes: 0x3000,
            pages: Whereabouts {
                resident: 1,
                lost: 2,
                ..Whereabouts::default()
            },
            cells: 3,
            ..RegionRecord::default()
        }
    }

    #[test]
    fn regions_come_back_as_they_were() {
        let listed = Listed {
            regions: vec![record(0x10_0000), record(0x10_4000)],
            arenas: vec![pages(16, 99)],
            held: vec![
                (pages(9, 10), Purpose::Pool),
                (pages(3, 5), Purpose::Tables),
            ],
            names: vec![(0x10_4000, "Local\\x".to_owned())],
            is_whole: true,
        };
        let bytes = listed.encode(5, 6);
        let found = LiveRegions::decode(&bytes).unwrap();
        assert_eq!((found.taken_at_ms, found.took_ms), (5, 6));
        assert_eq!(found.regions.len(), 2);
        assert_eq!(found.regions[0], record(0x10_0000).to_region());
        assert_eq!(found.regions[1].engine, "inline");
        assert_eq!(found.regions[1].heat.len(), 3);
        assert_eq!(found.regions[1].name, "Local\\x");
        assert_eq!(found.arenas, [pages(16, 99)]);
        assert_eq!(found.held[0], (pages(3, 5), Purpose::Tables));
        assert_eq!(
            bytes.len(),
            8 * 6 + 2 * REGION_BYTES + 16 + 2 * 24 + 16 + 7,
            "the room for regions is reckoned with this"
        );
        assert_eq!(found, listed.into_live(5, 6));
    }

    #[test]
    fn names_beyond_the_room_are_left_out() {
        let listed = Listed {
            regions: (0..4).map(|n| record(n << 16)).collect(),
            names: (0..4)
                .map(|n| (n << 16, "n".repeat(NAMES_ROOM / 3)))
                .collect(),
            ..Listed::default()
        };
        let bytes = listed.encode(5, 6);
        assert!(bytes.len() < 4 * REGION_BYTES + NAMES_ROOM + 64);
        let found = LiveRegions::decode(&bytes).unwrap();
        let named = found.regions.iter().map(|region| !region.name.is_empty());
        assert_eq!(named.collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn what_is_cut_short_or_makes_no_sense_is_refused() {
        let listed = Listed {
            regions: vec![record(0x10_0000)],
            held: vec![(pages(3, 5), Purpose::Tables)],
            ..Listed::default()
        };
        let mut bytes = listed.encode(5, 6);
        for length in 0..bytes.len() {
            assert_eq!(LiveRegions::decode(&bytes[..length]), None, "{length}");
        }
        // A count that no file could hold must not be believed.
        bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(LiveRegions::decode(&bytes), None);
    }
}
