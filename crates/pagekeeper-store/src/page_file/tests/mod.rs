//! Page files on real disks, on failing ones, and in processes that are limited or killed.

mod faults;
mod files;
mod processes;
mod runs;
mod space;

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use pagekeeper_sys::Errno;
use pagekeeper_sys::disk::{BlockIo, Fault, Faulty, Positioned, Request};
use pagekeeper_sys::file::AlignedPage;
use pagekeeper_sys::map::SlotPool;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount};
use tempfile::TempDir;

use super::*;
use crate::codec::Page;
use crate::testing::{Rng, Texture};

/// A folder on a disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

fn settings(places: &[&Path], maximum_mib: u64) -> PageFileSettings {
    PageFileSettings {
        places: Places::List(places.iter().map(|&place| place.to_owned()).collect()),
        maximum: Some(ByteCount::mib(maximum_mib)),
        ..PageFileSettings::default()
    }
}

/// One page file with space for so many pages.
fn one_file(pages: u64) -> PageFiles {
    let folder = folder();
    let files = PageFiles::open(settings(&[folder.path()], 64)).unwrap();
    files.set_promised(PageCount::new(pages)).unwrap();
    files
}

/// A disk that misbehaves when told, shared with the page file.
#[derive(Debug, Clone)]
struct Disk(Arc<Faulty<Positioned>>);

impl BlockIo for Disk {
    fn submit_and_wait(&self, requests: &mut [Request<'_>]) {
        self.0.submit_and_wait(requests);
    }

    fn name(&self) -> &'static str {
        "faulty"
    }
}

/// One page file of at most 8 MiB on a disk that can be made to fail.
fn failing_file() -> (PageFiles, Disk) {
    let folder = folder();
    let shared = Arc::new(std::sync::Mutex::new(None));
    let theirs = Arc::clone(&shared);
    let opener: Opener = Box::new(move |file, _| {
        let transfers = file.try_clone().map_err(|_| Errno::MFILE)?;
        let disk = Disk(Arc::new(Faulty::new(Positioned::new(transfers))));
        *theirs.lock().unwrap() = Some(disk.clone());
        Ok(Opened {
            file: file.into(),
            disk: Box::new(disk),
            direct: false,
            unkept: None,
        })
    });
    let files = PageFiles::open_with(settings(&[folder.path()], 8), opener).unwrap();
    files.set_promised(PageCount::new(2048)).unwrap();
    let disk = shared.lock().unwrap().take().unwrap();
    (files, disk)
}

/// Pages of every kind, aligned as direct I/O wants them.
fn pages(rng: &mut Rng, count: usize) -> Vec<AlignedPage> {
    (0..count)
        .map(|_| {
            let mut page = AlignedPage::new();
            let texture = Texture::ALL[rng.below(Texture::ALL.len() as u64) as usize];
            *page.bytes_mut() = rng.page(texture);
            page
        })
        .collect()
}

/// Stores pages in as few runs as the files give; the slot of each.
fn store(files: &PageFiles, pages: &[AlignedPage]) -> Result<Vec<Slot>, WriteError> {
    let mut slots = Vec::new();
    while slots.len() < pages.len() {
        let rest = &pages[slots.len()..];
        let run = files.take_run(rest.len() as u32).expect("space");
        let part = &rest[..run.count as usize];
        let pieces: Vec<_> = part.iter().map(|page| IoSlice::new(page.bytes())).collect();
        let sums: Vec<_> = part
            .iter()
            .map(|page| files.checksum(page.bytes()))
            .collect();
        files.write_run(run, &pieces, &sums)?;
        slots.extend(run.slots());
    }
    Ok(slots)
}

fn load(files: &PageFiles, slot: Slot) -> Result<Page, ReadError> {
    let mut page = AlignedPage::new();
    files.read_page(slot, page.bytes_mut())?;
    Ok(*page.bytes())
}

#[test]
fn pages_come_back_by_every_way_of_transfer() {
    let mut rng = Rng::from_env();
    for io in [
        IoChoice::RingWhenPossible,
        IoChoice::RingAsleep,
        IoChoice::Positioned,
    ] {
        for direct_io in [DirectIoChoice::WhenPossible, DirectIoChoice::Never] {
            let folder = folder();
            let settings = PageFileSettings {
                io,
                direct_io,
                ..settings(&[folder.path()], 16)
            };
            let files = PageFiles::open(settings).unwrap();
            let usage = &files.usage()[0];
            println!(
                "{io:?} {direct_io:?}: {} direct {}",
                usage.disk, usage.direct
            );
            files.set_promised(PageCount::new(1000)).unwrap();
            let pages = pages(&mut rng, 600);
            let slots = store(&files, &pages).unwrap();
            assert_eq!(files.used(), PageCount::new(600));
            for (page, &slot) in pages.iter().zip(&slots) {
                assert_eq!(files.checksum_of(slot), Some(files.checksum(page.bytes())));
                assert!(load(&files, slot).unwrap() == *page.bytes());
            }
            // Neighbours with one transfer.
            let buffers = SlotPool::new(1, PageCount::new(64)).unwrap();
            let mut buffer = buffers.take().unwrap();
            assert!(files.read_run(slots[10], &mut buffer).is_good());
            for (index, page) in buffer.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
                assert!(page == pages[10 + index].bytes());
            }
            drop(buffer);
            many_at_once(&files, &pages, &slots, &mut rng);
            files.give_back_run(SlotRun {
                first: slots[0],
                count: 600,
            });
            assert_eq!(files.used(), PageCount::ZERO);
        }
    }
}

