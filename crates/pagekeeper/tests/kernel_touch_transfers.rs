//! Far more bytes than the budget through files, streams, sockets and pipes, straight into and out of paged memory; and
//! what has to be refused. Each test is a process of its own. `PAGEKEEPER_LONG=1` moves a GiB instead of 256 MiB.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: slices of committed memory; calls of libc"
)]

mod support;
#[macro_use]
mod touch_support;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use pagekeeper::{ByteCount, EngineKind, Protection, RegionState, Resident, Space};
use support::alone;
use touch_support::{Paged, errno, int};

fn size() -> usize {
    if std::env::var_os("PAGEKEEPER_LONG").is_some() {
        1 << 30
    } else {
        256 << 20
    }
}

/// Budget: 16 MiB, or 64 MiB for a GiB.
fn region(size: usize) -> Paged {
    Paged::new(
        ByteCount::new((size as u64 / 16).max(4 << 20)),
        ByteCount::new(size as u64),
    )
}

fn folder() -> tempfile::TempDir {
    let place = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    tempfile::tempdir_in(place).expect("a folder")
}

/// All bytes of the region.
#[allow(
    clippy::mut_from_ref,
    reason = "memory by address; each test uses one slice at a time"
)]
fn bytes(paged: &Paged) -> &mut [u8] {
    let size = paged.region.size().get() as usize;
    // SAFETY: committed; each test uses one slice at a time.
    unsafe { std::slice::from_raw_parts_mut(paged.region.base(), size) }
}

/// The word that belongs at an offset: half of the pages compress, half do not.
fn word(at: usize, salt: u64) -> u64 {
    let value = (at as u64 ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    if (at / 4096).is_multiple_of(2) {
        value ^ value >> 29
    } else {
        at as u64 / 64
    }
}

fn fill(bytes: &mut [u8], salt: u64) {
    for (index, part) in bytes.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&word(index * 8, salt).to_ne_bytes());
    }
}

#[track_caller]
fn check(bytes: &[u8], from: usize, salt: u64) {
    for (index, part) in bytes.chunks_exact(8).enumerate() {
        let at = from + index * 8;
        assert_eq!(
            u64::from_ne_bytes(part.try_into().expect("eight bytes")),
            word(at, salt),
            "at {at}"
        );
    }
}

#[test]
fn files_are_read_into_and_written_from_memory_that_is_out() {
    alone(
        "files_are_read_into_and_written_from_memory_that_is_out",
        || {
            let folder = folder();
            let path = folder.path().join("file");
            let paged = region(size());
            fill(bytes(&paged), 1);
            let mut file = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .expect("open");
            file.write_all(bytes(&paged)).expect("written");
            let mut part = vec![0; 1 << 20];
            file.rewind().expect("rewound");
            for from in (0..size()).step_by(part.len()) {
                file.read_exact(&mut part).expect("read");
                check(&part, from, 1);
            }
            bytes(&paged).fill(0xEE);
            file.rewind().expect("rewound");
            file.read_exact(bytes(&paged)).expect("read");
            check(bytes(&paged), 0, 1);
        },
    );
}

#[test]
fn a_stream_of_libc_reads_and_writes_it_too() {
    alone("a_stream_of_libc_reads_and_writes_it_too", || {
        let folder = folder();
        let path = std::ffi::CString::new(folder.path().join("file").to_str().expect("plain"))
            .expect("plain");
        let paged = region(size() / 4);
        let size = size() / 4;
        fill(bytes(&paged), 2);
        // SAFETY: a stream of our own.
        unsafe {
            let stream = libc::fopen(path.as_ptr(), c"w+".as_ptr());
            assert_eq!(
                libc::fwrite(bytes(&paged).as_ptr().cast(), 4096, size / 4096, stream),
                size / 4096
            );
            libc::rewind(stream);
            bytes(&paged).fill(0);
            assert_eq!(
                libc::fread(bytes(&paged).as_mut_ptr().cast(), 1, size, stream),
                size
            );
            libc::fclose(stream);
        }
        check(bytes(&paged), 0, 2);
    });
}

