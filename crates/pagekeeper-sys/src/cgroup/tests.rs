//! Made-up trees of both versions, and a real group where this may be done.

use std::fs;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pk-cgroup-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn version_two_takes_the_tightest_limit_of_the_path() {
    let folder = Folder::new("two");
    folder.put("a/memory.max", "1000000\n");
    folder.put("a/memory.high", "max\n");
    folder.put("a/memory.current", "900000\n");
    folder.put(
        "a/memory.stat",
        "anon 5\nfile 99\nactive_file 100000\ninactive_file 200000\n",
    );
    folder.put("a/b/memory.max", "max\n");
    folder.put("a/b/memory.current", "400000\n");
    folder.put("a/b/c/memory.max", "2000000\n");
    folder.put("a/b/c/memory.current", "100000\n");
    let point = folder.0.display();
    let mounts = format!("30 23 0:26 / {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
    let group = MemoryGroup::from_texts("0::/a/b/c\n", &mounts).unwrap();
    assert_eq!(group.version(), Version::Two);
    assert_eq!(group.folder(), folder.0.join("a/b/c"));
    assert_eq!(group.levels().len(), 3, "the root has no files of its own");
    assert_eq!(group.limit_bytes(), Some(1_000_000));
    assert_eq!(group.headroom_bytes(), Some(100_000));
    assert_eq!(group.available_bytes(), Some(400_000));
    assert_eq!(group.levels()[2].anonymous_bytes, 5);
}

#[test]
fn version_one_knows_its_own_infinity() {
    let folder = Folder::new("one");
    folder.put("memory.limit_in_bytes", "9223372036854771712\n");
    folder.put("memory.usage_in_bytes", "5\n");
    folder.put("x/memory.limit_in_bytes", "4096\n");
    folder.put("x/memory.usage_in_bytes", "8192\n");
    folder.put(
        "x/memory.stat",
        "total_rss 7\ntotal_inactive_file 4096\ntotal_active_file 0\n",
    );
    let point = folder.0.display();
    let mounts = format!(
        "1 2 0:3 / /elsewhere rw - cgroup cgroup rw,cpu\n4 2 0:4 / {point} rw - cgroup cgroup rw,memory\n"
    );
    let groups = "5:cpu:/\n4:memory,hugetlb:/x\n0::/unified\n";
    let group = MemoryGroup::from_texts(groups, &mounts).unwrap();
    assert_eq!(group.version(), Version::One);
    assert_eq!(group.limit_bytes(), Some(4096));
    assert_eq!(
        group.headroom_bytes(),
        Some(0),
        "over the limit is no negative room"
    );
    assert_eq!(group.available_bytes(), Some(0));
    assert_eq!(group.levels()[1].limit_bytes, None);
}

#[test]
fn a_container_sees_its_own_subtree() {
    let folder = Folder::new("container");
    folder.put("memory.max", "77\n");
    folder.put("memory.current", "7\n");
    let point = folder.0.display();
    // The mount shows /docker/abc as its root, the process says where it is from outside.
    let mounts = format!("4 2 0:4 /docker/abc {point} rw - cgroup2 cgroup rw\n");
    for path in ["/docker/abc", "/docker/abc/gone", "/", "/../other"] {
        let group = MemoryGroup::from_texts(&format!("0::{path}\n"), &mounts).unwrap();
        assert_eq!(group.limit_bytes(), Some(77), "{path}");
        assert_eq!(group.folder(), folder.0, "{path}");
    }
}

#[test]
fn without_a_memory_controller_there_is_no_group() {
    let folder = Folder::new("none");
    let point = folder.0.display();
    let mounts = format!("4 2 0:4 / {point} rw - cgroup2 cgroup rw\n");
    assert_eq!(MemoryGroup::from_texts("0::/\n", &mounts), None);
    assert_eq!(MemoryGroup::from_texts("0::/\n", ""), None);
    assert_eq!(MemoryGroup::from_texts("nonsense\n", &mounts), None);
}

#[test]
fn blanks_in_mount_points_are_unescaped() {
    assert_eq!(unescaped(r"/a\040b\134c\x"), PathBuf::from(r"/a b\c\x"));
}

#[test]
fn the_own_group_can_be_read_or_is_not_there() {
    if let Some(group) = MemoryGroup::own() {
        let levels = group.levels();
        assert!(!levels.is_empty() || group.version() == Version::Two);
        assert!(levels.iter().all(|level| level.usage_bytes > 0));
    }
}

/// A real group with a real limit, a real process in it.
#[test]
fn a_real_limit_is_found() {
    let Some(own) = MemoryGroup::own() else {
        return println!("skipped, because no memory controller is mounted");
    };
    let folder = own.folder().join(format!("pk-test-{}", std::process::id()));
    if let Err(error) = fs::create_dir(&folder) {
        return println!("skipped, because a group cannot be made: {error}");
    }
    let file = match own.version() {
        Version::One => "memory.limit_in_bytes",
        Version::Two => "memory.max",
    };
    let limit = 64 << 20;
    let mut child = std::process::Command::new("sleep")
        .arg("20")
        .spawn()
        .unwrap();
    let set = fs::write(folder.join(file), format!("{limit}\n"))
        .and_then(|()| fs::write(folder.join("cgroup.procs"), child.id().to_string()));
    let found =
        MemoryGroup::of(child.id()).map(|group| (group.folder().to_owned(), group.limit_bytes()));
    child.kill().unwrap();
    child.wait().unwrap();
    // The group empties a moment after its last process is gone.
    for _ in 0..100 {
        if fs::remove_dir(&folder).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    match set {
        Ok(()) => assert_eq!(found, Some((folder, Some(limit)))),
        Err(error) => println!("skipped, because the group cannot be set up: {error}"),
    }
}

#[test]
fn a_group_is_known_by_its_folder_and_counts_kills() {
    let folder = Folder::new("named");
    assert_eq!(MemoryGroup::in_folder(&folder.0), None);
    folder.put("memory.limit_in_bytes", "8192\n");
    folder.put("memory.usage_in_bytes", "4096\n");
    folder.put(
        "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    );
    let group = MemoryGroup::in_folder(&folder.0).unwrap();
    assert_eq!(
        (group.version(), group.limit_bytes(), group.kills()),
        (Version::One, Some(8192), Some(3))
    );
    folder.put("memory.max", "4096\n");
    folder.put("memory.current", "5\n");
    folder.put(
        "memory.events",
        "low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 9\n",
    );
    let group = MemoryGroup::in_folder(&folder.0).unwrap();
    assert_eq!(
        (group.version(), group.limit_bytes(), group.kills()),
        (Version::Two, Some(4096), Some(2))
    );
    folder.put("memory.events", "nothing\n");
    assert_eq!(group.kills(), None);
}
