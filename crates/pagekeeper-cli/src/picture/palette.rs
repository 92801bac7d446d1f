//! Names and colours. People with any kind of colour blindness tell the colours apart, which a test calculates; where two meet
//! in one picture, patterns, heights and words say the same once more.

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
    kind(RegionKind::Section, "#00d9fd", "views of sections"),
    kind(RegionKind::Image, "#ae7c9c", "programs and libraries"),
    kind(RegionKind::Mapped, "#21af58", "other files, shared memory"),
    kind(RegionKind::Heap, "#cace14", "malloc's heap"),
    kind(
        RegionKind::Stack,
        "#862810",
        "the stack of the first thread",
    ),
    kind(RegionKind::Private, "#829f21", "other anonymous memory"),
    kind(
        RegionKind::Pagekeeper,
        "#783d4e",
        "what Pagekeeper itself needs",
    ),
    kind(RegionKind::Kernel, "#9bcfaf", "from the kernel"),
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
        colour: "#e8590c",
        meaning: "out of the working set, in RAM, not written yet",
        pages: |pages| pages.modified,
    },
    Place {
        field: "standby",
        name: "standby",
        colour: "#1fbf7a",
        meaning: "out of the working set, in RAM, stored elsewhere as well",
        pages: |pages| pages.standby,
    },
    Place {
        field: "compressed",
        name: "compressed",
        colour: "#d08ab8",
        meaning: "packed, in RAM",
        pages: |pages| pages.compressed,
    },
    Place {
        field: "page_file",
        name: "page file",
        colour: "#5f6368",
        meaning: "in Pagekeeper's page file only",
        pages: |pages| pages.page_file,
    },
    Place {
        field: "swapped",
        name: "swapped",
        colour: "#7a2e08",
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

    type Matrix = [[f64; 3]; 3];

    /// How colours look without one of the three receptors, after Machado, Oliveira and Fernandes (2009), and with all of them.
    const EYES: [Matrix; 4] = [
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
        [
            [1.255_528, -0.076_749, -0.178_779],
            [-0.078_411, 0.930_809, 0.147_602],
            [0.004_733, 0.691_367, 0.303_900],
        ],
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    ];

    fn times(matrix: &Matrix, colour: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| {
            row.iter()
                .zip(colour)
                .map(|(factor, part)| factor * part)
                .sum()
        })
    }

    /// Red, green and blue in proportion to the light.
    fn light(colour: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let part = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        })
    }

    /// CIE L*a*b*, in which distances are how different colours look.
    fn lab(light: [f64; 3]) -> [f64; 3] {
        const XYZ: Matrix = [
            [0.4124, 0.3576, 0.1805],
            [0.2126, 0.7152, 0.0722],
            [0.0193, 0.1192, 0.9505],
        ];
        let [x, y, z] = times(&XYZ, light.map(|part| part.clamp(0.0, 1.0)));
        let [x, y, z] = [x / 0.950_47, y, z / 1.088_83].map(|part| {
            if part > 0.008_856 {
                part.cbrt()
            } else {
                7.787 * part + 16.0 / 116.0
            }
        });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// Differences of more than 10 are seen at a glance.
    #[test]
    fn all_eyes_tell_the_colours_apart() {
        let kinds: Vec<&str> = KINDS.iter().map(|entry| entry.colour).collect();
        let places: Vec<&str> = PLACES.iter().map(|place| place.colour).collect();
        for colours in [kinds, places] {
            for (index, one) in colours.iter().enumerate() {
                for other in &colours[..index] {
                    for eyes in &EYES {
                        let seen = [one, other].map(|colour| lab(times(eyes, light(colour))));
                        let squares = seen[0].iter().zip(seen[1]).map(|(a, b)| (a - b) * (a - b));
                        let distance = squares.sum::<f64>().sqrt();
                        assert!(distance > 20.0, "{one} and {other}: {distance}");
                    }
                }
            }
        }
    }
}
