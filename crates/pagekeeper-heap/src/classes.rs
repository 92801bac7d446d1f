//! Size classes of the front end. Sizes are counted in units of 16 bytes, the header included.

/// Bytes of a unit.
pub(crate) const UNIT: usize = 16;
/// A header and room for the two links of a free block.
pub(crate) const SMALLEST: u32 = 2;
/// Every number of units up to here is a class of its own (1 KiB).
const EXACT: u32 = 64;
/// Eight steps for each doubling from there on, so that a class wastes an eighth at most.
const STEPS: u32 = 8;
/// The largest class: 8 KiB.
pub(crate) const LARGEST: u32 = 512;
/// How many there are.
pub(crate) const CLASSES: usize = (EXACT + 3 * STEPS + 1) as usize;
/// Most blocks in a magazine.
pub(crate) const ROUNDS: usize = 32;
/// A magazine holds no more bytes than this, but four blocks at least.
const MAGAZINE_BYTES: usize = 16 << 10;

/// Units of a block that holds `size` bytes.
pub(crate) const fn units_for(size: usize) -> u32 {
    let units = (size + 2 * UNIT - 1) / UNIT;
    if units < SMALLEST as usize {
        SMALLEST
    } else {
        units as u32
    }
}

/// The smallest class whose blocks have `units` units.
pub(crate) const fn class_for(units: u32) -> usize {
    if units <= EXACT {
        return units as usize;
    }
    let below = units - 1;
    let doubling = below.ilog2();
    (EXACT + (doubling - 6) * STEPS + ((below >> (doubling - 3)) & 7) + 1) as usize
}

/// Units of a class's blocks.
pub(crate) const fn units_of(class: usize) -> u32 {
    let class = class as u32;
    if class <= EXACT {
        return class;
    }
    let step = class - EXACT - 1;
    let doubling = 6 + step / STEPS;
    (1 << doubling) + ((step % STEPS + 1) << (doubling - 3))
}

/// The largest class that a block of `units` units can serve.
pub(crate) const fn class_served(units: u32) -> usize {
    let class = class_for(units);
    if units_of(class) == units {
        class
    } else {
        class - 1
    }
}

/// How many blocks of a class fill a magazine.
pub(crate) const fn rounds(class: usize) -> usize {
    let rounds = MAGAZINE_BYTES / (units_of(class) as usize * UNIT);
    if rounds < 4 {
        4
    } else if rounds > ROUNDS {
        ROUNDS
    } else {
        rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_asked_for() {
        assert_eq!(class_for(LARGEST), CLASSES - 1);
        for units in SMALLEST..=LARGEST {
            let class = class_for(units);
            assert!(class < CLASSES && units_of(class) >= units, "{units}");
            assert!(class == 2 || units_of(class - 1) < units, "{units}");
            assert!(units_of(class) - units <= units / 8, "{units}");
            let served = class_served(units);
            assert!(units_of(served) <= units, "{units}");
            assert!(
                served + 1 == CLASSES || units_of(served + 1) > units,
                "{units}"
            );
        }
    }

    #[test]
    fn blocks_have_room_for_a_header_and_links() {
        for (size, units) in [
            (0, 2),
            (1, 2),
            (16, 2),
            (17, 3),
            (32, 3),
            (33, 4),
            (4096, 257),
        ] {
            assert_eq!(units_for(size), units, "{size}");
        }
    }
}
