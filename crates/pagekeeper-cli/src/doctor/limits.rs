//! Limits of the process and settings of the machine that bite a pager.

use pagekeeper_sys::cgroup::{MemoryGroup, Version};
use pagekeeper_sys::memory_info::{KernelSettings, MemoryInfo};
use pagekeeper_sys::{prctl, rlimit};

use super::{Finding, Verdict};
use crate::terminal::{count, size};

/// Address space that programs like to reserve, and the demonstration does.
const RESERVED_BYTES: u64 = 1 << 40;
/// Below this much address space or data not even small spaces can be made.
const LEAST_ADDRESS_SPACE: u64 = 1 << 30;
/// The library's own descriptors, with room for the program's.
const LEAST_DESCRIPTORS: u64 = 128;
/// Less locked memory than this is worth a word: VirtualLock and I/O rings need it.
const LITTLE_LOCKED: u64 = 8 << 20;
/// The kernel's default; fewer mappings make alternating commits scarce.
const USUAL_MAPPINGS: u64 = 65_530;
/// Beside a budget, this much room is needed in a control group.
const ROOM_BYTES: u64 = 96 << 20;

pub(super) fn look() -> Vec<Finding> {
    let settings = KernelSettings::read();
    let machine = MemoryInfo::read().unwrap_or_default();
    let mut findings = vec![
        address_space(rlimit::address_space_bytes()),
        data(rlimit::data_bytes()),
        locked(rlimit::locked_memory_bytes()),
        file_size(rlimit::file_size_bytes()),
        descriptors(rlimit::descriptors()),
        overcommit(settings.overcommit_memory),
        mappings(settings.max_map_count),
        future_locked(prctl::future_memory_is_locked()),
        merging(prctl::merges_all_memory(), settings.same_page_merging),
        huge_pages(
            settings.transparent_huge_pages.as_deref(),
            prctl::huge_pages_are_forbidden(),
        ),
        host_swap(machine.swap_total_bytes),
        dumpable(prctl::is_dumpable()),
    ];
    findings.push(control_group(MemoryGroup::own().as_ref()));
    findings
}

fn limited(bytes: u64) -> String {
    if bytes == u64::MAX {
        "unlimited".to_owned()
    } else {
        size(bytes)
    }
}

fn address_space(limit: u64) -> Finding {
    const NAME: &str = "RLIMIT_AS";
    match limit {
        u64::MAX => Finding::ok(NAME, "unlimited"),
        _ if limit >= 2 * RESERVED_BYTES => Finding::ok(NAME, size(limit)),
        _ => Finding::bad(
            if limit < LEAST_ADDRESS_SPACE {
                Verdict::Missing
            } else {
                Verdict::Warning
            },
            NAME,
            limited(limit),
            "reservations count against it: large ones are refused",
            "ulimit -v unlimited, or LimitAS=infinity of the service",
        ),
    }
}

fn data(limit: u64) -> Finding {
    const NAME: &str = "RLIMIT_DATA";
    match limit {
        _ if limit >= 2 * RESERVED_BYTES => Finding::ok(NAME, limited(limit)),
        _ => Finding::bad(
            Verdict::Warning,
            NAME,
            limited(limit),
            "private writable memory counts against it: large inline reservations are refused",
            "ulimit -d unlimited, or LimitDATA=infinity of the service",
        ),
    }
}

fn locked(limit: u64) -> Finding {
    const NAME: &str = "RLIMIT_MEMLOCK";
    if limit >= LITTLE_LOCKED {
        return Finding::ok(NAME, limited(limit));
    }
    Finding::bad(
        Verdict::Note,
        NAME,
        limited(limit),
        "VirtualLock of more is refused; io_uring may be on older kernels",
        "ulimit -l 65536, or LimitMEMLOCK=64M of the service, or CAP_IPC_LOCK",
    )
}

fn file_size(limit: u64) -> Finding {
    const NAME: &str = "RLIMIT_FSIZE";
    match limit {
        u64::MAX => Finding::ok(NAME, "unlimited"),
        _ => Finding::bad(
            if limit < 1 << 20 {
                Verdict::Missing
            } else {
                Verdict::Warning
            },
            NAME,
            size(limit),
            "a page file grows no further: commits beyond are refused",
            "ulimit -f unlimited, or LimitFSIZE=infinity of the service",
        ),
    }
}

fn descriptors(limit: u64) -> Finding {
    const NAME: &str = "RLIMIT_NOFILE";
    if limit >= LEAST_DESCRIPTORS {
        return Finding::ok(NAME, count(limit));
    }
    Finding::bad(
        Verdict::Warning,
        NAME,
        count(limit),
        "no room for Pagekeeper's descriptors above the program's",
        "ulimit -n 1024, or LimitNOFILE=1024 of the service",
    )
}

fn overcommit(setting: Option<u64>) -> Finding {
    const NAME: &str = "vm.overcommit_memory";
    match setting {
        Some(2) => Finding::bad(
            Verdict::Warning,
            NAME,
            "2 (strict)",
            "the kernel charges writable reservations in full: large inline ones are refused, mapped ones are not",
            "as root: sysctl vm.overcommit_memory=0",
        ),
        Some(0) => Finding::ok(NAME, "0 (by guess)"),
        Some(1) => Finding::ok(NAME, "1 (always)"),
        Some(other) => Finding::ok(NAME, count(other)),
        None => Finding::ok(NAME, "cannot be read"),
    }
}

