//! `pagekeeper status`: what GlobalMemoryStatusEx and GetSystemInfo would say here.
//!
//! Limits of control groups count as Windows' job limits do: the smaller figure is the answer. The fields of the JSON
//! are described in `docs/program.md`.

mod processes;

use std::io::IsTerminal as _;

use comfy_table::{Cell, Table};
use pagekeeper::monitor::Processes;
use pagekeeper_sys::cgroup::{MemoryGroup, Version};
use pagekeeper_sys::cpu::Processors;
use pagekeeper_sys::memory_info::{KernelSettings, MemoryInfo};
use pagekeeper_sys::procmap::Residence;
use pagekeeper_sys::rlimit;
use pagekeeper_units::{ALLOCATION_GRANULARITY, HIGHEST_ADDRESS, LOWEST_ADDRESS, PAGE_SIZE};
use serde::Serialize;

use self::processes::ProcessLine;
use crate::arguments::StatusOptions;
use crate::failure::Failure;
use crate::terminal::{self, count, size};

/// PROCESSOR_ARCHITECTURE_AMD64.
const ARCHITECTURE_X64: u16 = 9;
/// PROCESSOR_AMD_X8664.
const PROCESSOR_TYPE_X64: u32 = 8664;
/// Processors of one group, as GetSystemInfo counts them.
const PROCESSORS_OF_A_GROUP: usize = 64;

/// The whole report.
#[derive(Debug, PartialEq, Serialize)]
struct Status {
    memory: Memory,
    system: System,
    /// The machine's own swap devices and files.
    swap: Swap,
    /// Processes that use Pagekeeper and may be looked into.
    processes: Vec<ProcessLine>,
}

/// The kernel's swap, in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Swap {
    total: u64,
    free: u64,
}

/// What GlobalMemoryStatusEx says, in bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Memory {
    /// `dwMemoryLoad`, percent.
    memory_load_percent: u64,
    /// `ullTotalPhys`.
    total_physical: u64,
    /// `ullAvailPhys`.
    available_physical: u64,
    /// `ullTotalPageFile`: the commit limit.
    total_page_file: u64,
    /// `ullAvailPageFile`: commit limit less what is committed.
    available_page_file: u64,
    /// `CommitTotal`: the difference of the two.
    commit_charge: u64,
    /// How the commit limit was found.
    page_file_source: PageFileSource,
    /// `ullTotalVirtual`.
    total_virtual: u64,
    /// `ullAvailVirtual`.
    available_virtual: u64,
    /// The control group whose limit was counted in, if one has a limit.
    control_group: Option<ControlGroup>,
}

/// What stands for Windows' commit limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum PageFileSource {
    /// `vm.overcommit_memory=2`: the kernel's own CommitLimit and Committed_AS.
    KernelCommitLimit,
    /// Otherwise the kernel keeps no limit: RAM and swap, of the control group if it has less.
    RamAndSwap,
}

#[derive(Debug, PartialEq, Serialize)]
struct ControlGroup {
    version: u8,
    folder: String,
    limit: u64,
    available: u64,
}

/// What GetSystemInfo says.
#[derive(Debug, PartialEq, Serialize)]
struct System {
    /// `wProcessorArchitecture`: 9 is x64.
    processor_architecture: u16,
    /// `dwPageSize`.
    page_size: u32,
    /// `lpMinimumApplicationAddress`.
    minimum_application_address: u64,
    /// `lpMaximumApplicationAddress`.
    maximum_application_address: u64,
    /// `dwActiveProcessorMask`.
    active_processor_mask: u64,
    /// `dwNumberOfProcessors`: of one group, 64 at most.
    number_of_processors: usize,
    /// `dwProcessorType`: 8664.
    processor_type: u32,
    /// `dwAllocationGranularity`.
    allocation_granularity: u32,
    /// `wProcessorLevel`: the family.
    processor_level: u32,
    /// `wProcessorRevision`: model in the high byte, stepping in the low one.
    processor_revision: u32,
    /// The processor's maker.
    vendor: String,
}

/// Prints the report, once or again and again.
pub(crate) fn run(options: &StatusOptions) -> Result<(), Failure> {
    let mut processes = Processes::new();
    let Some(interval) = options.watch else {
        let status = gather(&mut processes)?;
        if options.json {
            terminal::print_json(&status);
        } else {
            terminal::print(&text(&status));
        }
        return Ok(());
    };
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        let status = gather(&mut processes)?;
        let shown = match (options.json, is_terminal) {
            (true, _) => terminal::json_line(&status),
            // From the top left corner, what was there before cleared line by line: nothing flickers.
            (false, true) => format!("\x1b[H{}\x1b[J", text(&status).replace('\n', "\x1b[K\n")),
            (false, false) => text(&status) + "\n",
        };
        if !terminal::print_if_read(&shown) {
            return Ok(());
        }
        std::thread::sleep(interval);
    }
}

