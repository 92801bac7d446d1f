//! Where the page file goes: is there room, is it a disk, can it be made.

use std::path::{Path, PathBuf};

use pagekeeper_sys::file::{
    AllocateHow, DirectIo, FileSystemKind, allocate, create, file_system, probe_direct,
};
use pagekeeper_sys::rlimit;

use super::{Finding, Verdict};
use crate::terminal::size;

/// Room that is tried out.
const TRIAL_BYTES: u64 = 1 << 20;
/// Less free space than this is worth a word.
const LITTLE_BYTES: u64 = 4 << 30;

pub(super) fn look() -> Vec<Finding> {
    match places() {
        None => vec![Finding::bad(
            Verdict::Warning,
            "page file",
            "none (PAGEKEEPER_PAGE_FILE=none)",
            "what RAM cannot hold is refused at commit",
            "unset PAGEKEEPER_PAGE_FILE, or set it to a folder on a disk",
        )],
        Some(places) => places.iter().flat_map(|place| look_at(place)).collect(),
    }
}

/// The places that the variables mean, as the library reads them; `None` for no page file.
pub(super) fn places() -> Option<Vec<PathBuf>> {
    if let Some(list) = std::env::var_os("PAGEKEEPER_PAGE_FILE") {
        let none = list.eq_ignore_ascii_case("none");
        return (!none).then(|| std::env::split_paths(&list).collect());
    }
    let on_disk = |path: &PathBuf| {
        path.is_dir() && file_system(path).is_ok_and(|found| found.kind != FileSystemKind::Ram)
    };
    let temporary = std::env::var_os("TMPDIR")
        .map(PathBuf::from)
        .filter(on_disk);
    Some(vec![temporary.unwrap_or_else(|| PathBuf::from("/var/tmp"))])
}

fn look_at(place: &Path) -> Vec<Finding> {
    let name = place.display().to_string();
    let missing = |found: String| {
        vec![Finding::bad(
            Verdict::Missing,
            &name,
            found,
            "nothing can be paged out",
            "set PAGEKEEPER_PAGE_FILE to a folder on a disk that you may write to",
        )]
    };
    let file = match create(place) {
        Ok(created) => created.file,
        Err(error) => return missing(error.to_string()),
    };
    let found = match pagekeeper_sys::file::file_system_of(&file) {
        Ok(found) if found.kind == FileSystemKind::Ram => {
            return missing(
                "lies on a RAM file system, where paged-out memory stays in RAM".to_owned(),
            );
        }
        Ok(found) => found,
        Err(errno) => return missing(format!("cannot be asked for its file system: {errno}")),
    };
    let allocated = allocate(&file, 0, TRIAL_BYTES, TRIAL_BYTES, AllocateHow::Best);
    if let Some(errno) = allocated.error {
        return missing(format!("no room for {}: {errno}", size(TRIAL_BYTES)));
    }
    vec![
        free_space(&name, found.free_bytes),
        file_system_kind(found.kind, found.magic),
        direct(&file),
    ]
}

fn free_space(name: &str, free: u64) -> Finding {
    let usual = (free / 2).min(64 << 30).min(rlimit::file_size_bytes());
    let found = format!(
        "{} free; a page file there grows up to {}",
        size(free),
        size(usual)
    );
    if free >= LITTLE_BYTES {
        return Finding::ok(name, found);
    }
    Finding::bad(
        Verdict::Warning,
        name,
        found,
        "commits beyond that are refused",
        "free some space, or set PAGEKEEPER_PAGE_FILE to another disk",
    )
}

fn file_system_kind(kind: FileSystemKind, magic: u64) -> Finding {
    const NAMES: [(u64, &str); 7] = [
        (0xEF53, "ext4"),
        (0x5846_5342, "XFS"),
        (0x9123_683E, "btrfs"),
        (0x794C_7630, "overlayfs"),
        (0xF2F5_2010, "F2FS"),
        (0x2FC1_2FC1, "ZFS"),
        (0xCA45_1A4E, "bcachefs"),
    ];
    let known = NAMES
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name);
    let name = known.map_or_else(|| format!("type {magic:#x}"), str::to_owned);
    match kind {
        FileSystemKind::Remote => Finding::bad(
            Verdict::Warning,
            "file system",
            format!("{name}, over a network or in user space"),
            "slow faults; in-page errors when the other side goes away",
            "set PAGEKEEPER_PAGE_FILE to a folder on a local disk",
        ),
        _ => Finding::ok("file system", name),
    }
}

fn direct(file: &std::os::fd::OwnedFd) -> Finding {
    match probe_direct(file, 0) {
        DirectIo::Works => Finding::ok("direct I/O", "works"),
        DirectIo::Refused(errno) => Finding::bad(
            Verdict::Note,
            "direct I/O",
            format!("no: {errno}"),
            "page-file transfers pass through the page cache",
            "put the page file on ext4, XFS or btrfs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_place_is_good_and_nothing_is_left() {
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let findings = look_at(folder.path());
        assert_eq!(findings.len(), 3);
        assert!(
            findings
                .iter()
                .all(|finding| finding.verdict != Verdict::Missing)
        );
        assert_eq!(std::fs::read_dir(folder.path()).expect("read").count(), 0);
    }

    #[test]
    fn bad_places_are_missing() {
        for place in ["/no/such/folder", "/dev/null", "/proc"] {
            let findings = look_at(Path::new(place));
            assert_eq!(findings[0].verdict, Verdict::Missing, "{place}");
            assert!(findings[0].remedy.is_some());
        }
    }

    #[test]
    fn little_room_and_slow_places_are_told() {
        assert_eq!(free_space("x", 1 << 30).verdict, Verdict::Warning);
        assert_eq!(free_space("x", 1 << 40).verdict, Verdict::Ok);
        assert_eq!(
            file_system_kind(FileSystemKind::Remote, 0x6969).verdict,
            Verdict::Warning
        );
        assert_eq!(file_system_kind(FileSystemKind::Disk, 0xEF53).found, "ext4");
    }
}
