//! The cases: what is done with paged memory, and how it is verified. Also part of the tests.

#![allow(unsafe_code, reason = "UNSAFETY: looks at paged memory as bytes")]

mod other;
mod transfers;

use pagekeeper::{ByteCount, EngineKind, Reservation, Space};

/// What all cases are told.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) engine: EngineKind,
    /// Bytes through each channel; whole MiB.
    pub(crate) size: ByteCount,
    pub(crate) ram: ByteCount,
    pub(crate) seconds: u64,
}

/// What went well, or what did not.
pub(crate) type Told = Result<String, Box<dyn std::error::Error>>;

/// A case.
pub(crate) type Case = fn(&Settings) -> Told;

/// Every case.
pub(crate) const CASES: [(&str, Case); 9] = [
    ("file", transfers::file),
    ("tcp", transfers::tcp),
    ("udp", transfers::udp),
    ("pipe", transfers::pipe),
    ("fread", transfers::fread),
    ("mutex", other::mutex),
    ("signals", other::signals),
    ("spawn", other::spawn),
    ("descriptors", other::descriptors),
];

pub(crate) const PAGE: usize = 4096;

/// Committed memory in a space of its own.
pub(crate) struct Region {
    pub(crate) space: Space,
    pub(crate) memory: Reservation,
}

impl Region {
    pub(crate) fn new(
        engine: EngineKind,
        ram: ByteCount,
        size: ByteCount,
    ) -> Result<Self, pagekeeper::Error> {
        let space = Space::builder().ram(ram).engine(engine).build()?;
        let memory = space.reserve(size).committed().build()?;
        Ok(Self { space, memory })
    }

    /// The smallest budget that the engine takes, for a size that does not fit into it.
    pub(crate) fn tiny(engine: EngineKind) -> Result<Self, pagekeeper::Error> {
        let pages = if engine == EngineKind::Inline {
            64
        } else {
            1024
        };
        let ram = ByteCount::kib(4 * pages);
        Self::new(engine, ram, ByteCount::new(ram.get() * 4))
    }

    /// All bytes.
    #[allow(
        clippy::mut_from_ref,
        reason = "memory by address; each case uses a part from one place at a time"
    )]
    pub(crate) fn bytes(&self) -> &mut [u8] {
        let size = self.memory.size().as_usize();
        // SAFETY: committed for the life of the reservation; see above for the aliasing.
        unsafe { std::slice::from_raw_parts_mut(self.memory.base(), size) }
    }
}

/// The word that belongs at an offset: half of the pages compress, half do not.
fn word(at: usize, salt: u64) -> u64 {
    let value = (at as u64 ^ salt << 40).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    if (at / PAGE).is_multiple_of(2) {
        value ^ value >> 29
    } else {
        (at as u64 / 64) ^ salt
    }
}

/// Fills bytes with what belongs to the offsets from 0.
pub(crate) fn fill(bytes: &mut [u8], salt: u64) {
    for (index, part) in bytes.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&word(index * 8, salt).to_ne_bytes());
    }
}

/// Compares every byte with what belongs to the offsets from `from`, a multiple of eight.
pub(crate) fn verify(bytes: &[u8], from: usize, salt: u64, what: &str) -> Result<(), String> {
    for (index, part) in bytes.chunks(8).enumerate() {
        let at = from + index * 8;
        let should = word(at, salt).to_ne_bytes();
        if part != &should[..part.len()] {
            return Err(format!(
                "DIFFERENCE in {what} at byte {at}: {part:x?} instead of {should:x?}"
            ));
        }
    }
    Ok(())
}

/// `1 GiB`, and how fast.
pub(crate) fn speed(size: ByteCount, start: std::time::Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let mib = size.get() as f64 / 1_048_576.0 / seconds;
    format!("{size} at {mib:.0} MiB/s")
}