/// Sends half of a region from one end to the other half.
fn through(paged: &Paged, mut writer: impl Write + Send, mut reader: impl Read) {
    let all = bytes(paged);
    let (first, second) = all.split_at_mut(all.len() / 2);
    fill(first, 3);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(first).expect("written");
            drop(writer);
        });
        reader.read_exact(second).expect("read");
    });
    check(second, 0, 3);
}

#[test]
fn a_pipe_carries_it() {
    alone("a_pipe_carries_it", || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        through(&region(size() / 2), writer, reader);
    });
}

#[test]
fn a_tcp_connection_carries_it() {
    alone("a_tcp_connection_carries_it", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let writer =
            TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (reader, _) = listener.accept().expect("accepted");
        through(&region(size() / 2), writer, reader);
    });
}

#[test]
fn datagrams_arrive_whole() {
    alone("datagrams_arrive_whole", || {
        const LENGTH: usize = 60_000 / 8 * 8;
        let paged = region(64 << 20);
        let all = bytes(&paged);
        let (first, second) = all.split_at_mut(32 << 20);
        fill(first, 4);
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        sender
            .connect(receiver.local_addr().expect("an address"))
            .expect("connected");
        for (from, to) in first.chunks(LENGTH).zip(second.chunks_mut(LENGTH)) {
            assert_eq!(sender.send(from).expect("sent"), from.len());
            assert_eq!(receiver.recv(to).expect("received"), to.len());
        }
        check(second, 0, 4);
        // A room that is too small cuts the datagram off, as ever.
        sender.send(&first[..1000]).expect("sent");
        assert_eq!(receiver.recv(&mut second[..100]).expect("received"), 100);
    });
}

#[test]
fn writes_at_the_end_of_a_file_stay_in_one_piece() {
    alone("writes_at_the_end_of_a_file_stay_in_one_piece", || {
        const RECORD: usize = 700_000;
        let folder = folder();
        let path = folder.path().join("file");
        let paged = region(16 << 20);
        bytes(&paged)
            .chunks_mut(RECORD)
            .enumerate()
            .for_each(|(index, part)| part.fill(index as u8 + 1));
        std::thread::scope(|scope| {
            for record in bytes(&paged).chunks_exact(RECORD).take(8) {
                let path = &path;
                scope.spawn(move || {
                    let mut file = File::options()
                        .append(true)
                        .create(true)
                        .open(path)
                        .expect("open");
                    for _ in 0..4 {
                        assert_eq!(file.write(record).expect("written"), RECORD);
                    }
                });
            }
        });
        let written = std::fs::read(&path).expect("read");
        assert_eq!(written.len(), 32 * RECORD);
        assert!(
            written
                .chunks(RECORD)
                .all(|record| record.iter().all(|byte| *byte == record[0]))
        );
    });
}

#[test]
fn what_the_protection_forbids_fails_and_takes_nothing() {
    alone(
        "what_the_protection_forbids_fails_and_takes_nothing",
        || {
            let space = Space::builder()
                .ram(ByteCount::mib(1))
                .engine(pagekeeper::EngineKind::Inline)
                .build()
                .expect("a space");
            let region = space
                .reserve(ByteCount::kib(128))
                .build()
                .expect("address space");
            region
                .commit(..16384, Protection::READ_WRITE)
                .expect("room");
            region
                .commit(16384..32768, Protection::READ_ONLY)
                .expect("room");
            region
                .commit(32768..49152, Protection::READ_WRITE.with_guard())
                .expect("room");
            region.trim(..);
            let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
            writer.write_all(b"twelve bytes").expect("written");
            let file = File::open("/dev/zero").expect("open");
            // Read-only, guard, reserved.
            for offset in [16384, 32768, 65536] {
                let at = region.base().wrapping_add(offset);
                assert_eq!(
                    (call!("read", reader.as_raw_fd(), at, 12_usize), errno()),
                    (-1, libc::EFAULT),
                    "{offset}"
                );
                assert_eq!(
                    (call!("read", file.as_raw_fd(), at, 12_usize), errno()),
                    (-1, libc::EFAULT),
                    "{offset}"
                );
                assert_eq!(
                    (call!("recv", reader.as_raw_fd(), at, 12_usize, 0), errno()).0,
                    -1
                );
                assert_eq!(
                    (int(call!("fstat", file.as_raw_fd(), at)), errno()),
                    (-1, libc::EFAULT),
                    "{offset}"
                );
            }
            assert_eq!(
                (
                    call!(
                        "write",
                        writer.as_raw_fd(),
                        region.base().wrapping_add(65536),
                        12_usize
                    ),
                    errno()
                ),
                (-1, libc::EFAULT)
            );
            assert_eq!(
                (
                    call!(
                        "write",
                        writer.as_raw_fd(),
                        region.base().wrapping_add(32768),
                        12_usize
                    ),
                    errno()
                ),
                (-1, libc::EFAULT)
            );
            let state = region.query(32768).expect("known").state;
            assert!(
                matches!(state, RegionState::Committed(kind) if kind.is_guard()),
                "still armed: {state:?}"
            );
            // As far as it goes: a buffer that ends in a read-only page.
            let at = region.base().wrapping_add(16384 - 5);
            assert_eq!(
                call!("read", reader.as_raw_fd(), at, 12_usize),
                5,
                "a short count"
            );
            let mut rest = [0; 7];
            reader.read_exact(&mut rest).expect("nothing was lost");
            assert_eq!(&rest, b"e bytes");
            // The kernel may read what is read-only.
            assert_eq!(
                call!(
                    "write",
                    writer.as_raw_fd(),
                    region.base().wrapping_add(16384),
                    100_usize
                ),
                100
            );
        },
    );
}

