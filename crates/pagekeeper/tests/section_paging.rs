//! Views within a budget: what is over leaves, nothing is lost, copies go to the page file and only they.
//!
//! The same at full size: `cargo run --release --example sections`.

mod section_support;
mod support;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use pagekeeper::{ByteCount, EngineKind, EngineStatistics, Protection, Residence, Section, Space};
use pagekeeper_sys::file;
use section_support::{PAGE, byte, in_file};
use support::{next, seed};

const MIB: u64 = 1 << 20;

fn small_space(mib: u64) -> Space {
    Space::builder()
        .ram(ByteCount::mib(mib))
        .page_file_maximum(ByteCount::mib(256))
        .build()
        .expect("a space")
}

fn figures(space: &Space) -> EngineStatistics {
    let engines = space.status().engines;
    let views = engines
        .into_iter()
        .find(|(kind, _)| *kind == EngineKind::Views);
    views.expect("views").1
}

/// Waits until `done`; a thread of its own does the work.
fn wait_until(what: &str, done: impl FnMut() -> bool) {
    wait_for_looks(12_000, what, done);
}

/// Counted in looks, not in seconds: a process that is stopped for a while loses none.
fn wait_for_looks(looks: u32, what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..looks {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}");
}

fn large_file(mib: u64) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    let mut bytes = vec![0_u8; MIB as usize];
    for number in 0..mib {
        for (at, page) in bytes.chunks_mut(PAGE as usize).enumerate() {
            page.fill((number * 256 + at as u64) as u8 ^ (number as u8));
        }
        file.write_all(&bytes).expect("room");
    }
    file.seek(SeekFrom::Start(0)).expect("seek");
    file
}

fn expected(page: u64) -> u8 {
    page as u8 ^ (page / 256) as u8
}

#[test]
fn a_file_larger_than_the_budget_is_read_through_one_view_and_leaves_again() {
    let space = small_space(8);
    let file = large_file(48);
    let section = Section::from_file(&space, &file).build().unwrap();
    let view = section.view().build().unwrap();
    for page in 0..48 * 256 {
        assert_eq!(byte(&view, page * PAGE), expected(page), "page {page}");
    }
    wait_until("what was read leaves", || {
        let figures = figures(&space);
        figures.resident <= figures.budget
    });
    assert_eq!(figures(&space).pages_out, 0, "clean pages are not written");
}

/// The page cache drops its large pages as a whole or not at all, and they lie at multiples of their size in the *file*.
#[test]
fn what_leaves_a_view_leaves_the_page_cache_too() {
    let file = large_file(96);
    let system = file::file_system_of(&file).expect("statfs");
    if system.kind == file::FileSystemKind::Ram {
        return println!("skipped, because the folder for temporary files is in RAM");
    }
    if file::cache_state(&file, 0, 0).is_err() {
        return println!("skipped, because this kernel does not count cached pages");
    }
    file.sync_all().expect("written");
    let space = small_space(8);
    let section = Section::from_file(&space, &file).build().unwrap();
    for protection in [Protection::READ_ONLY, Protection::READ_WRITE] {
        let section = match protection {
            Protection::READ_ONLY => &section,
            _ => &Section::from_file(&space, &file)
                .protection(protection)
                .build()
                .unwrap(),
        };
        // Not at such a multiple in the address space.
        let skipped = 1 << 16;
        let view = section.view().at(0x5_4325_0000).offset(skipped);
        let view = view.protection(protection).build().unwrap();
        for page in 0..95 * 256 {
            let wanted = expected(page + skipped / PAGE);
            assert_eq!(byte(&view, page * PAGE), wanted, "page {page}");
        }
        // Half of it is generous: 8 MiB, what reading ahead brought, and what came back while it left.
        // A few looks do; sooner or later the kernel itself would drop it.
        wait_for_looks(1000, "what was read leaves the page cache", || {
            let state = file::cache_state(&file, 0, 0).expect("counted");
            state.cached_pages < 48 * 256
        });
        assert!(figures(&space).clean_drops > 0);
    }
}

