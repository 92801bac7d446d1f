//! System calls that fill copy-on-write views while their pages leave: none is refused, none ends short, and rights hold.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: buffers in views by address; calls of libc"
)]

mod section_support;
mod support;

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, SeekFrom, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};

use pagekeeper::{ByteCount, Protection, Section, Space, View};
use section_support::PAGE;
use support::{next, seed};

const MIB: usize = 1 << 20;
/// Of the view that is worked on, and of the one beside it that needs the same RAM.
const SIZE: usize = 24 * MIB;
/// What one call brings at most; a datagram's size is limited by the socket's.
const LONGEST: usize = 96 << 10;
const EFAULT: i32 = 14;

#[repr(C)]
struct Stream {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn fdopen(descriptor: c_int, mode: *const c_char) -> *mut Stream;
    fn fread(buffer: *mut c_void, size: usize, items: usize, stream: *mut Stream) -> usize;
    fn fseek(stream: *mut Stream, offset: i64, whence: c_int) -> c_int;
    fn dup(descriptor: c_int) -> c_int;
}

fn small_space() -> Space {
    Space::builder()
        .ram(ByteCount::mib(6))
        .page_file_maximum(ByteCount::mib(512))
        .build()
        .expect("a space")
}

fn copy_on_write(space: &Space, file: &File) -> View {
    let section = Section::from_file(space, file)
        .protection(Protection::WRITE_COPY)
        .build()
        .expect("a section");
    section.view().build().expect("a view")
}

/// What stands at a byte of the source.
fn byte_at(at: usize) -> u8 {
    (at as u64)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .to_be_bytes()[0]
}

fn source() -> File {
    let bytes: Vec<u8> = (0..SIZE).map(byte_at).collect();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).expect("room");
    file
}

fn zeros(size: usize) -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(size as u64).expect("a size");
    file
}

/// Bytes of the view.
#[allow(clippy::mut_from_ref, reason = "memory by address; one thread's")]
fn part(view: &View, at: usize, length: usize) -> &mut [u8] {
    assert!(at + length <= view.size().get() as usize);
    // SAFETY: inside the view, which outlives the slice; only this test's thread uses these bytes.
    unsafe { core::slice::from_raw_parts_mut(view.base().wrapping_add(at), length) }
}

/// Dirties a view of its own as fast as the pages leave.
fn press(space: &Space, stop: &AtomicBool) -> usize {
    let file = zeros(SIZE);
    let view = copy_on_write(space, &file);
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for page in (0..SIZE).step_by(PAGE as usize) {
            part(&view, page, 1)[0] = rounds as u8 | 1;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        rounds += 1;
    }
    rounds
}

/// Ends [`press`], also where an assertion fails.
struct Stop<'flag>(&'flag AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where the bytes come from.
struct Calls {
    source: File,
    stream: *mut Stream,
    sender: UnixDatagram,
    receiver: UnixDatagram,
}

impl Calls {
    const KINDS: u64 = 5;

    fn new() -> Self {
        let source = source();
        let (sender, receiver) = UnixDatagram::pair().expect("sockets");
        // SAFETY: a descriptor of our own, a string with its zero.
        let stream = unsafe { fdopen(dup(source.as_raw_fd()), c"r".as_ptr()) };
        assert!(!stream.is_null());
        Self {
            source,
            stream,
            sender,
            receiver,
        }
    }

    /// Fills `buffer` with what stands at `from` in the source, by one call of the kind `how`; how many bytes came.
    fn fill(&mut self, how: u64, buffer: &mut [u8], from: usize) -> std::io::Result<usize> {
        match how {
            0 => self.source.read_at(buffer, from as u64),
            1 => {
                self.source.seek(SeekFrom::Start(from as u64))?;
                self.source.read(buffer)
            }
            2 => {
                self.source.seek(SeekFrom::Start(from as u64))?;
                let (first, second) = buffer.split_at_mut(buffer.len() / 3);
                let mut both = [IoSliceMut::new(first), IoSliceMut::new(second)];
                self.source.read_vectored(&mut both)
            }
            3 => {
                let message: Vec<u8> = (from..from + buffer.len()).map(byte_at).collect();
                self.sender.send(&message)?;
                self.receiver.recv(buffer)
            }
            // SAFETY: the stream and the buffer are ours.
            _ => unsafe {
                assert_eq!(fseek(self.stream, from as i64, 0), 0);
                Ok(fread(
                    buffer.as_mut_ptr().cast(),
                    1,
                    buffer.len(),
                    self.stream,
                ))
            },
        }
    }
}