/// `read` past every function.
fn bare_read(descriptor: i32, buffer: *mut u8, count: usize) -> isize {
    let result: isize;
    // SAFETY: the system call writes into the buffer.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_read as isize => result,
            in("rdi") descriptor as isize,
            in("rsi") buffer,
            in("rdx") count,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[test]
fn a_bare_system_call_needs_the_memory_held() {
    alone("a_bare_system_call_needs_the_memory_held", || {
        let mut paged = Paged::small();
        let buffer = paged.room(20_000);
        let file = File::open("/dev/urandom").expect("open");
        paged.out();
        assert_eq!(
            bare_read(file.as_raw_fd(), buffer, 20_000),
            -(libc::EFAULT as isize)
        );
        let held = Resident::for_writing(buffer, 20_000).expect("held");
        assert_eq!(bare_read(file.as_raw_fd(), buffer, 20_000), 20_000);
        drop(held);
        paged.out();
        assert!(
            Resident::for_writing(paged.region.base(), 8 << 20).is_err(),
            "more than the budget can spare"
        );
        let slice = bytes(&paged);
        assert!(pagekeeper::with_resident(&slice[..4096], |part| part.len()).is_ok());
        assert_eq!(
            pagekeeper::with_resident_mut(&mut [1, 2, 3], |part| part.len())
                .expect("ordinary memory"),
            3
        );
        paged.out();
    });
}

/// The wrapped calls ask for the span of all arenas first, which grows and shrinks as others come and go.
#[test]
fn memory_is_recognised_while_other_arenas_come_and_go() {
    alone(
        "memory_is_recognised_while_other_arenas_come_and_go",
        || {
            let paged = Paged::new(ByteCount::mib(1), ByteCount::mib(4));
            let all = bytes(&paged);
            fill(all, 3);
            std::thread::scope(|scope| {
                let others = scope.spawn(|| {
                    for round in 0..60 {
                        let other = support::space(EngineKind::Inline, ByteCount::mib(1));
                        // Below everything, or above it.
                        let reservation = other.reserve(ByteCount::mib(1));
                        let reservation = if round % 2 == 0 {
                            reservation.at(0x2000_0000)
                        } else {
                            reservation.top_down()
                        };
                        let reservation = reservation.committed().build().expect("a free place");
                        support::write_page(&reservation, 0, round);
                        paged.region.trim(..);
                    }
                });
                let mut sink = tempfile::tempfile_in(folder().path()).expect("a file");
                let mut part = 0;
                while !others.is_finished() {
                    let from = part * 16_384 % all.len();
                    sink.rewind().expect("a file");
                    sink.write_all(&all[from..from + 16_384])
                        .expect("recognised");
                    part += 1;
                }
                println!("{part} writes");
            });
            check(all, 0, 3);
        },
    );
}
