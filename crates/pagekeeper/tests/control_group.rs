//! A memory control group around the process: the kernel kills nobody, and the budget follows its limit.
//!
//! With a real group as root; the same rule for anyone with a folder that looks like a group
//! (`Settings::control_group`).

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pagekeeper::{ByteCount, EngineKind, Protection, Reservation, Space, SpaceStatus};
use pagekeeper_sys::cgroup::{MemoryGroup, Version};
use support::{check_page, inline_works, is_child, next, seed, words, write_page};

const MIB: u64 = 1 << 20;
/// What a limit leaves beside the budget: the slack, and 64 MiB for the rest of the process.
const ROOM: u64 = 96 * MIB;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("pagekeeper-group-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn put(&self, name: &str, text: &str) {
        // Whole or not at all: somebody reads it at any time.
        let aside = self.0.join(format!("{name}.new"));
        fs::write(&aside, text).expect("a file");
        fs::rename(&aside, self.0.join(name)).expect("a name");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A real group with a limit, below that of this process; removed when dropped.
struct Group {
    folder: PathBuf,
    group: MemoryGroup,
    file: PathBuf,
}

impl Group {
    fn with_limit(name: &str, bytes: u64) -> Result<Self, String> {
        let own = MemoryGroup::own().ok_or("no memory control group can be seen")?;
        let text = |error: std::io::Error| error.to_string();
        let parent = match own.version() {
            Version::One => own.folder(),
            // A group with processes has no children there.
            Version::Two => own.folder().parent().unwrap_or(own.folder()),
        };
        let folder = parent.join(format!("pagekeeper-{name}-{}", std::process::id()));
        fs::create_dir(&folder).map_err(text)?;
        let file = folder.join(match own.version() {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        });
        let made = fs::write(&file, bytes.to_string()).map_err(text);
        let group = MemoryGroup::in_folder(&folder).ok_or("it has no limit".to_owned());
        match made.and(group) {
            Ok(group) => Ok(Self {
                folder,
                group,
                file,
            }),
            Err(reason) => {
                let _ = fs::remove_dir(&folder);
                Err(reason)
            }
        }
    }

    /// A lower limit. Version 1 refuses while more than that is used, so it is asked again for a while.
    fn lower(&self, bytes: u64) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = fs::write(&self.file, bytes.to_string()) {
            assert!(Instant::now() < deadline, "{bytes}: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kills(&self) -> u64 {
        self.group.kills().expect("the kernel counts kills")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has ended stays in it for a moment.
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} could not be removed", self.folder.display());
    }
}

/// Starts `test` of this program again, in the group if there is one.
fn start(test: &str, engine: EngineKind, folder: &Folder, group: Option<&Group>) -> Child {
    let program = std::env::current_exe().expect("a path");
    let mut command = Command::new(program);
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("PAGEKEEPER_CHILD", engine.name())
        .env("TEST_FOLDER", &folder.0)
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    if let Some(group) = group {
        command.env("TEST_GROUP", &group.folder);
    }
    command.spawn().expect("the test program starts")
}

/// In the child: goes where the parent wants it, before memory is used.
fn join_group() {
    if let Some(folder) = std::env::var_os("TEST_GROUP") {
        fs::write(Path::new(&folder).join("cgroup.procs"), "0").expect("to join the group");
    }
}

fn engine_of_child() -> EngineKind {
    let name = std::env::var("PAGEKEEPER_CHILD").expect("an engine");
    name.parse().expect("its name")
}

fn on_both_engines(test: impl Fn(EngineKind)) {
    test(EngineKind::Mapped);
    if inline_works() {
        test(EngineKind::Inline);
    }
}

/// A real group, or why not.
fn group_or_why_not(name: &str, bytes: u64) -> Option<Group> {
    match Group::with_limit(name, bytes) {
        Ok(group) => Some(group),
        Err(reason) => {
            println!("skipped, because no memory control group can be made: {reason}");
            None
        }
    }
}

fn write_random(reservation: &Reservation, page: u64, salt: u64) {
    let mut state = page.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt | 1;
    for word in words(reservation, page as usize) {
        *word = next(&mut state);
    }
}

fn check_random(reservation: &Reservation, page: u64, salt: u64) {
    let mut state = page.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt | 1;
    for word in words(reservation, page as usize) {
        assert_eq!(*word, next(&mut state), "page {page}");
    }
}

const BUDGET: u64 = 64 * MIB;

/// Commits to the limit, fills everything with random bytes, verifies, asks for one page more.
fn commit_to_the_limit() {
    join_group();
    let space = Space::builder()
        .ram(ByteCount::new(BUDGET))
        .engine(engine_of_child())
        .page_file_maximum(ByteCount::mib(192))
        .build()
        .expect("a space");
    assert_eq!(
        space.status().budget.get(),
        BUDGET,
        "the group leaves as much"
    );
    let reservation = space.reserve(ByteCount::gib(1)).build().expect("room");
    let salt = seed();
    let (mut end, mut step) = (0, MIB);
    while step >= 4096 {
        match reservation.commit(end..end + step, Protection::READ_WRITE) {
            Ok(()) => end += step,
            Err(_) => step /= 2,
        }
    }
    assert!(end >= 192 * MIB, "only {end} bytes");
    for page in 0..end / 4096 {
        write_random(&reservation, page, salt);
    }
    for page in 0..end / 4096 {
        check_random(&reservation, page, salt);
    }
    let refused = reservation.commit(end..end + 4096, Protection::READ_WRITE);
    let refused = refused.expect_err("the limit is reached");
    println!("{} MiB committed and verified, then: {refused}", end / MIB);
}

#[test]
fn commit_to_the_limit_in_a_group_of_budget_slack_and_64_mib() {
    const TEST: &str = "commit_to_the_limit_in_a_group_of_budget_slack_and_64_mib";
    if is_child() {
        return commit_to_the_limit();
    }
    on_both_engines(|engine| {
        let Some(group) = group_or_why_not("limit", BUDGET + ROOM) else {
            return;
        };
        let folder = Folder::new("limit");
        let ended = start(TEST, engine, &folder, Some(&group)).wait();
        let ended = ended.expect("a child");
        assert_eq!(group.kills(), 0, "{engine}: killed by the kernel");
        assert!(ended.success(), "{engine}: {ended}");
    });
}

/// The same without a group, for anyone.
#[test]
fn commit_to_the_limit_for_anyone() {
    const TEST: &str = "commit_to_the_limit_for_anyone";
    if is_child() {
        return commit_to_the_limit();
    }
    on_both_engines(|engine| {
        let folder = Folder::new("anyone");
        let ended = start(TEST, engine, &folder, None).wait().expect("a child");
        assert!(ended.success(), "{engine}: {ended}");
    });
}

/// Rewrites random pages of 192 MiB and tells its budget, until it is told to stop; then verifies all.
fn work_until_stopped() {
    join_group();
    let folder = Folder(PathBuf::from(std::env::var_os("TEST_FOLDER").expect("set")));
    let space = Space::builder()
        .ram(ByteCount::mib(128))
        .engine(engine_of_child())
        .page_file_maximum(ByteCount::mib(512))
        .build()
        .expect("a space");
    let pages = 192 * MIB / 4096;
    let reservation = support::committed(&space, ByteCount::mib(192));
    let mut state = seed();
    let mut salts = vec![1; pages as usize];
    for page in 0..pages {
        write_random(&reservation, page, 1);
    }
    let mut told = Instant::now();
    while !folder.0.join("stop").exists() {
        let page = next(&mut state) % pages;
        let salt = &mut salts[page as usize];
        check_random(&reservation, page, *salt);
        *salt += 1;
        write_random(&reservation, page, *salt);
        if told.elapsed() > Duration::from_millis(50) {
            told = Instant::now();
            folder.put("budget", &space.status().budget.get().to_string());
        }
    }
    for (page, &salt) in salts.iter().enumerate() {
        check_random(&reservation, page as u64, salt);
    }
    println!("{} MiB verified", 192);
    // The parent removes it.
    std::mem::forget(folder);
}

/// The budget that the child tells of.
fn budget_told(folder: &Folder) -> Option<u64> {
    let text = fs::read_to_string(folder.0.join("budget")).ok()?;
    text.parse().ok()
}

fn wait_for_budget(child: &mut Child, folder: &Folder, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    while budget_told(folder) != Some(wanted) {
        if let Ok(Some(ended)) = child.try_wait() {
            panic!("the child ended early: {ended}");
        }
        let told = budget_told(folder);
        assert!(Instant::now() < deadline, "{told:?} instead of {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_budget_follows_a_limit_that_is_lowered_while_running() {
    const TEST: &str = "the_budget_follows_a_limit_that_is_lowered_while_running";
    if is_child() {
        return work_until_stopped();
    }
    on_both_engines(|engine| {
        let Some(group) = group_or_why_not("lowered", 128 * MIB + ROOM) else {
            return;
        };
        let folder = Folder::new("lowered");
        let mut child = start(TEST, engine, &folder, Some(&group));
        wait_for_budget(&mut child, &folder, 128 * MIB);
        for budget in [96, 64, 32] {
            group.lower(budget * MIB + ROOM);
            wait_for_budget(&mut child, &folder, budget * MIB);
        }
        folder.put("stop", "");
        let ended = child.wait().expect("a child");
        assert_eq!(group.kills(), 0, "{engine}: killed by the kernel");
        assert!(ended.success(), "{engine}: {ended}");
    });
}

/// Waits until `holds` says so.
fn wait_until(space: &Space, what: &str, holds: impl Fn(&SpaceStatus) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(&space.status()) {
        let status = space.status();
        assert!(Instant::now() < deadline, "{what}: {status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The rule for anyone: the limit is read from a folder of ours.
#[test]
fn the_budget_follows_the_limit_in_a_made_up_group() {
    on_both_engines(|engine| {
        // Version 2 with the one, version 1 with the other: both have one reader.
        let (limit, usage, none) = match engine {
            EngineKind::Mapped => ("memory.max", "memory.current", "max"),
            _ => (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "9223372036854771712",
            ),
        };
        let folder = Folder::new(&format!("made-up-{engine}-{limit}"));
        folder.put(usage, "0");
        folder.put(limit, &(48 * MIB + ROOM).to_string());
        let space = Space::builder()
            .ram(ByteCount::mib(64))
            .engine(engine)
            .control_group(&folder.0)
            .page_file_maximum(ByteCount::mib(512))
            .build()
            .expect("a space");
        let budget = || space.status().budget.get();
        assert_eq!(budget(), 48 * MIB, "from the start");
        let reservation = support::committed(&space, ByteCount::mib(96));
        for page in 0..96 * 256 {
            write_page(&reservation, page, 3);
        }
        folder.put(limit, none);
        wait_until(&space, "no limit", |status| status.budget.get() == 64 * MIB);
        folder.put(limit, &(16 * MIB + ROOM).to_string());
        wait_until(&space, "lowered", |status| status.budget.get() == 16 * MIB);
        wait_until(&space, "pages leave", |status| {
            status.total.resident.bytes().get() <= (16 + 16) * MIB
        });
        // Less than the engine works with: its minimum, not a refusal that leaves everything as it is.
        folder.put(limit, "4096");
        wait_until(&space, "the minimum", |status| {
            status.budget.get() <= 4 * MIB
        });
        folder.put(limit, &(4096 * MIB).to_string());
        wait_until(&space, "raised", |status| status.budget.get() == 64 * MIB);
        for page in 0..96 * 256 {
            check_page(&reservation, page, 3);
        }
    });
}
