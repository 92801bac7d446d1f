//! Which pages were written, with paging underneath: no write is missed, and no page is reported because it came back.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads and writes memory of reservations by address"
)]

mod support;

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;

use pagekeeper::{ByteCount, EngineKind, Protection, Reservation, Space};
use pagekeeper_sys::procmap::Residence;
use support::alone;

const PAGE: usize = 4096;

/// Four times the budget: three quarters lie in the page file.
const PAGES: u64 = 16 << 10;

fn space(engine: EngineKind) -> Space {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder on a disk");
    Space::builder()
        .ram(ByteCount::mib(16))
        .page_file([folder.path()])
        .page_file_maximum(ByteCount::mib(256))
        .engine(engine)
        .build()
        .expect("a space")
}

/// A watched reservation, or the reason why this kernel cannot.
fn watched(space: &Space, pages: u64) -> Option<Reservation> {
    match space
        .reserve(ByteCount::new(pages * PAGE as u64))
        .write_watch()
        .committed()
        .build()
    {
        Ok(reservation) => Some(reservation),
        Err(error) if error.to_string().contains("write watch") => {
            println!("skipped, because {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn written(space: &Space, reservation: &Reservation, reset: bool) -> BTreeSet<u64> {
    let (base, size) = (reservation.base().addr() as u64, reservation.size().get());
    let first = reservation.pages().start().get();
    space
        .written_at(base, size, usize::MAX >> 1, reset)
        .expect("watched")
        .into_iter()
        .map(|page| page.get() - first)
        .collect()
}

/// Writes one byte of a page.
fn write(reservation: &Reservation, page: u64, value: u8) {
    // SAFETY: committed, read-write, and only this thread uses it.
    unsafe {
        reservation
            .base()
            .add(page as usize * PAGE + 17)
            .write_volatile(value)
    };
}

fn read(reservation: &Reservation, page: u64) -> u8 {
    // SAFETY: as above.
    unsafe {
        reservation
            .base()
            .add(page as usize * PAGE + 17)
            .read_volatile()
    }
}

/// A small generator with a seed that is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("PAGEKEEPER_SEED")
            .ok()
            .and_then(|it| it.parse().ok());
        let seed = seed.unwrap_or(0x5EED_0005_u64);
        println!("PAGEKEEPER_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

fn right_across_paging(engine: EngineKind) {
    let space = space(engine);
    let Some(reservation) = watched(&space, PAGES) else {
        return;
    };
    let mut random = Random::new();
    assert!(written(&space, &reservation, false).is_empty(), "fresh");
    for round in 1..=4 {
        let mut wanted = BTreeSet::new();
        for _ in 0..PAGES / 4 {
            let page = random.below(PAGES);
            write(&reservation, page, round);
            wanted.insert(page);
        }
        // Everything that can leave does; reading brings all of it back, and is no write.
        space.trim();
        assert_eq!(written(&space, &reservation, false), wanted, "gone");
        for page in 0..PAGES {
            let value = read(&reservation, page);
            assert!(value <= round && (value == round) == wanted.contains(&page));
        }
        assert_eq!(written(&space, &reservation, false), wanted, "back");
        assert_eq!(written(&space, &reservation, true), wanted);
        space.trim();
        for page in 0..PAGES {
            read(&reservation, page);
        }
        assert!(written(&space, &reservation, false).is_empty(), "reset");
    }
    let base = reservation.base().addr() as u64;
    space
        .prefetch_at(&[(base, PAGES * PAGE as u64)])
        .expect("a hint");
    assert!(written(&space, &reservation, false).is_empty(), "prefetch");
}

#[test]
fn marks_are_right_across_paging() {
    right_across_paging(EngineKind::Mapped);
}

#[test]
fn marks_are_right_where_the_default_is_inline() {
    right_across_paging(EngineKind::Inline);
}

#[test]
fn marks_are_right_without_paging() {
    let space = space(EngineKind::Resident);
    let Some(reservation) = watched(&space, 512) else {
        return;
    };
    write(&reservation, 3, 1);
    write(&reservation, 511, 1);
    assert_eq!(
        written(&space, &reservation, true),
        BTreeSet::from([3, 511])
    );
    assert!(written(&space, &reservation, false).is_empty());
}

#[test]
fn writes_of_the_kernel_count() {
    let space = space(EngineKind::Mapped);
    let Some(reservation) = watched(&space, PAGES) else {
        return;
    };
    let file = std::fs::File::open("/dev/zero").expect("zeros");
    for (page, count) in [(5, 3), (PAGES - 9, 4)] {
        // SAFETY: the kernel writes inside the reservation.
        let got = unsafe {
            libc::read(
                file.as_raw_fd(),
                reservation.base().add(page as usize * PAGE).cast(),
                count * PAGE,
            )
        };
        assert_eq!(got as usize, count * PAGE);
    }
    let wanted: BTreeSet<u64> = (5..8).chain(PAGES - 9..PAGES - 5).collect();
    assert_eq!(written(&space, &reservation, true), wanted);
    assert!(written(&space, &reservation, false).is_empty());
}

#[test]
fn marks_survive_what_makes_the_kernel_forget() {
    let space = space(EngineKind::Mapped);
    let Some(reservation) = watched(&space, PAGES) else {
        return;
    };
    let bytes = |from: u64, to: u64| from * PAGE as u64..to * PAGE as u64;
    let all = [1, 100, 5000, 16_000];
    for page in all {
        write(&reservation, page, 9);
    }
    for page in all {
        reservation
            .protect(bytes(page - 1, page + 2), Protection::NO_ACCESS)
            .expect("protected");
        reservation
            .protect(bytes(page - 1, page + 2), Protection::READ_WRITE)
            .expect("opened");
    }
    assert_eq!(written(&space, &reservation, false), BTreeSet::from(all));
    for page in all {
        assert_eq!(read(&reservation, page), 9);
        reservation
            .decommit(bytes(page, page + 1))
            .expect("decommitted");
        reservation
            .commit(bytes(page, page + 1), Protection::READ_WRITE)
            .expect("committed");
        assert_eq!(read(&reservation, page), 0);
    }
    assert_eq!(written(&space, &reservation, true), BTreeSet::from(all));
    for page in all {
        reservation
            .discard(bytes(page, page + 1))
            .expect("discarded");
    }
    assert!(written(&space, &reservation, false).is_empty());
    for page in all {
        write(&reservation, page, 1);
    }
    assert_eq!(written(&space, &reservation, false), BTreeSet::from(all));
}

#[test]
fn get_and_reset_lose_no_write_of_another_thread() {
    let space = space(EngineKind::Mapped);
    let Some(reservation) = watched(&space, 4096) else {
        return;
    };
    let counters = std::sync::atomic::AtomicU64::new(0);
    let base = reservation.base().expose_provenance();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random(7);
            for round in 1..=50_000_u64 {
                let page = random.below(4096) as usize;
                let at = core::ptr::with_exposed_provenance_mut::<u64>(base + page * PAGE);
                // SAFETY: inside the reservation; only this thread writes there.
                unsafe { at.write_volatile(round) };
                counters.store(round, std::sync::atomic::Ordering::Release);
            }
        });
        let mut seen = vec![0_u64; 4096];
        let look = |seen: &mut Vec<u64>| {
            for page in written(&space, &reservation, true) {
                let at = core::ptr::with_exposed_provenance::<u64>(base + page as usize * PAGE);
                // SAFETY: inside the reservation; a value that is being written is read whole.
                seen[page as usize] = unsafe { at.read_volatile() };
            }
        };
        while !writer.is_finished() {
            look(&mut seen);
        }
        look(&mut seen);
        for (page, value) in seen.iter().enumerate() {
            let at = core::ptr::with_exposed_provenance::<u64>(base + page * PAGE);
            // SAFETY: as above; the writer has ended.
            let written = unsafe { at.read_volatile() };
            assert_eq!(*value, written, "page {page} was missed");
        }
    });
}