/// The report, for those who show it otherwise; of all processes `only` one, if so.
pub(crate) fn machine(only: Option<u32>) -> Result<impl Serialize, Failure> {
    let mut status = gather(&mut Processes::new())?;
    if let Some(only) = only {
        status.processes.retain(|process| process.is(only));
    }
    Ok(status)
}

fn text(status: &Status) -> String {
    let mut text = terminal::trimmed(&table(status).to_string());
    if !status.processes.is_empty() {
        text += &terminal::trimmed(&processes::table(&status.processes).to_string());
    }
    text
}

fn gather(processes: &mut Processes) -> Result<Status, Failure> {
    let machine = MemoryInfo::read().map_err(|errno| {
        Failure::Broken(format!("the kernel tells nothing about memory: {errno}"))
    })?;
    let strict = KernelSettings::read().overcommit_memory == Some(2);
    let group = tightest_group();
    let mapped = Residence::own().map_or(0, |own| own.mapped_bytes);
    Ok(Status {
        memory: memory(
            &machine,
            strict,
            group,
            mapped,
            rlimit::address_space_bytes(),
        ),
        system: system(&Processors::read(), allowed_processors()),
        swap: Swap {
            total: machine.swap_total_bytes,
            free: machine.swap_free_bytes,
        },
        processes: processes::lines(processes),
    })
}

/// A limited group with what it may still use, and its swap.
struct Group {
    shown: ControlGroup,
    swap: Option<u64>,
}

fn tightest_group() -> Option<Group> {
    let group = MemoryGroup::own()?;
    let (limit, available) = (group.limit_bytes()?, group.available_bytes()?);
    let level = group
        .levels()
        .into_iter()
        .find(|level| level.limit_bytes == Some(limit))?;
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(level.folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let (version, swap) = match group.version() {
        // Memory and swap together.
        Version::One => (
            1,
            number("memory.memsw.limit_in_bytes").map(|both| both.saturating_sub(limit)),
        ),
        Version::Two => (2, number("memory.swap.max")),
    };
    let folder = level.folder.display().to_string();
    Some(Group {
        shown: ControlGroup {
            version,
            folder,
            limit,
            available,
        },
        swap,
    })
}

fn memory(
    machine: &MemoryInfo,
    strict: bool,
    group: Option<Group>,
    mapped: u64,
    address_space: u64,
) -> Memory {
    let (mut total, mut available) = (machine.total_bytes, machine.available_bytes);
    let (mut swap_total, mut swap_free) = (machine.swap_total_bytes, machine.swap_free_bytes);
    if let Some(group) = &group {
        total = total.min(group.shown.limit);
        available = available.min(group.shown.available);
        let swap = group.swap.unwrap_or(u64::MAX);
        (swap_total, swap_free) = (swap_total.min(swap), swap_free.min(swap));
    }
    available = available.min(total);
    let (source, commit_limit, commit_left) = if strict {
        let left = machine
            .commit_limit_bytes
            .saturating_sub(machine.committed_bytes);
        (
            PageFileSource::KernelCommitLimit,
            machine.commit_limit_bytes,
            left,
        )
    } else {
        (
            PageFileSource::RamAndSwap,
            total + swap_total,
            available + swap_free,
        )
    };
    let total_virtual = (HIGHEST_ADDRESS - LOWEST_ADDRESS + 1).min(address_space);
    Memory {
        // Windows divides whole numbers in this order.
        memory_load_percent: (total - available) / (total / 100).max(1),
        total_physical: total,
        available_physical: available,
        total_page_file: commit_limit,
        available_page_file: commit_left.min(commit_limit),
        commit_charge: commit_limit.saturating_sub(commit_left),
        page_file_source: source,
        total_virtual,
        available_virtual: total_virtual.saturating_sub(mapped),
        control_group: group.map(|group| group.shown),
    }
}

fn system(processors: &Processors, mask: u64) -> System {
    System {
        processor_architecture: ARCHITECTURE_X64,
        page_size: PAGE_SIZE as u32,
        minimum_application_address: LOWEST_ADDRESS,
        maximum_application_address: HIGHEST_ADDRESS,
        active_processor_mask: mask,
        number_of_processors: processors.usable.min(PROCESSORS_OF_A_GROUP),
        processor_type: PROCESSOR_TYPE_X64,
        allocation_granularity: ALLOCATION_GRANULARITY as u32,
        processor_level: processors.family,
        processor_revision: processors.model << 8 | processors.stepping,
        vendor: processors.vendor.clone(),
    }
}

/// The first 64 processors that the process may run on, one bit each.
fn allowed_processors() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed:"));
    line.and_then(low_mask).unwrap_or(1)
}

/// The low 64 bits of `ff,ffffffff,00000003`.
fn low_mask(text: &str) -> Option<u64> {
    let words: Option<Vec<u64>> = text
        .trim()
        .rsplit(',')
        .take(2)
        .map(|word| u64::from_str_radix(word, 16).ok())
        .collect();
    let words = words?;
    Some(words.first()? | words.get(1).copied().unwrap_or(0) << 32)
}

