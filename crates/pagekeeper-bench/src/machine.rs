//! The machine that the figures come from: kernel, processor, mitigations, memory, disk.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pagekeeper_sys::cpu;
use pagekeeper_sys::file::{FileSystemKind, file_system};
use pagekeeper_sys::memory_info::{KernelSettings, MemoryInfo};
use pagekeeper_units::ByteCount;
use serde::Serialize;

use crate::disk::DiskSpeed;
use crate::kernel::text_of;

/// What stands above the tables.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) virtual_machine: bool,
    pub(crate) memory_bytes: u64,
    /// What the kernel says about each weakness of the processor that it knows and that is not absent.
    pub(crate) mitigations: Vec<String>,
    pub(crate) huge_pages: String,
    pub(crate) swappiness: String,
    pub(crate) page_cluster: String,
    /// Swap space of others, in use before we came.
    pub(crate) swap_before_bytes: u64,
    pub(crate) control_groups: String,
    /// File system and device of the page files and swap files.
    pub(crate) disk: String,
    pub(crate) disk_speed: Option<DiskSpeed>,
    /// Load average of the last minute when the run began.
    pub(crate) load: String,
}

impl Machine {
    /// Looks around; the disk's speed is measured elsewhere.
    pub(crate) fn look(folder: &Path) -> Self {
        let settings = KernelSettings::read();
        let memory = MemoryInfo::read().unwrap_or_default();
        let processor = text_of("/proc/cpuinfo");
        let sysctl = |name: &str| text_of(format!("/proc/sys/vm/{name}")).trim().to_owned();
        Self {
            date: today(),
            kernel: settings.release,
            processor: field(&processor, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            processors: cpu::usable(),
            virtual_machine: field(&processor, "flags")
                .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            memory_bytes: memory.total_bytes,
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            huge_pages: settings
                .transparent_huge_pages
                .unwrap_or_else(|| "none".to_owned()),
            swappiness: sysctl("swappiness"),
            page_cluster: sysctl("page-cluster"),
            swap_before_bytes: memory.swap_total_bytes,
            control_groups: match pagekeeper_sys::cgroup::MemoryGroup::own() {
                None => "none visible".to_owned(),
                Some(group) => match group.version() {
                    pagekeeper_sys::cgroup::Version::One => "version 1".to_owned(),
                    pagekeeper_sys::cgroup::Version::Two => "version 2".to_owned(),
                },
            },
            disk: disk_of(folder, &text_of("/proc/self/mounts")),
            disk_speed: None,
            load: load(),
        }
    }
}

/// The load average of the last minute.
pub(crate) fn load() -> String {
    text_of("/proc/loadavg")
        .split(' ')
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The value behind `name` and a colon, the first time it comes.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn mitigations(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                text_of(entry.path()).trim().to_owned(),
            )
        })
        .filter(|(_, state)| !state.is_empty() && state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    found.sort();
    found
}

/// File system and device of the mount that `folder` lies on, such as `ext4 on vda`.
fn disk_of(folder: &Path, mounts: &str) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(_, point, _)| folder.starts_with(point))
        // Of two mounts at one point the later one is seen.
        .max_by_key(|(_, point, _)| point.len());
    match found {
        Some((device, _, kind)) => {
            let device = device.strip_prefix("/dev/").unwrap_or(device);
            // Early boot's name for the root device says nothing.
            if device == "root" || device == "rootfs" {
                kind.to_owned()
            } else {
                format!("{kind} on {device}")
            }
        }
        None => "unknown".to_owned(),
    }
}

/// Where page files, swap files and mapped files go: `chosen`, or `TMPDIR` if on a disk, or `/var/tmp`.
///
/// # Errors
/// One line that says what to change.
pub(crate) fn folder(chosen: Option<&Path>) -> Result<PathBuf, String> {
    let temporary = std::env::var_os("TMPDIR").map(PathBuf::from);
    let is_on_disk =
        |path: &PathBuf| file_system(path).is_ok_and(|found| found.kind == FileSystemKind::Disk);
    let folder = match chosen {
        Some(folder) => folder.to_owned(),
        None => temporary
            .filter(is_on_disk)
            .unwrap_or_else(|| "/var/tmp".into()),
    };
    match file_system(&folder) {
        Err(error) => Err(format!("--folder {}: {error}", folder.display())),
        Ok(found) if found.kind == FileSystemKind::Ram => Err(format!(
            "--folder {} lies in RAM, where paging saves nothing; name a folder on a disk",
            folder.display()
        )),
        Ok(_) if !folder.is_dir() => Err(format!("--folder {} is no folder", folder.display())),
        Ok(_) => folder.canonicalize().map_err(|error| error.to_string()),
    }
}

/// Whether there is room for `bytes` in `folder`.
///
/// # Errors
/// One line that says what is missing.
pub(crate) fn require_room(folder: &Path, bytes: ByteCount) -> Result<(), String> {
    let free = file_system(folder)
        .map_err(|error| error.to_string())?
        .free_bytes;
    if free < bytes.get() {
        return Err(format!(
            "{} has {} free and {} are wanted: give less --data or another --folder",
            folder.display(),
            ByteCount::new(free).human(),
            bytes.human()
        ));
    }
    Ok(())
}

/// Today in UTC, such as `2026-11-22`.
fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let (year, month, day) = date_of_day(seconds / 86_400);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of a day counted from 1970-01-01, by Howard Hinnant's rule: years begin in March.
fn date_of_day(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_779, (2026, 11, 22)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date_of_day(days), date, "{days}");
        }
    }

    #[test]
    fn the_innermost_mount_is_the_folders() {
        let mounts =
            "/dev/root / ext4 rw 0 0\n/dev/vdb /var xfs rw 0 0\ntmpfs /tmpx tmpfs rw 0 0\n";
        assert_eq!(disk_of(Path::new("/var/nowhere/x"), mounts), "xfs on vdb");
        assert_eq!(disk_of(Path::new("/variety"), mounts), "ext4");
        assert_eq!(
            disk_of(Path::new("/tmpx/nothing"), mounts),
            "tmpfs on tmpfs"
        );
        assert_eq!(disk_of(Path::new("/x"), ""), "unknown");
    }

    #[test]
    fn folders_in_ram_and_missing_ones_are_refused() {
        let missing = folder(Some(Path::new("/no/such/folder"))).expect_err("missing");
        assert!(missing.starts_with("--folder /no/such/folder"), "{missing}");
        if file_system(Path::new("/dev/shm")).is_ok_and(|found| found.kind == FileSystemKind::Ram) {
            let in_ram = folder(Some(Path::new("/dev/shm"))).expect_err("in RAM");
            assert!(in_ram.contains("lies in RAM"), "{in_ram}");
        }
        let found = folder(Some(Path::new("/var/tmp"))).expect("on a disk");
        assert!(require_room(&found, ByteCount::tib(1 << 16)).is_err());
    }

    #[test]
    fn the_machine_is_described() {
        let machine = Machine::look(Path::new("/var/tmp"));
        assert!(machine.processors >= 1 && machine.memory_bytes > 0);
        assert!(!machine.kernel.is_empty() && machine.date.starts_with("20"));
    }
}
