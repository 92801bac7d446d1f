//! The memory limits of the control groups that a process lives in: version 1, 2 and both at once.
//!
//! A limit of any ancestor binds, so the whole path up to what the mount shows is walked, and the
//! tightest wins. Inside a container the mount may show only the container's own subtree; then the
//! ancestors above cannot be seen by anybody in there.

use std::path::{Path, PathBuf};

use crate::text::{read_file, read_number};

/// Version 1 writes "no limit" as the largest page-aligned number.
const NO_LIMIT: u64 = 1 << 62;

/// One group on the way up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    /// Its folder.
    pub folder: PathBuf,
    /// `memory.max` or `memory.limit_in_bytes`; `None` for no limit.
    pub limit_bytes: Option<u64>,
    /// `memory.high` (version 2): above it the kernel slows the group down.
    pub high_bytes: Option<u64>,
    /// What it uses now, page cache included.
    pub usage_bytes: u64,
    /// Of that, page cache that the kernel can drop or write out.
    pub file_cache_bytes: u64,
    /// Of that, anonymous memory.
    pub anonymous_bytes: u64,
}

impl Level {
    /// Bytes that may still be used before the limit, page cache counted as used.
    pub fn headroom_bytes(&self) -> Option<u64> {
        Some(self.limit_bytes?.saturating_sub(self.usage_bytes))
    }

    /// Bytes that may still be used when the kernel drops the page cache.
    pub fn available_bytes(&self) -> Option<u64> {
        let hard = self.usage_bytes.saturating_sub(self.file_cache_bytes);
        Some(self.limit_bytes?.saturating_sub(hard))
    }
}

/// Which interface the memory controller has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// `memory.limit_in_bytes` and friends.
    One,
    /// `memory.max` and friends.
    Two,
}

/// The group of a process and its ancestors, the own group first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryGroup {
    version: Version,
    /// Folders from the own group up to the mount's root.
    folders: Vec<PathBuf>,
}

impl MemoryGroup {
    /// The group of the own process; `None` where no memory controller can be seen.
    pub fn own() -> Option<Self> {
        Self::from_texts(
            &read_file("/proc/self/cgroup").ok()?,
            &read_file("/proc/self/mountinfo").ok()?,
        )
    }

    /// The group of another process.
    pub fn of(pid: u32) -> Option<Self> {
        Self::from_texts(
            &read_file(format!("/proc/{pid}/cgroup")).ok()?,
            &read_file("/proc/self/mountinfo").ok()?,
        )
    }

