//! Nothing stays behind: what a run made is found by its name and removed, by a helper process that notices the end of
//! the bench however it ends, and by the next run.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{cgroup, owner_in, swap, text_of, zram};

/// Whose things are to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    /// Those of processes that are no more.
    Dead,
    /// Those of one process, which has just ended.
    Of(u32),
}

impl Whose {
    fn includes(self, owner: u32) -> bool {
        match self {
            Self::Of(only) => owner == only,
            Self::Dead => !is_running_bench(owner),
        }
    }
}

/// The helper process that cleans up behind this one.
#[derive(Debug)]
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Removes what earlier runs left, and starts the helper. `None` for ordinary users, who leave nothing.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        sweep(folder, Whose::Dead);
        // A process group of its own: an interrupt from the terminal is not for it.
        let child = Command::new(std::env::current_exe()?)
            .arg("janitor")
            .arg(std::process::id().to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Some(Self(child)))
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        // The end of its input is its signal.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The helper's whole life: waits for the end of the bench, then cleans up.
pub(crate) fn janitor(owner: u32, folder: &Path) {
    let mut byte = [0];
    // Nothing is ever written; whatever ends the waiting, the bench is gone or going.
    let _ = std::io::stdin().read(&mut byte);
    sweep(folder, Whose::Of(owner));
}

/// Removes groups, swap space and devices, in this order. Says what it removed.
fn sweep(folder: &Path, whose: Whose) {
    let removed = |what: &Path, result: std::io::Result<()>| match result {
        Ok(()) => eprintln!("removed what an ended run left: {}", what.display()),
        Err(error) => eprintln!(
            "left by an ended run, cannot be removed: {}: {error}",
            what.display()
        ),
    };
    for group in leftover_groups(whose) {
        removed(&group, cgroup::remove(&group));
    }
    for path in swap::paths_in(&text_of("/proc/swaps")) {
        if swap::owner_of(&path).is_some_and(|owner| whose.includes(owner)) {
            let off = swap::swap_off(&path);
            let device = zram::number_of(&path);
            removed(
                &path,
                off.and_then(|()| device.map_or_else(|| std::fs::remove_file(&path), zram::remove)),
            );
        }
    }
    for owner in owners_in(folder, ".swap") {
        if whose.includes(owner) {
            let path = folder.join(format!("{}.swap", super::name_of(owner)));
            removed(&path, std::fs::remove_file(&path));
        }
    }
    sweep_devices(whose, &removed);
}

/// Devices that carry our header but are not in use, and those that were recorded before they had one.
fn sweep_devices(whose: Whose, removed: &dyn Fn(&Path, std::io::Result<()>)) {
    for number in zram::devices_in_use() {
        let path = PathBuf::from(format!("/dev/zram{number}"));
        if swap::owner_of(&path).is_some_and(|owner| whose.includes(owner)) {
            removed(&path, zram::remove(number));
        }
    }
    for owner in zram::recorded_owners() {
        if !whose.includes(owner) {
            continue;
        }
        let record = zram::record_of(owner);
        if let Ok(number) = text_of(&record).trim().parse::<u32>() {
            let path = PathBuf::from(format!("/dev/zram{number}"));
            // Without a header it is an empty device that nobody uses; with another header it has a new owner.
            let is_empty = text_of(format!("/sys/block/zram{number}/disksize")).trim() == "0";
            let exists = path.exists();
            if exists && (is_empty || has_no_header(&path)) {
                removed(&path, zram::remove(number));
            }
        }
        let _ = std::fs::remove_file(record);
    }
}

/// Whether the first page of a device is all zeros.
fn has_no_header(path: &Path) -> bool {
    let mut page = [1_u8; 4096];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut page));
    read.is_ok() && page.iter().all(|&byte| byte == 0)
}

fn leftover_groups(whose: Whose) -> Vec<PathBuf> {
    let Some((_, parents)) = cgroup::parents() else {
        return Vec::new();
    };
    let groups = parents.iter().flat_map(|parent| {
        owners_in(parent, "")
            .into_iter()
            .filter(move |&owner| whose.includes(owner))
            .map(move |owner| parent.join(super::name_of(owner)))
    });
    groups.collect()
}

/// The owners of all entries of `folder` that carry our name and this ending.
pub(super) fn owners_in(folder: &Path, ending: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str()?.strip_suffix(ending)?;
            owner_in(name).filter(|&owner| name == super::name_of(owner))
        })
        .collect()
}

/// Whether the process is there and is a bench (or a test of it), so that its things are in use.
fn is_running_bench(pid: u32) -> bool {
    // The kernel keeps fifteen letters.
    text_of(format!("/proc/{pid}/comm"))
        .trim_end()
        .starts_with("pagekeeper-benc")
        || text_of(format!("/proc/{pid}/comm"))
            .trim_end()
            .starts_with("pagekeeper_benc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_things_of_ended_processes_are_swept() {
        let own = std::process::id();
        // Process numbers end at 2^22.
        assert!(Whose::Dead.includes(u32::MAX / 2));
        assert!(
            Whose::Dead.includes(1),
            "that number belongs to another program now"
        );
        assert!(Whose::Of(own).includes(own) && !Whose::Of(own).includes(own + 1));
        let name = text_of("/proc/self/comm");
        if is_running_bench(own) {
            assert!(!Whose::Dead.includes(own), "{name}");
        }
    }

    #[test]
    fn entries_are_found_by_their_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "pagekeeper-bench-12.swap",
            "pagekeeper-bench-13.swap.old",
            "pagekeeper-bench-14",
            "x-15.swap",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(owners_in(folder.path(), ".swap"), [12]);
        assert_eq!(owners_in(folder.path(), ""), [14]);
    }

    #[test]
    fn a_file_left_by_an_ended_process_is_removed_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("pagekeeper-bench-2147483000.swap");
        let other = folder.path().join("precious.swap");
        std::fs::write(&dead, "x").unwrap();
        std::fs::write(&other, "x").unwrap();
        sweep(folder.path(), Whose::Dead);
        assert!(!dead.exists() && other.exists());
    }
}
