//! Looking at another process: its figures against the kernel's, its pages wherever they are, and what happens when it is stopped,
//! forks, ends, or belongs to somebody else.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pagekeeper::monitor::{
    MonitorError, Observer, Processes, Region, RegionKind, RegionUse, Snapshot, Source,
};
use pagekeeper::{ByteCount, EngineKind, PageNumber, PageRange, Protection, Reservation};
use pagekeeper_sys::pagemap::{Entries, Entry};
use support::{PAGE, child_engine, committed, inline_works, next, space, words, write_page};

/// RAM budget of the target, and what it commits: four times as much.
const RAM: ByteCount = ByteCount::mib(64);
const DATA: ByteCount = ByteCount::mib(256);

/// A reservation whose pages are committed by turns when it is asked for.
const HOLES: ByteCount = ByteCount::mib(64);

/// A process that uses Pagekeeper: commits, writes all of it, and then touches it at random whenever it is told to.
struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    base: u64,
}

impl Target {
    fn start(engine: EngineKind) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_target", "--exact", "--nocapture", "--test-threads=1"])
            .env("PAGEKEEPER_CHILD", engine.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut target = Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            base: 0,
        };
        target.base = target.answer("ready");
        target
    }

    /// Gives a command and waits until it is done.
    fn tell(&mut self, command: &str) -> u64 {
        writeln!(self.input, "{command}").unwrap();
        self.answer("done")
    }

    /// The number behind a word of the target's output.
    fn answer(&mut self, word: &str) -> u64 {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, number)) = line.split_once(&format!("{word} ")) {
                return number.trim().parse().unwrap();
            }
            line.clear();
        }
        panic!("the target ended");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([signal, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// The kernel's count of the data's resident pages, page by page.
    fn kernel_resident(&self) -> u64 {
        let entries = Entries::open_of(self.pid()).unwrap();
        let start = PageNumber::containing(self.base);
        let data = PageRange::new(start, DATA.pages());
        let mut words = vec![Entry::default(); data.count().as_usize()];
        assert_eq!(entries.read(data, &mut words).unwrap(), words.len());
        words.iter().filter(|word| word.is_present()).count() as u64
    }

    /// Waits until nothing leaves or comes by itself any more.
    fn settle(&self) {
        let mut before = self.kernel_resident();
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = self.kernel_resident();
            if now == before {
                return;
            }
            before = now;
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: the process that the others look at.
#[test]
fn the_target() {
    let Some(engine) = child_engine() else {
        return;
    };
    let space = space(engine, RAM);
    let data = committed(&space, DATA);
    let pages = data.pages().count().as_usize();
    for page in 0..pages {
        write_page(&data, page, 7);
    }
    let holes = space.reserve(HOLES).build().unwrap();
    println!("ready {}", data.base() as u64);
    let mut state = 88_172_645_463_325_252;
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            send.send(line).unwrap();
        }
        std::process::exit(0);
    });
    let mut is_busy = false;
    loop {
        match receive.try_recv().as_deref() {
            Ok("busy") => is_busy = true,
            Ok("quiet") => is_busy = false,
            Ok("close") => println!("done {}", close_all()),
            Ok("holes") => println!("done {}", commit_by_turns(&holes)),
            Ok("fork") => println!("done {}", fork()),
            Ok(_) | Err(_) if !is_busy => std::thread::sleep(std::time::Duration::from_millis(1)),
            _ => {}
        }
        if is_busy {
            for _ in 0..1000 {
                let page = next(&mut state) as usize % pages;
                std::hint::black_box(words(&data, page)[3]);
            }
        }
    }
}

/// Commits every second page; how many.
fn commit_by_turns(holes: &Reservation) -> usize {
    let pages = (0..holes.pages().count().get()).step_by(2);
    pages
        .map(|page| page * PAGE as u64)
        .map(|start| holes.commit(start..start + PAGE as u64, Protection::READ_ONLY))
        .filter(Result::is_ok)
        .count()
}