/// What was changed before is to be written, whatever the view allows by now: it could not be dropped else.
#[test]
fn what_was_written_leaves_also_when_nobody_may_write_any_more() {
    let file = large_file(64);
    let system = file::file_system_of(&file).expect("statfs");
    if system.kind == file::FileSystemKind::Ram || file::cache_state(&file, 0, 0).is_err() {
        return println!(
            "skipped, because the folder for files is in RAM, or nobody counts cached pages"
        );
    }
    file.sync_all().expect("written");
    let space = Space::builder()
        .ram(ByteCount::mib(512))
        .page_file_maximum(ByteCount::mib(256))
        .build()
        .expect("a space");
    let section = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    for page in 0..64 * 256 {
        view.write_at(page * PAGE, &[expected(page) ^ 0xFF])
            .unwrap();
    }
    view.protect(0, 64 * MIB, Protection::READ_ONLY).unwrap();
    space.set_ram(ByteCount::mib(8)).unwrap();
    wait_for_looks(1000, "what was written leaves the page cache", || {
        let state = file::cache_state(&file, 0, 0).expect("counted");
        state.cached_pages < 32 * 256
    });
    for page in 0..64 * 256 {
        assert_eq!(
            byte(&view, page * PAGE),
            expected(page) ^ 0xFF,
            "page {page}"
        );
    }
}

#[test]
fn memory_larger_than_the_budget_keeps_what_was_written() {
    let space = small_space(8);
    let section = Section::anonymous(&space, ByteCount::mib(40))
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    let seed = seed();
    let mut state = seed;
    let pages = 40 * 256;
    for page in 0..pages {
        view.write_at(page * PAGE + 8, &next(&mut state).to_le_bytes())
            .unwrap();
    }
    wait_until("what was written leaves", || {
        let figures = figures(&space);
        figures.resident <= figures.budget
    });
    let mut state = seed;
    for page in 0..pages {
        let mut bytes = [0; 8];
        view.read_at(page * PAGE + 8, &mut bytes).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), next(&mut state), "page {page}");
    }
}

#[test]
fn copies_go_to_the_page_file_and_nothing_else_does() {
    let space = small_space(8);
    let mut file = large_file(64);
    let section = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    let pages = 64 * 256;
    for page in (0..pages).step_by(5) {
        view.write_at(page * PAGE, &[expected(page) ^ 0xFF])
            .unwrap();
    }
    wait_until("copies move out", || {
        let figures = figures(&space);
        figures.resident <= figures.budget && figures.page_file.get() > 0
    });
    for page in 0..pages {
        let flipped = if page % 5 == 0 { 0xFF } else { 0 };
        assert_eq!(
            byte(&view, page * PAGE),
            expected(page) ^ flipped,
            "page {page}"
        );
        assert_eq!(byte(&view, page * PAGE + 9), expected(page), "page {page}");
    }
    let copied = pages / 5 + 1;
    let figures = figures(&space);
    assert!(figures.page_file.get() <= copied, "{figures:?}");
    assert!(
        figures.pages_out <= copied,
        "each copy is written once: {figures:?}"
    );
    // A moved copy can be written, and is still a copy.
    view.write_at(0, &[0x77]).unwrap();
    assert_eq!(byte(&view, 0), 0x77);
    assert_eq!(in_file(&mut file, 0), expected(0));
    drop(view);
    assert_eq!(self::figures(&space).page_file.get(), 0);
}

