//! The random operations: what they are and how they come from plain numbers.

use super::{Naive, PAGES, WORLD};

/// One step, with everything that it needs.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Reserve {
        at: Option<u64>,
        size: u64,
        protection: u32,
        engine: u8,
        top_down: bool,
        commit: bool,
        placeholder: bool,
    },
    Replace {
        address: u64,
        size: u64,
        protection: u32,
        commit: bool,
    },
    Preserve {
        address: u64,
        size: u64,
    },
    Coalesce {
        address: u64,
        size: u64,
    },
    Commit {
        address: u64,
        size: u64,
        protection: u32,
    },
    Decommit {
        address: u64,
        size: u64,
    },
    Release {
        address: u64,
        size: u64,
        both: bool,
    },
    Protect {
        address: u64,
        size: u64,
        protection: u32,
    },
    Touch {
        address: u64,
        write: bool,
    },
    Lock {
        address: u64,
        size: u64,
    },
    Unlock {
        address: u64,
        size: u64,
    },
    Discard {
        address: u64,
        size: u64,
    },
    Reset {
        address: u64,
        size: u64,
    },
    Query {
        address: u64,
    },
    Limit {
        pages: u64,
    },
}

/// Raw material of a step: proptest shrinks these numbers, the loop takes them from its generator.
pub(crate) type Raw = (u8, u64, u64, u8, bool);

const PROTECTIONS: [u32; 18] = [
    4,
    4,
    4,
    4,
    2,
    1,
    0x20,
    0x40,
    0x10,
    0x104,
    0x102,
    0x204,
    0x404, // good ones
    8,
    0x101,
    0x304,
    6,
    0x4000_0004, // bad ones
];

/// Allocations of a granule or two, of some hundred pages, and a few large ones; sizes in bytes.
fn size_of(raw: u64) -> u64 {
    let pages = match raw % 16 {
        0..8 => 1 + raw / 16 % 6,
        8..14 => 1 + raw / 16 % 60,
        _ => 1 + raw / 16 % 700,
    };
    // Mostly whole pages, sometimes a few bytes more or less.
    match raw / 16_384 % 4 {
        0 => pages * 4096 - raw % 4096,
        _ => pages * 4096,
    }
}

pub(crate) fn op_of((kind, place, raw, protection, flag): Raw, naive: &Naive) -> Op {
    let place = place % (PAGES as u64 - 720);
    // Anywhere, or, three times in four, where something is allocated (or locked, for an unlock).
    let page = match raw % 4 {
        0 => WORLD + place,
        _ => WORLD + naive.next_allocated(place as usize, kind % 40 == 26) as u64,
    };
    let offset = if raw % 8 == 0 { raw / 8 % 4096 } else { 0 };
    let address = page * 4096 + offset;
    let granule = page / 16 * 16 * 4096;
    let size = if raw % 97 == 96 { 0 } else { size_of(raw) };
    let protection = PROTECTIONS[usize::from(protection) % PROTECTIONS.len()];
    let engine = u8::from(raw % 5 == 0);
    let place = WORLD * 4096 + place * 4096 + offset;
    let bytes =
        |(start, end): (usize, usize)| ((WORLD + start as u64) * 4096, (end - start) as u64 * 4096);
    let number = (page - WORLD) as usize;
    match kind % 40 {
        32..34 => Op::Reserve {
            at: flag.then_some(place),
            size,
            protection: if raw % 13 == 0 { protection } else { 1 },
            engine,
            top_down: raw % 3 == 0,
            commit: raw % 17 == 0,
            placeholder: true,
        },
        34..36 => {
            // Mostly exactly one.
            let exact = bytes(naive.exactly(number));
            let (address, size) = if raw % 5 == 0 { (address, size) } else { exact };
            Op::Replace {
                address,
                size,
                protection,
                commit: flag,
            }
        }
        36..38 => {
            let exact = bytes(naive.exactly(number));
            let (address, size) = match raw % 5 {
                0 => exact,
                // From somewhere inside to the end.
                1 => (address, exact.0 + exact.1 - address.min(exact.0 + exact.1)),
                _ => (address, size / 4),
            };
            Op::Preserve { address, size }
        }
        38.. => {
            let (address, size) = bytes(naive.around(number, usize::from(flag)));
            // Sometimes a page too much or too little.
            let size = match raw % 7 {
                0 => size + 4096,
                1 => size - 4096,
                _ => size,
            };
            Op::Coalesce { address, size }
        }
        0..3 => Op::Reserve {
            at: None,
            size,
            protection,
            engine,
            top_down: flag,
            commit: raw % 3 == 0,
            placeholder: false,
        },
        3..5 => {
            let at = Some(place);
            Op::Reserve {
                at,
                size,
                protection,
                engine,
                top_down: false,
                commit: flag,
                placeholder: false,
            }
        }
        5..13 => Op::Commit {
            address,
            size,
            protection,
        },
        13..16 => Op::Decommit {
            address: if flag { granule } else { address },
            size,
        },
        16..19 => {
            let size = if raw % 31 == 0 { 4096 } else { 0 };
            Op::Release {
                // Parts of placeholders begin at any page.
                address: if raw % 3 == 0 { address } else { granule },
                size,
                both: flag,
            }
        }
        19..23 => Op::Protect {
            address,
            size,
            protection,
        },
        23..25 => Op::Touch {
            address,
            write: flag,
        },
        25 => Op::Lock {
            address,
            size: size / 8,
        },
        26 => Op::Unlock {
            address,
            size: size / 8,
        },
        27 => Op::Discard { address, size },
        28 => Op::Reset { address, size },
        29 if (place / 4096).is_multiple_of(40) => Op::Limit {
            pages: 100 + raw % 3000,
        },
        _ => Op::Query { address },
    }
}
