//! Processors. Windows: `GetSystemInfo`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the cpuid instruction, which every x86-64 processor has"
)]

use core::arch::x86_64::{__cpuid, CpuidResult};

/// What the processor says it is, and how many of them there are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Processors {
    /// Processors that this process may run on.
    pub usable: usize,
    /// Processors that are switched on in the machine.
    pub online: usize,
    /// `GenuineIntel`, `AuthenticAMD`, …
    pub vendor: String,
    /// Family, the extended one added. Windows: `wProcessorLevel`.
    pub family: u32,
    /// Model, the extended one included. Windows: high byte of `wProcessorRevision`.
    pub model: u32,
    /// Stepping. Windows: low byte of `wProcessorRevision`.
    pub stepping: u32,
}

impl Processors {
    /// Asks the processor and the kernel.
    pub fn read() -> Self {
        let (vendor, version) = identify();
        let (family, model, stepping) = decode(version);
        Self {
            usable: usable(),
            online: online(),
            vendor,
            family,
            model,
            stepping,
        }
    }
}

/// Processors that this process may run on, one at least.
pub fn usable() -> usize {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (set.count() as usize).max(1),
        // More processors than the set holds: all of them.
        Err(_) => online(),
    }
}

fn online() -> usize {
    crate::text::read_file("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|text| count_list(text.trim()))
        .unwrap_or(1)
}

/// Counts a list such as `0-3,8`.
fn count_list(text: &str) -> Option<usize> {
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high): (usize, usize) = (low.parse().ok()?, high.parse().ok()?);
            Some(high.checked_sub(low)? + 1)
        })
        .sum()
}

fn identify() -> (String, u32) {
    let leaf = |number| -> CpuidResult { __cpuid(number) };
    let name = leaf(0);
    let bytes: Vec<u8> = [name.ebx, name.edx, name.ecx]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    (String::from_utf8_lossy(&bytes).into_owned(), leaf(1).eax)
}

/// Family, model and stepping from leaf 1, by the rule of both makers.
fn decode(version: u32) -> (u32, u32, u32) {
    let family = version >> 8 & 0xF;
    let model = version >> 4 & 0xF;
    let stepping = version & 0xF;
    let extended_model = (version >> 16 & 0xF) << 4;
    match family {
        0xF => (
            family + (version >> 20 & 0xFF),
            model + extended_model,
            stepping,
        ),
        0x6 => (family, model + extended_model, stepping),
        _ => (family, model, stepping),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        assert_eq!(count_list("3-1"), None);
        assert_eq!(count_list(""), None);
    }

    #[test]
    fn family_and_model_follow_the_makers_rule() {
        assert_eq!(decode(0x00A2_0F12), (25, 33, 2)); // AMD Zen 3
        assert_eq!(decode(0x0009_06EA), (6, 158, 10)); // Intel Coffee Lake
    }

    #[test]
    fn the_kernel_agrees() {
        let found = Processors::read();
        assert!(found.usable >= 1 && found.usable <= found.online);
        let text = crate::text::read_file("/proc/cpuinfo").unwrap();
        let line = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.split(':').next().unwrap().trim() == name);
            line.and_then(|line| line.split(':').nth(1))
                .map(|value| value.trim().to_owned())
        };
        assert_eq!(line("cpu family"), Some(found.family.to_string()));
        assert_eq!(line("model"), Some(found.model.to_string()));
        assert_eq!(line("vendor_id"), Some(found.vendor));
    }
}