/// A child that does nothing for a while; its number.
#[allow(unsafe_code, reason = "UNSAFETY: forks, which is what is looked at")]
fn fork() -> i32 {
    // SAFETY: the child calls nothing but sleep and _exit.
    unsafe {
        match libc::fork() {
            0 => {
                libc::sleep(60);
                libc::_exit(0)
            }
            child => child,
        }
    }
}

/// Closes what the library has, past all wrappers; how many there were.
#[allow(
    unsafe_code,
    reason = "UNSAFETY: closes descriptors of others, which is what is looked at"
)]
fn close_all() -> usize {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&number| number > 1000)
        .collect();
    for &number in &open {
        // SAFETY: the library's numbers are high; it takes its own back.
        unsafe { rustix::io::close(number) };
    }
    open.len()
}

fn engines() -> Vec<EngineKind> {
    let mut engines = vec![EngineKind::Mapped];
    if inline_works() {
        engines.push(EngineKind::Inline);
    }
    engines
}

fn data_region<'snapshot>(snapshot: &'snapshot Snapshot, target: &Target) -> &'snapshot Region {
    snapshot.region_at(target.base).expect("the data's region")
}

fn assert_sums(snapshot: &Snapshot) {
    let sum = |of: fn(&Region) -> u64| snapshot.regions.iter().map(of).sum::<u64>();
    let totals = &snapshot.totals;
    assert_eq!(sum(|region| region.size_bytes), totals.reserved_bytes);
    assert_eq!(sum(|region| region.committed_bytes), totals.committed_bytes);
    let page = PAGE as u64;
    assert_eq!(
        sum(|region| region.pages.resident) * page,
        totals.working_set_bytes
    );
    assert_eq!(
        sum(|region| region.pages.compressed) * page,
        totals.compressed_bytes
    );
    assert_eq!(
        sum(|region| region.pages.page_file) * page,
        totals.page_file_bytes
    );
    assert_eq!(
        totals.working_set_private_bytes + totals.working_set_shared_bytes,
        totals.working_set_bytes
    );
    for region in &snapshot.regions {
        assert_eq!(region.pages.total() * page, region.committed_bytes);
    }
    assert!(
        snapshot
            .regions
            .windows(2)
            .all(|two| two[0].end() <= two[1].base)
    );
}

#[test]
fn figures_agree_with_the_kernel_under_load() {
    for engine in engines() {
        let mut target = Target::start(engine);
        writeln!(target.input, "busy").unwrap();
        let mut observer = Observer::of(target.pid()).unwrap();
        let most = if engine == EngineKind::Inline {
            0.01
        } else {
            0.03
        };
        let relative = |one: u64, other: u64| one.abs_diff(other) as f64 / other.max(1) as f64;
        // Only moments count in which the kernel's own figure stood still while ours was taken.
        let (mut differences, mut ages) = (Vec::new(), Vec::new());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while std::time::Instant::now() < end {
            let start = std::time::Instant::now();
            let before = target.kernel_resident();
            let snapshot = observer.snapshot().unwrap();
            let after = target.kernel_resident();
            assert_sums(&snapshot);
            assert_eq!(snapshot.source, Source::Pagekeeper);
            let is_fresh = u128::from(snapshot.age_ms) <= start.elapsed().as_millis();
            if is_fresh && relative(before, after) < most / 3.0 {
                let ours = data_region(&snapshot, &target).pages.resident;
                differences.push(relative(ours, after));
            }
            ages.push(snapshot.age_ms);
            if differences.len() == 9 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(60));
        }
        if differences.len() < 3 {
            println!(
                "{engine} skipped, because the machine is too busy: figures were {ages:?} ms old"
            );
            continue;
        }
        differences.sort_by(f64::total_cmp);
        println!("{engine}: differences {differences:.4?}");
        assert!(
            differences[differences.len() / 2] < most,
            "{engine}: {differences:.4?}"
        );
    }
}

