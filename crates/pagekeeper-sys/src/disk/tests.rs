//! Both twins against a shadow copy, with devices that are slow, short, broken and gone.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: a made-up device copies from the buffers of requests; bad addresses on purpose"
)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn temporary() -> OwnedFd {
    crate::file::create_in_folder(&std::env::temp_dir())
        .unwrap()
        .file
}

fn uring(file: OwnedFd, rings: usize, entries: u32) -> Option<Uring> {
    match Uring::new(file, rings, entries) {
        Ok(uring) => Some(uring),
        Err(errno) => {
            println!("io_uring is left out, because it gives {errno}");
            None
        }
    }
}

fn twins() -> Vec<Box<dyn BlockIo>> {
    let mut twins: Vec<Box<dyn BlockIo>> = vec![Box::new(Positioned::new(temporary()))];
    for watching in [false, true] {
        if let Some(uring) = uring(temporary(), 2, 8) {
            twins.push(Box::new(uring.watching(watching)));
        }
    }
    twins
}

/// A small generator, so that a failure can be repeated: PAGEKEEPER_SEED.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("PAGEKEEPER_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 0x9E37_79B9 + 1);
        println!("PAGEKEEPER_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Batches of random, disjoint pieces, compared with a shadow after every batch.
fn keeps_a_shadow(disk: &dyn BlockIo, random: &mut Random) {
    const LENGTH: usize = 1 << 18;
    let mut shadow = vec![0; LENGTH];
    disk.write_at(0, &shadow).unwrap();
    for round in 0..40 {
        // Cut points make disjoint pieces.
        let count = 1 + random.below(40) as usize;
        let mut cuts: Vec<_> = (0..=count)
            .map(|_| random.below(LENGTH as u64) as usize)
            .collect();
        cuts.sort_unstable();
        let writes: Vec<bool> = (0..count).map(|_| random.below(2) == 0).collect();
        let value = random.below(255) as u8 + 1;
        let mut pieces: Vec<Vec<u8>> = cuts
            .windows(2)
            .map(|two| vec![value; two[1] - two[0]])
            .collect();
        let mut requests: Vec<_> = pieces
            .iter_mut()
            .zip(&cuts)
            .zip(&writes)
            .map(|((piece, &at), &write)| {
                if write {
                    Request::write(at as u64, piece)
                } else {
                    Request::read(at as u64, piece)
                }
            })
            .collect();
        assert!(
            requests
                .iter()
                .all(|request| request.result() == Err(Errno::CANCELED))
        );
        disk.submit_and_wait(&mut requests);
        for request in &requests {
            assert_eq!(request.result(), Ok(()), "round {round}, {}", disk.name());
        }
        drop(requests);
        for ((piece, &at), &write) in pieces.iter().zip(&cuts).zip(&writes) {
            if write {
                shadow[at..at + piece.len()].copy_from_slice(piece);
            } else {
                assert_eq!(piece[..], shadow[at..at + piece.len()], "round {round}");
            }
        }
    }
    let mut all = vec![0; LENGTH];
    disk.read_at(0, &mut all).unwrap();
    assert!(all == shadow, "{}", disk.name());
}

#[test]
fn batches_keep_a_shadow() {
    let mut random = Random::new();
    for disk in twins() {
        keeps_a_shadow(&*disk, &mut random);
    }
}

#[test]
fn many_buffers_in_one_request() {
    for disk in twins() {
        let pieces: Vec<Vec<u8>> = (0..50_u8)
            .map(|piece| vec![piece; piece as usize])
            .collect();
        let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let total: usize = pieces.iter().map(Vec::len).sum();
        let mut back = vec![0; total];
        let (front, rear) = back.split_at_mut(700);
        let mut scattered = [IoSliceMut::new(front), IoSliceMut::new(rear)];
        let mut batch = [
            Request::write_gathered(100, &slices),
            Request::write(9000, b"other"),
        ];
        disk.submit_and_wait(&mut batch);
        assert!(batch.iter().all(|request| request.result() == Ok(())));
        assert_eq!(batch[0].length_bytes(), total as u64);
        let mut batch = [Request::read_scattered(100, &mut scattered)];
        disk.submit_and_wait(&mut batch);
        assert_eq!(batch[0].result(), Ok(()));
        assert_eq!(back, pieces.concat());
        let too_many = vec![IoSlice::new(b"x"); MAX_BUFFERS + 1];
        let mut batch = [
            Request::write_gathered(0, &too_many),
            Request::write(0, b"y"),
        ];
        disk.submit_and_wait(&mut batch);
        assert_eq!(batch[0].result(), Err(Errno::INVAL));
        assert_eq!(batch[1].result(), Ok(()));
        let mut nothing: [Request<'_>; 2] =
            [Request::write_gathered(0, &[]), Request::read(0, &mut [])];
        disk.submit_and_wait(&mut nothing);
        assert!(nothing.iter().all(|request| request.result() == Ok(())));
    }
}

#[test]
fn each_request_has_its_own_outcome() {
    for disk in twins() {
        disk.write_at(0, &[1; 100]).unwrap();
        let (mut good, mut beyond, mut across) = ([0; 50], [0; 10], [0; 60]);
        let nowhere = RawBuffer {
            base: core::ptr::without_provenance_mut(1 << 42),
            length: 10,
        };
        let mut batch = [
            Request::read(0, &mut good),
            Request::read(4096, &mut beyond),
            Request::read(70, &mut across),
            // SAFETY: The kernel refuses the address; nothing is there.
            unsafe { Request::raw_one(Direction::Read, 0, nowhere) },
        ];
        disk.submit_and_wait(&mut batch);
        let results: Vec<_> = batch.iter().map(Request::result).collect();
        assert_eq!(
            results,
            [
                Ok(()),
                Err(Errno::NODATA),
                Err(Errno::NODATA),
                Err(Errno::FAULT)
            ],
            "{}",
            disk.name()
        );
        assert_eq!(good, [1; 50]);
        assert_eq!(across[..30], [1; 30]);
    }
}

#[test]
fn a_file_that_cannot_be_written_says_so() {
    let path = "/proc/self/exe";
    let open = || {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap()
    };
    let mut disks: Vec<Box<dyn BlockIo>> = vec![Box::new(Positioned::new(open()))];
    if let Some(uring) = uring(open(), 1, 8) {
        disks.push(Box::new(uring));
    }
    for disk in disks {
        let mut byte = [0];
        let mut batch = [Request::write(0, b"x"), Request::read(1, &mut byte)];
        disk.submit_and_wait(&mut batch);
        assert_eq!(batch[0].result(), Err(Errno::BADF), "{}", disk.name());
        assert_eq!(batch[1].result(), Ok(()));
        assert_eq!(byte, *b"E");
    }
}

#[test]
fn threads_share_rings_without_waiting() {
    let Some(disk) = uring(temporary(), 2, 4) else {
        return;
    };
    let length = 4096_u64;
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let disk = &disk;
            scope.spawn(move || {
                for round in 0..50_u8 {
                    let base = thread * 16 * length;
                    let pages = vec![round ^ thread as u8; length as usize];
                    let mut batch: Vec<_> = (0..16)
                        .map(|index| Request::write(base + index * length, &pages))
                        .collect();
                    disk.submit_and_wait(&mut batch);
                    assert!(batch.iter().all(|request| request.result() == Ok(())));
                    let mut back = vec![0; length as usize * 16];
                    let mut batch: Vec<_> = back
                        .chunks_mut(length as usize)
                        .enumerate()
                        .map(|(index, page)| Request::read(base + index as u64 * length, page))
                        .collect();
                    disk.submit_and_wait(&mut batch);
                    assert!(batch.iter().all(|request| request.result() == Ok(())));
                    assert!(back.iter().all(|&byte| byte == round ^ thread as u8));
                }
            });
        }
    });
}