#[test]
fn calls_fill_copies_while_their_pages_leave() {
    let space = small_space();
    let file = zeros(SIZE);
    let view = copy_on_write(&space, &file);
    let (mut calls, mut random) = (Calls::new(), seed());
    // What each page of the view is to show: where it was filled from, if at all.
    let mut filled = vec![None; SIZE / PAGE as usize];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| press(&space, &stop));
        let _stop = Stop(&stop);
        for round in 0..1_000 {
            let length =
                (1 + next(&mut random) as usize % (LONGEST / PAGE as usize)) * PAGE as usize;
            let places = (SIZE - length) / PAGE as usize;
            let to = next(&mut random) as usize % places;
            let from = next(&mut random) as usize % places;
            let how = next(&mut random) % Calls::KINDS;
            let buffer = part(&view, to * PAGE as usize, length);
            let arrived = calls.fill(how, buffer, from * PAGE as usize);
            assert_eq!(
                arrived.ok(),
                Some(length),
                "round {round}, kind {how}, {to}"
            );
            for page in 0..length / PAGE as usize {
                filled[to + page] = Some(from + page);
            }
        }
    });
    for (page, from) in filled.into_iter().enumerate() {
        let shown = part(&view, page * PAGE as usize, PAGE as usize);
        for (at, shown) in shown.iter().enumerate() {
            let expected = from.map_or(0, |from| byte_at(from * PAGE as usize + at));
            assert_eq!(*shown, expected, "page {page} at {at}");
        }
    }
    // Nothing of it reached the file.
    let mut bytes = Vec::new();
    (&file).seek(SeekFrom::Start(0)).expect("seek");
    (&file).read_to_end(&mut bytes).expect("read");
    assert!(bytes.len() == SIZE && bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn pages_that_may_not_be_written_are_refused_and_nothing_is_taken() {
    let space = small_space();
    let file = zeros(MIB);
    let view = copy_on_write(&space, &file);
    let page = PAGE as usize;
    let kinds = [
        Protection::READ_ONLY,
        Protection::NO_ACCESS,
        Protection::WRITE_COPY.with_guard(),
    ];
    for (at, protection) in kinds.into_iter().enumerate() {
        let at = (2 * at + 1) * page;
        view.protect(at as u64, PAGE, protection).expect("allowed");
        let (mut reader, mut writer) = pipe().expect("a pipe");
        writer.write_all(b"kept").expect("room");
        let refused = reader
            .read(part(&view, at, 4))
            .expect_err("no right to write");
        assert_eq!(refused.raw_os_error(), Some(EFAULT), "{protection:?}");
        let mut mine = [0; 4];
        reader.read_exact(&mut mine).expect("still there");
        assert_eq!(&mine, b"kept");
        // What begins well ends short.
        let source = source();
        let short = source.read_at(part(&view, at - page, 2 * page), 0);
        assert_eq!(short.expect("a part"), page, "{protection:?}");
        assert_eq!(part(&view, at - page, page)[5], byte_at(5));
        let datagrams = UnixDatagram::pair().expect("sockets");
        datagrams.0.send(b"kept").expect("room");
        let refused = datagrams.1.recv(part(&view, at, 4)).expect_err("no right");
        assert_eq!(refused.raw_os_error(), Some(EFAULT), "{protection:?}");
    }
}

#[test]
fn a_page_that_becomes_copied_later_counts_as_one() {
    let space = small_space();
    let file = zeros(SIZE);
    let section = Section::from_file(&space, &file)
        .protection(Protection::READ_WRITE)
        .build()
        .expect("a section");
    let view = section.view().build().expect("a view");
    view.protect(0, SIZE as u64, Protection::WRITE_COPY)
        .expect("allowed");
    let (mut calls, mut random) = (Calls::new(), seed());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| press(&space, &stop));
        let _stop = Stop(&stop);
        for round in 0..1_000 {
            let to = next(&mut random) as usize % (SIZE - LONGEST);
            let buffer = part(&view, to, LONGEST);
            let arrived = calls.fill(round % Calls::KINDS, buffer, to);
            assert_eq!(arrived.ok(), Some(LONGEST), "round {round}");
        }
    });
}
