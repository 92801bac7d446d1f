//! Names and colours. The colours are those of Okabe and Ito, told apart by people with any kind of colour blindness; where
//! two meet in one picture, patterns, heights and words say the same once more.

use pagekeeper::monitor::{RegionKind, Whereabouts};
use pagekeeper_units::PAGE_SIZE;
use serde_json::{Value, json};

/// Bytes of a page.
pub(crate) const PAGE: u64 = PAGE_SIZE as u64;

/// A kind of memory in pictures: what it is called, how it is drawn, what it is.
pub(crate) struct Kind {
    pub(crate) kind: RegionKind,
    pub(crate) colour: &'static str,
    pub(crate) meaning: &'static str,
}

/// Kinds of memory, in the order of legends.
pub(crate) const KINDS: [Kind; 9] = [
    kind(RegionKind::Managed, "#0072b2", "managed by Pagekeeper"),
    kind(RegionKind::Section, "#56b4e9", "views of sections"),
    kind(RegionKind::Image, "#aa6f9e", "programs and libraries"),
    kind(RegionKind::Mapped, "#009e73", "other files, shared memory"),
    kind(RegionKind::Heap, "#e69f00", "malloc's heap"),
    kind(
        RegionKind::Stack,
        "#d55e00",
        "the stack of the first thread",
    ),
    kind(RegionKind::Private, "#b3a316", "other anonymous memory"),
    kind(
        RegionKind::Pagekeeper,
        "#5d6d7e",
        "what Pagekeeper itself needs",
    ),
    kind(RegionKind::Kernel, "#8c8c8c", "from the kernel"),
];

const fn kind(kind: RegionKind, colour: &'static str, meaning: &'static str) -> Kind {
    Kind {
        kind,
        colour,
        meaning,
    }
}

/// The colour of a kind.
pub(crate) fn colour_of(kind: RegionKind) -> &'static str {
    let found = KINDS.iter().find(|entry| entry.kind == kind);
    found.map_or("#8c8c8c", |entry| entry.colour)
}

/// A place where pages are.
pub(crate) struct Place {
    /// The name of the field in JSON.
    pub(crate) field: &'static str,
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) pages: fn(&Whereabouts) -> u64,
}

/// Places of pages, from the nearest to the farthest.
pub(crate) const PLACES: [Place; 8] = [
    Place {
        field: "resident",
        name: "resident",
        colour: "#0072b2",
        meaning: "in the working set",
        pages: |pages| pages.resident,
    },
    Place {
        field: "modified",
        name: "modified",
        colour: "#d55e00",
        meaning: "out of the working set, in RAM, not written yet",
        pages: |pages| pages.modified,
    },
    Place {
        field: "standby",
        name: "standby",
        colour: "#009e73",
        meaning: "out of the working set, in RAM, stored elsewhere as well",
        pages: |pages| pages.standby,
    },
    Place {
        field: "compressed",
        name: "compressed",
        colour: "#cc79a7",
        meaning: "packed, in RAM",
        pages: |pages| pages.compressed,
    },
    Place {
        field: "page_file",
        name: "page file",
        colour: "#7a7a7a",
        meaning: "in Pagekeeper's page file only",
        pages: |pages| pages.page_file,
    },
    Place {
        field: "swapped",
        name: "swapped",
        colour: "#8a5a00",
        meaning: "in the kernel's swap",
        pages: |pages| pages.swapped,
    },
    Place {
        field: "untouched",
        name: "untouched",
        colour: "#d9d9d9",
        meaning: "promised, never touched, or only in its file: no memory yet",
        pages: |pages| pages.untouched,
    },
    Place {
        field: "lost",
        name: "lost",
        colour: "#000000",
        meaning: "could not be read back",
        pages: |pages| pages.lost,
    },
];

/// The same for scripts.
pub(crate) fn describe() -> Value {
    json!({
        "kinds": KINDS.iter().map(|entry| json!({
            "name": entry.kind.name(), "colour": entry.colour, "meaning": entry.meaning,
        })).collect::<Vec<_>>(),
        "places": PLACES.iter().map(|place| json!({
            "field": place.field, "name": place.name, "colour": place.colour, "meaning": place.meaning,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_every_place_is_there_once() {
        for kind in RegionKind::ALL {
            assert_eq!(KINDS.iter().filter(|entry| entry.kind == kind).count(), 1);
        }
        // Each place sees its own pages and no others: one page in each makes eight.
        let one_each = Whereabouts {
            resident: 1,
            modified: 10,
            standby: 100,
            compressed: 1_000,
            page_file: 10_000,
            swapped: 100_000,
            untouched: 1_000_000,
            lost: 10_000_000,
        };
        let sum: u64 = PLACES.iter().map(|place| (place.pages)(&one_each)).sum();
        assert_eq!(sum, one_each.total());
        let fields = serde_json::to_value(one_each).unwrap();
        for place in &PLACES {
            assert_eq!(fields[place.field], (place.pages)(&one_each));
        }
    }
}