/// A ring whose descriptor was closed or replaced behind our back: the work is done all the same.
#[test]
fn a_lost_ring_is_noticed_and_replaced_by_plain_calls() {
    let Some(disk) = uring(temporary(), 1, 8) else {
        return;
    };
    disk.replace_ring_descriptor_for_test();
    for round in 0..3_u8 {
        let (one, two) = ([round; 10], [round; 20]);
        let mut batch = [Request::write(0, &one), Request::write(100, &two)];
        disk.submit_and_wait(&mut batch);
        assert!(batch.iter().all(|request| request.result() == Ok(())));
        let mut back = [9; 20];
        disk.read_at(100, &mut back).unwrap();
        assert_eq!(back, two);
    }
}

#[test]
fn impossible_rings_are_refused() {
    assert_eq!(Uring::new(temporary(), 0, 8).unwrap_err(), Errno::INVAL);
    assert_eq!(Uring::new(temporary(), 1, 0).unwrap_err(), Errno::INVAL);
}

/// A device in memory that is interrupted every third time and never moves more than seven bytes.
#[derive(Debug)]
struct Reluctant {
    bytes: Mutex<Vec<u8>>,
    calls: AtomicU64,
}

impl OneTransfer for Reluctant {
    unsafe fn transfer(
        &self,
        direction: Direction,
        offset: u64,
        buffers: &[RawBuffer],
    ) -> Result<usize, Errno> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(3) {
            return Err(Errno::INTR);
        }
        let mut bytes = self.bytes.lock().unwrap();
        let mut done = 0;
        for buffer in buffers {
            for index in 0..buffer.length {
                let at = offset as usize + done;
                if done == 7 || at >= bytes.len() {
                    return Ok(done);
                }
                let cell = buffer.base.wrapping_add(index);
                // SAFETY: Inside a buffer of the request.
                unsafe {
                    match direction {
                        Direction::Read => cell.write(bytes[at]),
                        Direction::Write => bytes[at] = cell.read(),
                    }
                }
                done += 1;
            }
        }
        Ok(done)
    }
}

