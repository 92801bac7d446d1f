//! What regions are called: sections by their names, views by their files, and what the library holds for itself.

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use pagekeeper::monitor::{Observer, RegionKind, Snapshot, snapshot};
use pagekeeper::{ByteCount, EngineKind, Section};
use support::{child_engine, committed, inline_works, space, write_page};

const SIZE: u64 = 256 << 10;

/// The process that is looked at.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn section_name(pid: u32) -> String {
    format!("Local\\monitor names {pid}")
}

/// Not a test of its own: has data that is partly out, a named section, a nameless one and a file's.
#[test]
fn the_target() {
    let Some(engine) = child_engine() else {
        return;
    };
    let space = space(engine, ByteCount::mib(8));
    let data = committed(&space, ByteCount::mib(32));
    for page in 0..data.pages().count().as_usize() {
        write_page(&data, page, 7);
    }
    let own = std::process::id();
    let named = Section::named(&space, &section_name(own), ByteCount::new(SIZE))
        .build()
        .unwrap();
    let nameless = Section::anonymous(&space, ByteCount::new(SIZE))
        .build()
        .unwrap();
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let of_file = Section::from_file(&space, &file).build().unwrap();
    let views = [
        named.view().build().unwrap(),
        nameless.view().build().unwrap(),
        of_file.view().size(SIZE).offset(65536).build().unwrap(),
    ];
    let bases = views.each_ref().map(|view| view.base() as u64);
    assert_named(&snapshot().unwrap(), own, bases);
    println!("ready {} {} {}", bases[0], bases[1], bases[2]);
    let _ = std::io::stdin().lines().next();
}

fn assert_named(snapshot: &Snapshot, pid: u32, [named, nameless, of_file]: [u64; 3]) {
    let at = |base| snapshot.region_at(base).expect("a region");
    let itself = std::env::current_exe().unwrap();
    assert_eq!(at(named).name, section_name(pid));
    assert_eq!(at(nameless).name, "");
    assert_eq!(at(of_file).name, itself.to_str().unwrap());
    assert_eq!(at(of_file).file_offset, 65536);
    for base in [named, nameless, of_file] {
        assert_eq!(at(base).kind, RegionKind::Section);
    }
}

#[test]
fn sections_files_and_what_the_library_holds_are_told_apart() {
    for engine in [EngineKind::Mapped, EngineKind::Inline] {
        if engine == EngineKind::Inline && !inline_works() {
            println!("inline skipped, because userfaultfd is not allowed here");
            continue;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_target", "--exact", "--nocapture", "--test-threads=1"])
            .env("PAGEKEEPER_CHILD", engine.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let target = Target(child);
        let line = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("ready ")?.1.to_owned()))
            .expect("the target is ready");
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        let bases = [numbers[0], numbers[1], numbers[2]];
        let pid = target.0.id();
        let mut observer = Observer::of(pid).unwrap();
        let snapshot = observer.snapshot().unwrap();
        assert_named(&snapshot, pid, bases);
        // The same names for one address.
        for base in bases {
            let found = observer.page_at(base).unwrap().region.unwrap();
            let listed = snapshot.region_at(base).unwrap();
            assert_eq!(found.name, listed.name, "{engine}");
            assert_eq!(found.file_offset, listed.file_offset, "{engine}");
        }
        let held = |name: &str| {
            let of_name = snapshot.regions.iter().filter(|region| region.name == name);
            of_name
                .inspect(|region| assert_eq!(region.kind, RegionKind::Pagekeeper))
                .map(|region| region.pages.resident)
                .sum::<u64>()
        };
        assert!(held("[pagekeeper buffers]") > 0, "{engine}");
        if engine == EngineKind::Inline {
            assert!(held("[pagekeeper tables]") > 0);
            // By its own count the pool is as large; the kernel may have given it more pages at a time.
            let pool = held("[pagekeeper pool]") * 4096;
            assert!(
                pool > 0 && pool >= snapshot.totals.pool_bytes / 2,
                "{pool} of {}",
                snapshot.totals.pool_bytes
            );
        }
    }
}