#[test]
fn regions_and_totals_are_those_of_the_program() {
    for engine in engines() {
        let mut target = Target::start(engine);
        assert_eq!(target.tell("holes"), HOLES.get() / 2 / PAGE as u64);
        let snapshot = Observer::of(target.pid()).unwrap().snapshot().unwrap();
        assert_sums(&snapshot);
        let data = data_region(&snapshot, &target);
        assert_eq!((data.base, data.size_bytes), (target.base, DATA.get()));
        assert_eq!(data.allocation_base, target.base);
        assert_eq!((data.usage, data.protection), (RegionUse::Committed, 4));
        assert_eq!(data.engine, engine.name());
        assert!(data.heat.iter().any(|&cell| cell > 0));
        assert!(data.pages.resident > 0);
        let (reserved, committed, pages) = snapshot.sum_of(RegionKind::Managed);
        assert_eq!(reserved, DATA.get() + HOLES.get());
        assert_eq!(committed, DATA.get() + HOLES.get() / 2);
        assert_eq!(committed, snapshot.totals.commit_charge_bytes);
        // A page by turns, each a region of its own.
        let small = snapshot
            .regions
            .iter()
            .filter(|region| region.kind == RegionKind::Managed && region.size_bytes == 4096);
        assert_eq!(small.count() as u64, HOLES.get() / 4096);
        if engine == EngineKind::Inline {
            assert_eq!(snapshot.totals.budget_bytes, RAM.get());
            assert!(pages.compressed + pages.page_file > 0);
            assert!(pages.resident * 4096 <= RAM.get());
            assert!(snapshot.latency_quantile_ns(0.5).is_some());
            let sites = &snapshot.fault_sites;
            assert!(
                sites.first().is_some_and(|site| !site.module.is_empty()),
                "{sites:?}"
            );
        }
    }
}

#[test]
fn pages_that_are_out_are_read() {
    for engine in engines() {
        let target = Target::start(engine);
        target.settle();
        let mut observer = Observer::of(target.pid()).unwrap();
        let before = observer.snapshot().unwrap();
        let pages = (DATA.get() as usize) / PAGE;
        let mut places = std::collections::HashSet::new();
        for page in (0..pages).step_by(97) {
            let address = target.base + (page * PAGE) as u64;
            places.insert(patiently(|| observer.page_at(address)).page);
            // Across the border of a page.
            let mut bytes = [0_u8; PAGE];
            let from = address.saturating_sub(16).max(target.base);
            patiently(|| observer.read(from, &mut bytes));
            let skip = (address - from) as usize;
            let word = u64::from_ne_bytes(bytes[skip..skip + 8].try_into().unwrap());
            assert_eq!(word, first_word(page), "page {page}");
        }
        println!("{engine}: pages were {places:?}");
        assert!(
            places.contains("resident") && places.len() > 1,
            "{places:?}"
        );
        // Looking brought nothing in and threw nothing out.
        if engine == EngineKind::Inline {
            let after = observer.snapshot().unwrap();
            assert_eq!(after.counters.hard_faults, before.counters.hard_faults);
            assert_eq!(
                data_region(&after, &target).pages.resident,
                data_region(&before, &target).pages.resident
            );
        }
        let error = observer.read(0x10, &mut [0; 8]).unwrap_err();
        assert!(
            matches!(error, MonitorError::Unreadable { address: 0, .. }),
            "{error}"
        );
    }
}

/// Asks until the process gets a processor to answer on: a busy machine is no failure.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, MonitorError>) -> T {
    let mut answer = ask();
    for _ in 0..60 {
        match answer {
            Err(MonitorError::Silent { .. }) => answer = ask(),
            other => return other.unwrap(),
        }
    }
    answer.unwrap()
}