#[test]
fn short_and_interrupted_transfers_are_made_whole() {
    let device = Reluctant {
        bytes: Mutex::new(vec![0; 1 << 18]),
        calls: AtomicU64::new(0),
    };
    let disk = Positioned::new(device);
    keeps_a_shadow(&disk, &mut Random::new());
    let pieces: Vec<Vec<u8>> = (0..20_u8)
        .map(|piece| vec![piece; piece as usize])
        .collect();
    let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut batch = [Request::write_gathered(3, &slices)];
    disk.submit_and_wait(&mut batch);
    assert_eq!(batch[0].result(), Ok(()));
    let mut back = vec![0; pieces.concat().len()];
    disk.read_at(3, &mut back).unwrap();
    assert_eq!(back, pieces.concat());
    // The end of a device that takes no more is an error and no endless loop.
    assert_eq!(disk.write_at((1 << 18) - 2, b"abc"), Err(Errno::IO));
    assert_eq!(disk.read_at((1 << 18) - 2, &mut [0; 3]), Err(Errno::NODATA));
}

#[test]
fn misbehaviour_is_exactly_what_was_asked_for() {
    let disk = Faulty::new(Positioned::new(temporary()));
    disk.write_at(0, &[5; 64]).unwrap();
    let mut bytes = [0; 64];

    disk.add(Fault::Flips {
        offset: 10,
        mask: 0x80,
    });
    disk.read_at(0, &mut bytes).unwrap();
    assert_eq!((bytes[9], bytes[10], bytes[11]), (5, 0x85, 5));
    let (left, right) = bytes.split_at_mut(10);
    let mut two = [IoSliceMut::new(left), IoSliceMut::new(right)];
    let mut request = [Request::read_scattered(0, &mut two)];
    disk.submit_and_wait(&mut request);
    assert_eq!(bytes[10], 0x85);
    disk.read_at(11, &mut bytes[..8]).unwrap();
    assert_eq!(bytes[..8], [5; 8]);
    disk.heal();

    let direction = Direction::Write;
    disk.add(Fault::FailsOnce {
        direction,
        after: 1,
        errno: Errno::IO,
    });
    assert_eq!(disk.write_at(0, &[6; 4]), Ok(()));
    assert_eq!(disk.write_at(0, &[7; 4]), Err(Errno::IO));
    assert_eq!(disk.write_at(0, &[8; 4]), Ok(()));
    disk.add(Fault::FailsAfter {
        direction: Direction::Read,
        after: 0,
        errno: Errno::IO,
    });
    assert_eq!(disk.read_at(0, &mut bytes), Err(Errno::IO));
    assert_eq!(disk.read_at(0, &mut bytes), Err(Errno::IO));
    disk.heal();

    disk.add(Fault::EndsAt { offset: 32 });
    assert_eq!(disk.write_at(30, &[1; 4]), Err(Errno::NOSPC));
    assert_eq!(disk.read_at(30, &mut bytes[..4]), Err(Errno::IO));
    assert_eq!(disk.write_at(28, &[1; 4]), Ok(()));
    disk.heal();

    disk.add(Fault::LosesWritesAfter { after: 0 });
    assert_eq!(disk.write_at(0, &[99; 4]), Ok(()));
    disk.heal();
    disk.read_at(0, &mut bytes[..4]).unwrap();
    assert_eq!(bytes[..4], [8; 4], "claimed and not done");

    disk.add(Fault::TearsWriteAfter { after: 0 });
    assert_eq!(disk.write_at(0, &[77; 8]), Err(Errno::IO));
    disk.read_at(0, &mut bytes[..8]).unwrap();
    assert_eq!(bytes[..8], [77, 77, 77, 77, 5, 5, 5, 5]);
    let (reads, writes) = disk.counts();
    assert!(reads >= 7 && writes >= 8);
    assert_eq!(disk.inner().name(), "positioned");
}

