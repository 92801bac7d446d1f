//! Named sections between unrelated processes: found, shared, kept by whoever lives, gone with the last, and nobody else's.
//!
//! Source: windows-memory-behaviour.md 13.1, 13.3.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches a view by address, to see another process's commit by a fault"
)]

mod section_support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use pagekeeper::{
    AllocationKind, ByteCount, EngineError, Opened, Protection, Refusal, RegionState, Section,
    Space, View,
};
use pagekeeper_sys::announce::Announcement;
use section_support::{GRANULE, PAGE, byte, cause, file, in_file, refusal, space};

const ROLE: &str = "PAGEKEEPER_SECTION_ROLE";
const NAME: &str = "PAGEKEEPER_SECTION_NAME";
const SIZE: ByteCount = ByteCount::kib(256);

/// A name that no other test and no other run has.
fn name(what: &str) -> String {
    format!("Local\\test-{}-{what}", std::process::id())
}

/// Another process: this test program again, doing `role`. Answers with lines that begin with `=`.
struct Other {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("a path")
}

impl Other {
    fn start(role: &str, name: &str) -> Self {
        Self::spawn(Self::command(this_program(), role, name))
    }

    fn command(program: PathBuf, role: &str, name: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args([
                "other_process",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, role)
            .env(NAME, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the test program starts");
        let lines = BufReader::new(child.stdout.take().expect("output"));
        Self { child, lines }
    }

    /// Its next answer.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.lines.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended without an answer");
            // The test program's own words may stand in front.
            if let Some((_, answer)) = line.split_once('=') {
                return answer.trim().to_owned();
            }
        }
    }

    fn tell(&mut self, word: &str) {
        let input = self.child.stdin.as_mut().expect("input");
        writeln!(input, "{word}").expect("it listens");
    }

