//! A memory control group with a limit, version 1 or 2, for one child process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pagekeeper_sys::cgroup::{MemoryGroup, Version};
use pagekeeper_units::ByteCount;

use super::{name_of, require_root, text_of};

/// A group with a limit; removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    version: Version,
}

impl Cgroup {
    /// Makes a group below our own (version 1), or beside it (version 2, where a group with processes has no children).
    ///
    /// # Errors
    /// Why that is not possible, for "skipped, because".
    pub(crate) fn create(limit: ByteCount) -> Result<Self, String> {
        require_root()?;
        let (version, parents) = parents().ok_or("no memory control groups can be seen here")?;
        let mut reason = String::new();
        for parent in parents {
            match Self::create_in(&parent, version, limit) {
                Ok(group) => return Ok(group),
                Err(error) => reason = error,
            }
        }
        Err(format!("a memory control group cannot be made: {reason}"))
    }

    fn create_in(parent: &Path, version: Version, limit: ByteCount) -> Result<Self, String> {
        if version == Version::Two {
            let control = parent.join("cgroup.subtree_control");
            if !text_of(&control)
                .split_whitespace()
                .any(|name| name == "memory")
            {
                std::fs::write(&control, "+memory").map_err(|error| error.to_string())?;
            }
        }
        let folder = parent.join(name_of(std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| error.to_string())?;
        // From here on dropping removes it.
        let group = Self { folder, version };
        let file = match version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        std::fs::write(group.folder.join(file), limit.get().to_string())
            .map_err(|error| format!("{file}: {error}"))?;
        Ok(group)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The most that was ever charged: anonymous memory, page cache, swap cache, page tables. `None` before Linux 5.19
    /// with version 2.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        text_of(self.folder.join(file)).trim().parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            eprintln!(
                "the control group {} could not be removed: {error}",
                self.folder.display()
            );
        }
    }
}

/// Puts the own process into a group, before it uses memory.
pub(crate) fn join(folder: &Path) -> std::io::Result<()> {
    std::fs::write(folder.join("cgroup.procs"), "0")
}

/// Ends the processes of a group and removes it. A process that has ended stays in it for a moment.
pub(super) fn remove(folder: &Path) -> std::io::Result<()> {
    const ATTEMPTS: usize = 100;
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        for pid in members(&text_of(folder.join("cgroup.procs"))) {
            // Ended already: just as well.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        last = match std::fs::remove_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other,
        };
        if last.is_ok() {
            return last;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    last
}

/// The processes listed in `cgroup.procs`. A 0 stands for one of another name space, which cannot be named.
fn members(text: &str) -> impl Iterator<Item = rustix::process::Pid> {
    text.lines()
        .filter_map(|line| line.trim().parse().ok().filter(|&number: &i32| number > 0))
        .filter_map(rustix::process::Pid::from_raw)
}

/// Where a group may be made, the best place first.
pub(super) fn parents() -> Option<(Version, Vec<PathBuf>)> {
    let group = MemoryGroup::own()?;
    let folder = group.folder().to_owned();
    let mut folders = vec![folder.clone()];
    if group.version() == Version::Two {
        // The mount's root may have both processes and children; every other group is one or the other.
        let above = folder
            .parent()
            .filter(|above| above.join("cgroup.procs").exists());
        folders.splice(0..0, above.map(Path::to_owned));
    }
    Some((group.version(), folders))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_and_nonsense_is_not() {
        let found: Vec<i32> = members("12\n 7 \n\n0\nx\n-3\n99999999999\n")
            .map(|pid| pid.as_raw_nonzero().get())
            .collect();
        assert_eq!(found, [12, 7]);
    }

    #[test]
    fn a_group_is_limited_and_leaves_nothing_behind() {
        let group = match Cgroup::create(ByteCount::mib(64)) {
            Ok(group) => group,
            Err(reason) => return println!("skipped, because {reason}"),
        };
        let folder = group.folder().to_owned();
        let file = match group.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        assert_eq!(text_of(folder.join(file)).trim(), (64 << 20).to_string());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        std::fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        let ended = std::thread::spawn(move || child.wait().unwrap());
        drop(group);
        assert!(
            !ended.join().unwrap().success(),
            "the process in it was ended"
        );
        assert!(!folder.exists());
    }
}