#[test]
fn a_tebibyte_that_is_only_reserved_costs_nothing() {
    // Alone, because the figures are those of the whole process.
    alone(
        "a_tebibyte_that_is_only_reserved_costs_nothing",
        a_watched_tebibyte,
    );
}

fn a_watched_tebibyte() {
    let space = space(EngineKind::Mapped);
    let before = Residence::own().expect("figures");
    let reservation = match space.reserve(ByteCount::tib(1)).write_watch().build() {
        Ok(reservation) => reservation,
        Err(error) => return println!("skipped, because {error}"),
    };
    reservation
        .commit(
            ByteCount::gib(512).get()..ByteCount::gib(512).get() + 8192,
            Protection::READ_WRITE,
        )
        .expect("two pages");
    write(&reservation, ByteCount::gib(512).get() / PAGE as u64, 1);
    assert_eq!(written(&space, &reservation, false).len(), 1);
    let after = Residence::own().expect("figures");
    let cost = |of: &Residence| of.page_table_bytes + of.anonymous_bytes;
    assert!(
        cost(&after) < cost(&before) + (1 << 20),
        "{} bytes more",
        cost(&after) - cost(&before)
    );
}

#[test]
fn what_is_not_watched_is_refused() {
    let space = space(EngineKind::Mapped);
    let plain = space
        .reserve(ByteCount::mib(1))
        .committed()
        .build()
        .expect("a reservation");
    let base = plain.base().addr() as u64;
    for (address, size) in [(base, 4096), (base, 0), (4096, 4096), (u64::MAX - 8, 4096)] {
        assert!(space.written_at(address, size, 8, false).is_err());
        assert!(space.reset_writes_at(address, size).is_err());
    }
    let Some(watched) = watched(&space, 16) else {
        return;
    };
    let base = watched.base().addr() as u64;
    assert!(space.written_at(base, 16 * 4096, 8, false).is_ok());
    assert!(space.written_at(base, 16 * 4096 + 1, 8, false).is_err());
}