/// Puts a scratch file under each number and says which files these are.
fn steal(numbers: &[std::os::fd::RawFd]) -> OwnedFd {
    use std::os::fd::{FromRawFd, IntoRawFd};
    let scratch = temporary();
    for &number in numbers {
        // SAFETY: A careless program does just that; the number is given away at once.
        let mut target = unsafe { OwnedFd::from_raw_fd(number) };
        rustix::io::dup2(&scratch, &mut target).unwrap();
        let _ = target.into_raw_fd();
    }
    scratch
}

/// The program closes or replaces the page file and the rings: no byte goes astray.
fn loses_no_byte<D: BlockIo>(disk: &D, numbers: impl Fn(&D) -> Vec<std::os::fd::RawFd>) {
    let mut pages = vec![1; 1 << 14];
    disk.write_at(0, &pages).unwrap();
    for round in 2..6_u8 {
        let scratch = (round % 2 == 0).then(|| steal(&numbers(disk)));
        if scratch.is_none() {
            // SAFETY: A careless program does just that.
            numbers(disk)
                .into_iter()
                .for_each(|number| unsafe { rustix::io::close(number) });
        }
        pages.fill(round);
        let mut batch: Vec<_> = pages
            .chunks(4096)
            .enumerate()
            .map(|(index, page)| Request::write(index as u64 * 4096, page))
            .collect();
        disk.submit_and_wait(&mut batch);
        assert!(
            batch.iter().all(|request| request.result() == Ok(())),
            "{}",
            disk.name()
        );
        let mut back = vec![0; 1 << 14];
        disk.read_at(0, &mut back).unwrap();
        assert!(back == pages, "{}", disk.name());
        if let Some(scratch) = scratch {
            let size = rustix::fs::fstat(&scratch).unwrap().st_size;
            assert_eq!(size, 0, "a stranger's file is left alone");
        }
    }
}

#[test]
fn kept_descriptors_are_taken_back() {
    let mut handle = crate::handle::Handle::from(temporary());
    handle.keep().unwrap();
    loses_no_byte(&Positioned::new(handle), |disk| {
        vec![std::os::fd::AsRawFd::as_raw_fd(disk.file())]
    });
    if let Some(mut uring) = uring(temporary(), 2, 8) {
        uring.keep().unwrap();
        loses_no_byte(&uring, Uring::numbers_for_test);
    }
}