fn mappings(setting: Option<u64>) -> Finding {
    const NAME: &str = "vm.max_map_count";
    match setting {
        Some(most) if most < USUAL_MAPPINGS => Finding::bad(
            Verdict::Note,
            NAME,
            count(most),
            "mapped: fewer alternating protections before commits are refused",
            "as root: sysctl vm.max_map_count=65530",
        ),
        Some(most) => Finding::ok(NAME, count(most)),
        None => Finding::ok(NAME, "cannot be read"),
    }
}

fn future_locked(locked: bool) -> Finding {
    const NAME: &str = "mlockall";
    if !locked {
        return Finding::ok(NAME, "not in force");
    }
    Finding::bad(
        Verdict::Warning,
        NAME,
        "new memory is locked at once (MCL_FUTURE)",
        "reserving costs RAM, and the kernel's own pages cannot leave",
        "call munlockall before making a space, or MCL_CURRENT without MCL_FUTURE",
    )
}

fn merging(asked: bool, running: Option<u64>) -> Finding {
    const NAME: &str = "same-page merging";
    match (asked, running) {
        (true, Some(1)) => Finding::bad(
            Verdict::Note,
            NAME,
            "on for the whole process",
            "merged pages are split again when they leave: slower, and sums of memory are off",
            "prctl(PR_SET_MEMORY_MERGE, 0), or as root: echo 2 > /sys/kernel/mm/ksm/run",
        ),
        (true, _) => Finding::ok(NAME, "asked for, but KSM does not run"),
        (false, Some(1)) => Finding::ok(NAME, "KSM runs, not for this process"),
        (false, _) => Finding::ok(NAME, "off"),
    }
}

fn huge_pages(setting: Option<&str>, forbidden: bool) -> Finding {
    const NAME: &str = "transparent huge pages";
    let cost = "data that fits into RAM is slower: 4 KiB pages only";
    match (setting, forbidden) {
        (_, true) => Finding::bad(
            Verdict::Note,
            NAME,
            "forbidden for this process",
            cost,
            "prctl(PR_SET_THP_DISABLE, 0)",
        ),
        (Some("never"), _) => Finding::bad(
            Verdict::Note,
            NAME,
            "never",
            cost,
            "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
        (Some(word), _) => Finding::ok(NAME, word),
        (None, _) => Finding::bad(
            Verdict::Note,
            NAME,
            "not in this kernel",
            cost,
            "a kernel with huge pages",
        ),
    }
}

fn host_swap(total: u64) -> Finding {
    const NAME: &str = "host swap";
    if total == 0 {
        return Finding::ok(NAME, "none; none is needed");
    }
    Finding::bad(
        Verdict::Note,
        NAME,
        size(total),
        "under pressure the host may swap out pages that Pagekeeper keeps in RAM: slower, never wrong",
        "memory.swap.max=0 of the control group, or as root: swapoff -a",
    )
}

fn dumpable(dumpable: bool) -> Finding {
    const NAME: &str = "dumpable";
    if dumpable {
        return Finding::ok(NAME, "yes");
    }
    Finding::bad(
        Verdict::Note,
        NAME,
        "no",
        "the page map may be closed to the process: write watch and counting are slower",
        "prctl(PR_SET_DUMPABLE, 1); a set-user-id program or one without read permission is not",
    )
}

fn control_group(group: Option<&MemoryGroup>) -> Finding {
    const NAME: &str = "control group";
    let Some(group) = group else {
        return Finding::ok(NAME, "no memory controller to be seen");
    };
    let version = match group.version() {
        Version::One => 1,
        Version::Two => 2,
    };
    let (Some(limit), Some(left)) = (group.limit_bytes(), group.available_bytes()) else {
        return Finding::ok(NAME, format!("version {version}, no memory limit"));
    };
    let found = format!(
        "version {version}, limit {}, {} left",
        size(limit),
        size(left)
    );
    if left >= 2 * ROOM_BYTES {
        return Finding::ok(NAME, found);
    }
    Finding::bad(
        Verdict::Warning,
        NAME,
        found,
        "too little for a budget, 32 MiB of slack and 64 MiB for the program: the OOM killer may come",
        "raise memory.max of the group, or the container's memory limit",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_settings_are_fine() {
        for finding in [
            address_space(u64::MAX),
            data(u64::MAX),
            locked(8 << 20),
            file_size(u64::MAX),
            descriptors(1024),
            overcommit(Some(0)),
            mappings(Some(65_530)),
            future_locked(false),
            merging(false, Some(0)),
            huge_pages(Some("madvise"), false),
            host_swap(0),
            dumpable(true),
            control_group(None),
        ] {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn every_limit_that_bites_says_what_to_do() {
        for (finding, verdict) in [
            (address_space(1 << 39), Verdict::Warning),
            (address_space(1 << 20), Verdict::Missing),
            (data(1 << 30), Verdict::Warning),
            (locked(65_536), Verdict::Note),
            (file_size(1 << 30), Verdict::Warning),
            (file_size(4096), Verdict::Missing),
            (descriptors(20), Verdict::Warning),
            (overcommit(Some(2)), Verdict::Warning),
            (mappings(Some(1000)), Verdict::Note),
            (future_locked(true), Verdict::Warning),
            (merging(true, Some(1)), Verdict::Note),
            (huge_pages(Some("never"), false), Verdict::Note),
            (huge_pages(Some("always"), true), Verdict::Note),
            (host_swap(1 << 30), Verdict::Note),
            (dumpable(false), Verdict::Note),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(
                finding.cost.is_some() && finding.remedy.is_some(),
                "{finding:?}"
            );
        }
    }
}