/// What `write_page` put at the beginning of a page.
fn first_word(page: usize) -> u64 {
    let base = ((page as u64) << 24) ^ 7_u64.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    match page % 5 {
        0 => base,
        2 => u64::from(base as u32) << 32 | u64::from(base as u32),
        _ => base.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (base >> 7),
    }
}

#[test]
fn a_stopped_process_shows_what_it_said_last_and_a_dead_one_is_gone() {
    let mut target = Target::start(EngineKind::Mapped);
    let mut observer = Observer::of(target.pid()).unwrap();
    let mut list = Processes::new();
    assert_eq!(observer.snapshot().unwrap().source, Source::Pagekeeper);
    target.signal("-STOP");
    std::thread::sleep(std::time::Duration::from_millis(100));
    let stopped = observer.snapshot().unwrap();
    assert_eq!(stopped.source, Source::Pagekeeper);
    assert!(stopped.age_ms >= 100);
    assert!(stopped.notes.iter().any(|note| note.contains("stopped")));
    let pid = target.pid();
    assert_eq!(
        observer.read(target.base, &mut [0; 8]).unwrap_err(),
        MonitorError::Silent { pid }
    );
    // One that never said anything is shown as the kernel sees it.
    let fresh = Observer::of(pid).unwrap().snapshot().unwrap();
    assert!(!fresh.regions.is_empty());
    assert!(
        list.refresh()
            .unwrap()
            .iter()
            .any(|process| process.pid == pid)
    );
    target.signal("-CONT");
    assert!(observer.snapshot().unwrap().age_ms < 60_000);
    target.child.kill().unwrap();
    target.child.wait().unwrap();
    assert_eq!(
        observer.snapshot().unwrap_err(),
        MonitorError::Exited { pid }
    );
    assert_eq!(
        Observer::of(pid).unwrap_err(),
        MonitorError::NoSuchProcess { pid }
    );
    assert!(
        !list
            .refresh()
            .unwrap()
            .iter()
            .any(|process| process.pid == pid)
    );
}

#[test]
fn a_forked_child_does_not_speak_for_its_parent() {
    let mut target = Target::start(EngineKind::Mapped);
    let child = target.tell("fork") as u32;
    let snapshot = Observer::of(child).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.source, Source::Proc);
    assert!(snapshot.region_at(target.base).is_none());
    let error = Observer::of(child)
        .unwrap()
        .read(target.base, &mut [0; 8])
        .unwrap_err();
    assert_eq!(error, MonitorError::NotPagekeeper { pid: child });
    let parent = Observer::of(target.pid()).unwrap().snapshot().unwrap();
    assert_eq!(parent.source, Source::Pagekeeper);
    Command::new("kill")
        .arg(child.to_string())
        .status()
        .unwrap();
}

#[test]
fn a_process_that_closes_its_descriptors_is_still_found() {
    let mut target = Target::start(EngineKind::Mapped);
    assert_eq!(live_descriptors(target.pid()), 1);
    target.tell("close");
    assert_eq!(live_descriptors(target.pid()), 0);
    let snapshot = Observer::of(target.pid()).unwrap().snapshot().unwrap();
    assert_eq!(snapshot.source, Source::Pagekeeper);
    assert_sums(&snapshot);
}

/// Descriptors of the live source in the process's own table.
fn live_descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(Result::ok)
        .filter(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link.to_string_lossy().contains("pagekeeper-live"))
        })
        .count()
}

#[test]
fn somebody_elses_process_is_refused_politely() {
    // Root may look into everything; as an ordinary user process 1 is somebody else's.
    if pagekeeper_sys::process::own_user() == 0 {
        println!("skipped, because root may look into every process");
        return;
    }
    let error = Observer::of(1).unwrap_err();
    assert_eq!(error, MonitorError::NotPermitted { pid: 1, owner: 0 });
    assert_eq!(
        error.to_string(),
        "process 1 belongs to user 0: only that user and root may look into it"
    );
}