fn table(status: &Status) -> Table {
    let Status {
        memory,
        system,
        swap,
        ..
    } = status;
    let mut table = terminal::table();
    let mut row = |name: &str, text: String| {
        table.add_row([Cell::new(name), Cell::new(text)]);
    };
    let of = |left: u64, all: u64| format!("{} available of {}", size(left), size(all));
    let source = match memory.page_file_source {
        PageFileSource::KernelCommitLimit => "the kernel's commit limit",
        PageFileSource::RamAndSwap => "RAM and swap; the kernel keeps no limit",
    };
    row("memory load", format!("{} %", memory.memory_load_percent));
    row(
        "physical memory",
        of(memory.available_physical, memory.total_physical),
    );
    if let Some(group) = &memory.control_group {
        row(
            "control group",
            format!(
                "limit {} (version {}, {})",
                size(group.limit),
                group.version,
                group.folder
            ),
        );
    }
    let page_file = of(memory.available_page_file, memory.total_page_file);
    row("page file", format!("{page_file}\n({source})"));
    row(
        "commit charge",
        format!(
            "{} of {}",
            size(memory.commit_charge),
            size(memory.total_page_file)
        ),
    );
    row("swap", of(swap.free, swap.total));
    row(
        "virtual memory",
        of(memory.available_virtual, memory.total_virtual),
    );
    row(
        "processors",
        format!(
            "{}, mask {:#x}, {}",
            count(system.number_of_processors as u64),
            system.active_processor_mask,
            system.vendor
        ),
    );
    row(
        "architecture",
        format!(
            "{} (x64), type {}, level {}, revision {:#06x}",
            system.processor_architecture,
            system.processor_type,
            system.processor_level,
            system.processor_revision
        ),
    );
    row(
        "page size",
        format!(
            "{}, granularity {}",
            system.page_size, system.allocation_granularity
        ),
    );
    row(
        "addresses",
        format!(
            "{:#x} to {:#x}",
            system.minimum_application_address, system.maximum_application_address
        ),
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn machine() -> MemoryInfo {
        MemoryInfo {
            total_bytes: 16 * GIB,
            available_bytes: 12 * GIB,
            swap_total_bytes: 4 * GIB,
            swap_free_bytes: 3 * GIB,
            commit_limit_bytes: 10 * GIB,
            committed_bytes: 4 * GIB,
            ..MemoryInfo::default()
        }
    }

    fn group(limit: u64, available: u64, swap: Option<u64>) -> Option<Group> {
        let shown = ControlGroup {
            version: 2,
            folder: "/sys/fs/cgroup/x".to_owned(),
            limit,
            available,
        };
        Some(Group { shown, swap })
    }

    #[test]
    fn the_machine_without_limits() {
        let memory = memory(&machine(), false, None, GIB, u64::MAX);
        assert_eq!(memory.memory_load_percent, 25);
        assert_eq!(
            (memory.total_page_file, memory.available_page_file),
            (20 * GIB, 15 * GIB)
        );
        assert_eq!(memory.page_file_source, PageFileSource::RamAndSwap);
        assert_eq!(memory.total_virtual, 0x7FFF_FFFE_0000);
        assert_eq!(memory.available_virtual, 0x7FFF_FFFE_0000 - GIB);
    }

    #[test]
    fn a_groups_limit_is_the_machine() {
        let memory = memory(&machine(), false, group(2 * GIB, GIB, Some(0)), 0, u64::MAX);
        assert_eq!(
            (memory.total_physical, memory.available_physical),
            (2 * GIB, GIB)
        );
        assert_eq!(
            (memory.total_page_file, memory.available_page_file),
            (2 * GIB, GIB)
        );
        assert_eq!(memory.memory_load_percent, 50);
        // A limit above the machine changes nothing.
        let memory = super::memory(
            &machine(),
            false,
            group(64 * GIB, 63 * GIB, None),
            0,
            8 * GIB,
        );
        assert_eq!(
            (memory.total_physical, memory.total_page_file),
            (16 * GIB, 20 * GIB)
        );
        assert_eq!(memory.total_virtual, 8 * GIB);
    }

    #[test]
    fn strict_overcommit_has_a_limit_of_its_own() {
        let memory = memory(&machine(), true, None, 0, u64::MAX);
        assert_eq!(
            (memory.total_page_file, memory.available_page_file),
            (10 * GIB, 6 * GIB)
        );
        assert_eq!(memory.page_file_source, PageFileSource::KernelCommitLimit);
    }

    #[test]
    fn masks_are_read_from_the_right() {
        assert_eq!(low_mask("\t3\n"), Some(3));
        assert_eq!(
            low_mask("ff,80000000,00000001"),
            Some(0x8000_0000_0000_0001)
        );
        assert_eq!(low_mask("x"), None);
        assert!(allowed_processors().count_ones() >= 1);
    }
}