#[test]
fn a_locked_page_is_neither_copied_nor_moved_out() {
    let space = small_space(8);
    let file = large_file(64);
    let section = Section::from_file(&space, &file)
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let view = section.view().build().unwrap();
    let base = view.base().addr() as u64;
    view.write_at(2 * PAGE, &[1]).unwrap();
    space.lock_at(base, 4 * PAGE).unwrap();
    let is_copied = |page: u64| {
        let region = view.query(page * PAGE).unwrap();
        region.state == pagekeeper::RegionState::Committed(Protection::READ_WRITE)
    };
    let copied: Vec<bool> = (0..5).map(is_copied).collect();
    assert_eq!(copied, [false, false, true, false, false]);
    for page in (8..64 * 256).step_by(3) {
        view.write_at(page * PAGE, &[1]).unwrap();
    }
    space.trim_at(base, 64 * MIB);
    let locked = space.residence(base, 4 * PAGE);
    assert!(
        locked.iter().all(|(_, it)| *it == Residence::Resident),
        "{locked:?}"
    );
    let rest = space.residence(base + 4 * PAGE, 4 * MIB);
    assert!(rest.iter().any(|(_, it)| *it == Residence::PageFile));
    space.unlock_at(base, 4 * PAGE).unwrap();
    space.trim_at(base, 4 * PAGE);
    let after = space.residence(base, 4 * PAGE);
    assert!(
        after.iter().any(|(_, it)| *it == Residence::PageFile),
        "{after:?}"
    );
    assert_eq!(byte(&view, 2 * PAGE), 1);
}

#[test]
fn system_calls_work_on_views_while_their_pages_leave() {
    let space = small_space(8);
    let section = Section::anonymous(&space, ByteCount::mib(32))
        .build()
        .unwrap();
    let mut memory = section.into_exclusive::<u8>().unwrap().expect("mine alone");
    let mut source = large_file(32);
    std::io::Read::read_exact(&mut source, &mut memory).unwrap();
    let mut copy = tempfile::tempfile().unwrap();
    copy.write_all(&memory).unwrap();
    for page in (0..32 * 256).step_by(97) {
        assert_eq!(in_file(&mut copy, page * PAGE), expected(page));
    }
}

#[test]
fn random_work_agrees_with_a_plain_array() {
    let space = small_space(5);
    let mut file = large_file(12);
    let pages = 12 * 256;
    let shared = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    let (one, two) = (
        shared.view().build().unwrap(),
        shared.view().build().unwrap(),
    );
    let copied = shared
        .view()
        .protection(Protection::WRITE_COPY)
        .build()
        .unwrap();
    let mut in_shared: Vec<u8> = (0..pages).map(expected).collect();
    let mut in_copy: Vec<Option<u8>> = vec![None; pages as usize];
    let mut state = seed();
    for _ in 0..40_000 {
        let random = next(&mut state);
        let page = random % pages;
        let at = page as usize;
        let value = (random >> 32) as u8;
        match random >> 40 & 7 {
            0 => {
                one.write_at(page * PAGE, &[value]).unwrap();
                in_shared[at] = value;
            }
            1 => {
                two.write_at(page * PAGE, &[value]).unwrap();
                in_shared[at] = value;
            }
            2 | 3 => {
                copied.write_at(page * PAGE, &[value]).unwrap();
                in_copy[at] = Some(value);
            }
            4 if value < 2 => space.trim_at(copied.base().addr() as u64 + page * PAGE, MIB),
            4 if value < 4 => space.trim_at(one.base().addr() as u64 + page * PAGE, MIB),
            5 => assert_eq!(byte(&one, page * PAGE), in_shared[at]),
            6 => assert_eq!(byte(&two, page * PAGE), in_shared[at]),
            _ => {
                let expected = in_copy[at].unwrap_or(in_shared[at]);
                assert_eq!(byte(&copied, page * PAGE), expected, "page {page}");
            }
        }
    }
    one.flush(0, 0, true).unwrap();
    for page in 0..pages {
        let at = page as usize;
        assert_eq!(in_file(&mut file, page * PAGE), in_shared[at]);
        let expected = in_copy[at].unwrap_or(in_shared[at]);
        assert_eq!(byte(&copied, page * PAGE), expected, "page {page}");
    }
}