    /// The group with this folder, without its ancestors; `None` where the folder has no limit file of either version.
    pub fn in_folder(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).is_file();
        let version = if has("memory.max") {
            Version::Two
        } else if has("memory.limit_in_bytes") {
            Version::One
        } else {
            return None;
        };
        let folders = vec![folder.to_owned()];
        Some(Self { version, folders })
    }

    /// How often the kernel has killed a process of the own group for want of memory; `None` where it does not say.
    pub fn kills(&self) -> Option<u64> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = read_file(self.folder().join(name)).ok()?;
        let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
        text.lines().find_map(count)
    }

    /// From the texts of `/proc/PID/cgroup` and `/proc/self/mountinfo`. A memory controller of
    /// version 1 goes before version 2, because a machine with both has it in one place only.
    fn from_texts(groups: &str, mounts: &str) -> Option<Self> {
        let mut ones = None;
        let mut twos = None;
        for line in groups.lines() {
            // number:controllers:path
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.split(',').any(|name| name == "memory") {
                ones = Some(path);
            } else if number == "0" && controllers.is_empty() {
                twos = Some(path);
            }
        }
        let found = |version, path: Option<&str>| {
            let (root, point) = mount_of(mounts, version)?;
            let folders = folders_upwards(&root, &point, path?);
            Some(Self { version, folders })
        };
        found(Version::One, ones).or_else(|| {
            found(Version::Two, twos).filter(|group| {
                // The version 2 tree may be there without the memory controller. The root has no
                // limit files of its own, so any folder of the path may show them.
                group
                    .folders
                    .iter()
                    .any(|folder| folder.join("memory.current").exists())
            })
        })
    }

    /// Which interface it has.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The own group's folder.
    pub fn folder(&self) -> &Path {
        self.folders
            .first()
            .map_or(Path::new("/"), PathBuf::as_path)
    }

    /// Reads every level now, the own group first. Levels without a memory interface (the root of
    /// version 2) are left out.
    pub fn levels(&self) -> Vec<Level> {
        self.folders
            .iter()
            .filter_map(|folder| self.level(folder))
            .collect()
    }

    fn level(&self, folder: &Path) -> Option<Level> {
        let number = |name: &str| read_number(folder.join(name)).ok();
        let statistics = read_file(folder.join("memory.stat")).unwrap_or_default();
        let count = |name: &str| {
            statistics
                .lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .strip_prefix(' ')?
                        .trim()
                        .parse()
                        .ok()
                })
                .unwrap_or(0_u64)
        };
        let limited = |bytes: Option<u64>| bytes.filter(|&bytes| bytes < NO_LIMIT);
        Some(match self.version {
            Version::One => Level {
                limit_bytes: limited(number("memory.limit_in_bytes")),
                high_bytes: None,
                usage_bytes: number("memory.usage_in_bytes")?,
                file_cache_bytes: count("total_inactive_file") + count("total_active_file"),
                anonymous_bytes: count("total_rss"),
                folder: folder.to_owned(),
            },
            Version::Two => Level {
                // "max" is no number, and no limit.
                limit_bytes: limited(number("memory.max")),
                high_bytes: limited(number("memory.high")),
                usage_bytes: number("memory.current")?,
                file_cache_bytes: count("inactive_file") + count("active_file"),
                anonymous_bytes: count("anon"),
                folder: folder.to_owned(),
            },
        })
    }

    /// The tightest limit on the path; `None` when there is none.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.levels()
            .iter()
            .filter_map(|level| level.limit_bytes)
            .min()
    }

    /// The least headroom on the path (page cache counted as used); `None` without a limit.
    pub fn headroom_bytes(&self) -> Option<u64> {
        self.levels().iter().filter_map(Level::headroom_bytes).min()
    }

    /// The least room on the path when page cache is dropped; `None` without a limit.
    pub fn available_bytes(&self) -> Option<u64> {
        self.levels()
            .iter()
            .filter_map(Level::available_bytes)
            .min()
    }
}

/// Root and mount point of the memory controller's file system.
fn mount_of(mounts: &str, version: Version) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        // id parent major:minor root point options [optional…] - type source super-options
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, _source, options) = (right.next()?, right.next()?, right.next()?);
        let wanted = match version {
            Version::One => kind == "cgroup" && options.split(',').any(|o| o == "memory"),
            Version::Two => kind == "cgroup2",
        };
        wanted.then(|| (unescaped(root), unescaped(point)))
    })
}

/// Blanks stand as `\040` in mountinfo.
fn unescaped(text: &str) -> PathBuf {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        result.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                result.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                result.push('\\');
                rest = after;
            }
        }
    }
    result.push_str(rest);
    PathBuf::from(result)
}

/// The folder of `path` under the mount and all above it, up to the mount point.
fn folders_upwards(root: &Path, point: &Path, path: &str) -> Vec<PathBuf> {
    // A path outside of what is mounted (another namespace's) shows the mount's root only.
    let inside = Path::new(path)
        .strip_prefix(root)
        .or_else(|_| Path::new(path).strip_prefix("/"))
        .unwrap_or(Path::new(""));
    let climbs = inside
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    let mut folder = if climbs {
        point.to_owned()
    } else {
        point.join(inside)
    };
    if !folder.is_dir() {
        point.clone_into(&mut folder);
    }
    let mut folders = vec![folder.clone()];
    while folder != point && folder.pop() && folder.starts_with(point) {
        folders.push(folder.clone());
    }
    folders
}

#[cfg(test)]
mod tests;