fn many_at_once(files: &PageFiles, pages: &[AlignedPage], slots: &[Slot], rng: &mut Rng) {
    let buffers = SlotPool::new(200, PageCount::new(4)).unwrap();
    let mut taken: Vec<_> = (0..200).map(|_| buffers.take().unwrap()).collect();
    let wanted: Vec<_> = (0..200).map(|_| rng.below(590) as usize).collect();
    let lengths: Vec<_> = (0..200).map(|_| 1 + rng.below(4) as usize).collect();
    let mut reads: Vec<_> = taken
        .iter_mut()
        .zip(wanted.iter().zip(&lengths))
        .map(|(buffer, (&index, &length))| {
            SlotRead::new(slots[index], &mut buffer[..length * PAGE_SIZE])
        })
        .collect();
    files.read_many(&mut reads);
    for (read, &index) in reads.iter().zip(&wanted) {
        assert!(read.outcome().is_good(), "{:?}", read.outcome());
        for (offset, page) in read.bytes().as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
            assert!(page == pages[index + offset].bytes());
        }
    }
}

#[test]
fn calls_that_do_not_fit_are_refused_without_harm() {
    let files = one_file(100);
    let run = files.take_run(2).unwrap();
    let page = AlignedPage::new();
    let sum = files.checksum(page.bytes());
    let piece = || IoSlice::new(page.bytes());
    let invalid = Err(WriteError {
        errno: Errno::INVAL,
        withdrawn: false,
    });
    assert_eq!(files.write_run(run, &[piece()], &[sum, sum]), invalid);
    assert_eq!(files.write_run(run, &[piece(), piece()], &[sum]), invalid);
    let nowhere = SlotRun {
        first: Slot::from_bits(u32::MAX - 5),
        count: 1,
    };
    assert_eq!(files.write_run(nowhere, &[piece()], &[sum]), invalid);
    assert_eq!(files.used(), PageCount::new(2), "the run is still ours");
    assert_eq!(
        load(&files, nowhere.first),
        Err(ReadError::Io(Errno::INVAL))
    );
    assert_eq!(files.give_back_run(nowhere), 0);
    assert!(!files.read_run(run.first, &mut [0; 100]).is_good());
    let mut reads = [SlotRead::new(run.first, &mut [])];
    files.read_many(&mut reads);
    assert!(
        reads[0].outcome().is_good(),
        "nothing was wanted and nothing is missing"
    );
}

#[test]
fn a_slot_that_was_given_back_holds_nothing() {
    let files = one_file(100);
    let mut rng = Rng::from_env();
    let slots = store(&files, &pages(&mut rng, 3)).unwrap();
    files.give_back(slots[1]);
    assert_eq!(files.checksum_of(slots[1]), None);
    assert_eq!(load(&files, slots[1]), Err(ReadError::Damaged));
    assert!(load(&files, slots[2]).is_ok());
    assert_eq!(files.give_back_run(SlotRun::one(slots[1])), 0, "twice");
}

#[test]
fn many_threads_share_the_files() {
    let (one, two) = (folder(), folder());
    let files = PageFiles::open(settings(&[one.path(), two.path()], 4)).unwrap();
    files.set_promised(PageCount::new(2000)).unwrap();
    let seed = Rng::from_env();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let files = &files;
            let mut rng = Rng::new(seed.clone().next() ^ thread << 40);
            scope.spawn(move || {
                let pages = pages(&mut rng, 100);
                let mut mine: Vec<(usize, Slot)> = Vec::new();
                for _ in 0..300 {
                    if mine.len() < 300 && rng.below(2) == 0 {
                        let start = rng.below(60) as usize;
                        let part = &pages[start..start + 1 + rng.below(40) as usize];
                        let slots = store(files, part).unwrap();
                        mine.extend((start..).zip(slots));
                    } else if !mine.is_empty() {
                        let (page, slot) = mine.swap_remove(rng.below(mine.len() as u64) as usize);
                        assert!(load(files, slot).unwrap() == *pages[page].bytes());
                        assert_eq!(files.give_back_run(SlotRun::one(slot)), 1);
                    }
                }
                for (page, slot) in mine {
                    assert!(load(files, slot).unwrap() == *pages[page].bytes());
                    files.give_back(slot);
                }
            });
        }
    });
    assert_eq!(files.used(), PageCount::ZERO);
}