    /// SIGKILL: nothing is tidied up.
    fn kill(mut self) {
        self.child.kill().expect("alive");
        self.child.wait().expect("ended");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(answer: &str) {
    println!("={answer}");
    std::io::stdout().flush().expect("somebody listens");
}

fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("text");
    line.trim().to_owned()
}

/// Not a test: what [`Other`] runs.
#[test]
fn other_process() {
    let (Ok(role), Ok(name)) = (std::env::var(ROLE), std::env::var(NAME)) else {
        return;
    };
    let space = space();
    match role.as_str() {
        "open" => match Section::open(&space, &name) {
            Ok(section) => {
                let view = section.view().build().unwrap();
                view.write_at(1, &[byte(&view, 0) + 1]).unwrap();
                say("found");
            }
            Err(error) => say(&error.to_string()),
        },
        "hold" => {
            let (section, opened) = Section::named(&space, &name, SIZE).build_or_open().unwrap();
            let view = section.view().build().unwrap();
            say(&format!("{opened:?}"));
            while let word @ ("write" | "commit") = listen().as_str() {
                match word {
                    "write" => view.write_at(5000, b"from the other").unwrap(),
                    _ => view.commit(2 * PAGE, PAGE, Protection::READ_WRITE).unwrap(),
                }
                say("done");
            }
        }
        "count" => {
            let (section, opened) = Section::named(&space, &name, SIZE).build_or_open().unwrap();
            let view = section.view().build().unwrap();
            let counters = view.atomics::<AtomicU64>().unwrap();
            for turn in 0..20_000 {
                counters[turn % 4096].fetch_add(1, Ordering::Relaxed);
            }
            say(&format!("{opened:?}"));
            // Its handle keeps the name until it is killed.
            listen();
        }
        "commit" => {
            let section = Section::open(&space, &name).unwrap();
            let view = section.view().build().unwrap();
            view.commit(2 * PAGE, PAGE, Protection::READ_WRITE).unwrap();
            view.write_at(2 * PAGE, &[42]).unwrap();
            say("done");
            listen();
        }
        "file" => {
            let section = Section::open(&space, &name).unwrap();
            let view = section.view().build().unwrap();
            if section.protection() == Protection::READ_WRITE {
                view.write_at(PAGE, b"by the other").unwrap();
            }
            let facts = (section.kind(), section.size(), byte(&view, 0));
            say(&format!("{facts:?}"));
            listen();
        }
        other => panic!("{other}?"),
    }
}

fn create(space: &Space, name: &str) -> (Section, View, Opened) {
    let (section, opened) = Section::named(space, name, SIZE).build_or_open().unwrap();
    let view = section.view().build().unwrap();
    (section, view, opened)
}

#[test]
fn another_process_finds_a_section_by_its_name() {
    let space = space();
    let name = name("found");
    let (section, view, opened) = create(&space, &name);
    assert_eq!(
        (opened, section.name()),
        (Opened::Created, Some(name.as_str()))
    );
    view.write_at(0, &[6]).unwrap();
    assert_eq!(Other::start("open", &name).answer(), "found");
    assert_eq!(byte(&view, 1), 7);
}

#[test]
fn whoever_lives_keeps_a_section_and_nothing_of_it_outlives_the_last() {
    let space = space();
    let name = name("killed");
    let mut first = Other::start("hold", &name);
    assert_eq!(first.answer(), "Created");
    first.tell("write");
    assert_eq!(first.answer(), "done");
    let (section, view, opened) = create(&space, &name);
    assert_eq!(opened, Opened::Existing);
    first.kill();
    let mut bytes = [0; 14];
    view.read_at(5000, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from the other");
    let mut second = Other::start("hold", &name);
    assert_eq!(second.answer(), "Existing");
    drop((section, view));
    let (section, view, opened) = create(&space, &name);
    assert_eq!((opened, byte(&view, 5000)), (Opened::Existing, b'f'));
    drop((section, view));
    second.kill();
    let gone = Section::open(&space, &name);
    assert_eq!(refusal(gone), Refusal::NoSuchName);
    let (_section, view, opened) = create(&space, &name);
    assert_eq!((opened, byte(&view, 5000)), (Opened::Created, 0));
}

#[test]
fn eight_processes_agree_on_who_made_it_and_lose_no_count() {
    let name = name("eight");
    let mut others: Vec<Other> = (0..8).map(|_| Other::start("count", &name)).collect();
    let made = others
        .iter_mut()
        .map(Other::answer)
        .filter(|answer| answer == "Created")
        .count();
    assert_eq!(made, 1);
    // Seven die in the middle of things; the eighth keeps it.
    let last = others.pop();
    others.into_iter().for_each(Other::kill);
    let space = space();
    let section = Section::open(&space, &name).unwrap();
    let view = section.view().build().unwrap();
    let counters = view.atomics::<AtomicU64>().unwrap();
    let sum: u64 = counters.iter().map(|it| it.load(Ordering::Relaxed)).sum();
    assert_eq!(sum, 8 * 20_000);
    drop(last);
}

#[test]
fn a_name_goes_with_the_last_handle_even_while_views_exist() {
    let space = space();
    let name = name("handles");
    let (section, view, _) = create(&space, &name);
    let second = Section::open(&space, &name).unwrap();
    view.write_at(0, &[5]).unwrap();
    drop(section);
    assert!(Section::open(&space, &name).is_ok(), "the second handle");
    let clone = second.clone();
    drop(second);
    assert!(Section::open(&space, &name).is_ok(), "its clone");
    drop(clone);
    assert_eq!(refusal(Section::open(&space, &name)), Refusal::NoSuchName);
    let (_section, fresh, opened) = create(&space, &name);
    assert_eq!((opened, byte(&fresh, 0)), (Opened::Created, 0), "unrelated");
    assert_eq!(byte(&view, 0), 5, "views stay");
}

#[test]
fn names_are_exact() {
    let space = space();
    let own = name("Exact");
    let (section, ..) = create(&space, &own);
    for other in [
        own.to_lowercase().replace("local", "Local"),
        own.replace("Local", "Global"),
    ] {
        assert_eq!(
            refusal(Section::open(&space, &other)),
            Refusal::NoSuchName,
            "{other}"
        );
    }
    let bare = own.trim_start_matches("Local\\");
    assert_eq!(Section::open(&space, bare).unwrap().name(), section.name());
    for bad in ["", "Session\\x", "Local\\a\\b"] {
        assert_eq!(refusal(Section::open(&space, bad)), Refusal::NameInvalid);
    }
    // An existing section keeps its size and its protection.
    let (again, opened) = Section::named(&space, &own, ByteCount::mib(1))
        .protection(Protection::READ_ONLY)
        .build_or_open()
        .unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(
        (again.size(), again.protection()),
        (SIZE.get(), Protection::READ_WRITE)
    );
}

#[test]
fn a_commit_in_another_process_is_seen_here_by_a_query_and_by_a_touch() {
    let space = space();
    let name = name("reserved");
    let section = Section::named(&space, &name, SIZE)
        .reserved()
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    let second = section.view().build().unwrap();
    assert_eq!(view.query(2 * PAGE).unwrap().state, RegionState::Reserved);
    let mut other = Other::start("commit", &name);
    assert_eq!(other.answer(), "done");
    // SAFETY: committed in the section by the other process: the fault finds that out.
    let touched = unsafe { view.base().add(2 * PAGE as usize).read_volatile() };
    assert_eq!(touched, 42);
    let region = second.query(2 * PAGE).unwrap();
    assert_eq!(region.state, RegionState::Committed(Protection::READ_WRITE));
    assert_eq!(region.range.count().get(), 1);
    assert_eq!(second.query(3 * PAGE).unwrap().state, RegionState::Reserved);
}

#[test]
fn announcements_that_lie_are_not_believed() {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let space = space();
    let name = name("liar");
    let (section, ..) = create(&space, &name);
    // What the true announcement looks like, without the thread and all behind it.
    let ours = announcement_of(section);
    let (prefix, _) = ours
        .match_indices('/')
        .nth(3)
        .map(|(at, _)| ours.split_at(at))
        .unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .unwrap();
    file.set_len(3 * GRANULE).unwrap();
    let (facts, number) = (file.metadata().unwrap(), file.as_raw_fd());
    let (device, inode) = (facts.dev(), facts.ino());
    let here = std::process::id();
    let lies = [
        format!("{prefix}/1/3/{device:x}.{inode:x}/0"),
        format!("{prefix}/4194303/3/0.0/0"),
        format!("{prefix}/{here}/{number}/{device:x}.{inode:x}/0"),
        format!("{prefix}/{here}/{number}/{device:x}.1/0"),
        format!("{prefix}/{here}/0/0.0/0"),
        format!("{prefix}/nonsense"),
    ];
    let bound: Vec<_> = lies
        .iter()
        .map(|lie| Announcement::bind(lie.as_bytes()).unwrap())
        .collect();
    assert_eq!(refusal(Section::open(&space, &name)), Refusal::NoSuchName);
    let (_section, _view, opened) = create(&space, &name);
    assert_eq!(opened, Opened::Created);
    drop(bound);
}

#[test]
fn a_named_section_of_a_file_is_found_by_other_processes_as_what_it_is() {
    let space = space();
    let mut own = file(3 * PAGE + 10);
    let name = name("of-file");
    let (section, opened) = Section::from_file(&space, &own)
        .protection(Protection::READ_WRITE)
        .size(3 * PAGE)
        .name(&name)
        .build_or_open()
        .unwrap();
    assert_eq!((opened, section.name()), (Opened::Created, Some(&*name)));
    let mut other = Other::start("file", &name);
    assert_eq!(other.answer(), format!("(FileView, {}, 1)", 3 * PAGE));
    assert_eq!(in_file(&mut own, PAGE), b'b', "written there");
    // The other one's handle keeps the name; whoever asks for it with another file gets the first one's.
    drop(section);
    let second = file(PAGE);
    let (again, opened) = Section::from_file(&space, &second)
        .name(&name)
        .build_or_open()
        .unwrap();
    assert_eq!((opened, again.size()), (Opened::Existing, 3 * PAGE));
    assert_eq!(again.protection(), Protection::READ_WRITE);
    assert_eq!(byte(&again.view().build().unwrap(), PAGE), b'b');
    let (memory, _, opened) = create(&space, &name);
    assert_eq!(
        (opened, memory.kind()),
        (Opened::Existing, AllocationKind::FileView)
    );
    drop((again, memory));
    other.kill();
    assert_eq!(refusal(Section::open(&space, &name)), Refusal::NoSuchName);
    let image = Section::image(&space, &second).name(&name).build().unwrap();
    let answer = Other::start("file", &name).answer();
    assert_eq!(answer, format!("(ImageView, {PAGE}, 1)"));
    drop(image);
}

#[test]
fn what_is_announced_and_cannot_be_seen_is_no_free_name() {
    let space = space();
    let name = name("unseen");
    let (section, ..) = create(&space, &name);
    let ours = announcement_of(section);
    let (prefix, _) = ours
        .match_indices('/')
        .nth(3)
        .map(|(at, _)| ours.split_at(at))
        .unwrap();
    // As a process of this user in a container of its own would.
    let elsewhere = format!("{prefix}/4194303/3/0.0/0");
    let bound = Announcement::bind_with_owner(elsewhere.as_bytes()).unwrap();
    let EngineError::Names(why) = cause(Section::open(&space, &name)) else {
        panic!("found what nobody can see");
    };
    assert!(why.contains("not to be seen"), "{why}");
    cause(Section::named(&space, &name, SIZE).build());
    drop(bound);
    assert_eq!(create(&space, &name).2, Opened::Created);
}

/// What a section of this process is announced as. Gives the section up.
fn announcement_of(section: Section) -> String {
    let all = pagekeeper_sys::announce::names("pagekeeper/s1/").unwrap();
    drop(section);
    let left = pagekeeper_sys::announce::names("pagekeeper/s1/").unwrap();
    let is_of_thread_here = |it: &String| {
        let thread = it.split('/').nth(4).unwrap();
        std::path::Path::new("/proc/self/task")
            .join(thread)
            .exists()
    };
    let mut gone = all.into_iter().filter(|it| !left.contains(it));
    gone.find(is_of_thread_here).unwrap()
}

#[test]
fn another_user_does_not_get_in() {
    if pagekeeper_sys::prctl::user() != 0 {
        println!("skipped, because only root can become another user");
        return;
    }
    let space = space();
    let name = name("foreign");
    let (_section, view, _) = create(&space, &name);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(this_program(), &program).unwrap();
    let mut command = Other::command(program, "open", &name);
    command
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .uid(65534)
        .gid(65534);
    let answer = Other::spawn(command).answer();
    assert!(answer.contains("no section of that name"), "{answer}");
    assert_eq!(byte(&view, 1), 0);
}
