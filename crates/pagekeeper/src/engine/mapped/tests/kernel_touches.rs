//! The kernel touches memory that is out: system calls and locks just work.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::*;

/// 32 MiB of file pages in an 8 MiB budget, all of it out.
fn paged_out() -> Memory {
    let memory = Memory::of_file(8 * MIB, 32 * MIB);
    memory.commit(0, 32 * MIB);
    for page in 0..32 * MIB {
        memory.write(page, page.wrapping_mul(0x9E37_79B9));
    }
    memory.engine.trim(memory.arena);
    memory
}

#[test]
fn files_are_read_into_and_written_from_pages_that_are_out() {
    let memory = paged_out();
    let mut file = tempfile::tempfile_in(folder()).unwrap();
    file.write_all(memory.bytes(0, 32 * MIB)).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    for page in 0..32 * MIB {
        memory.write(page, 0);
    }
    memory.engine.trim(memory.arena);
    file.read_exact(memory.bytes(0, 32 * MIB)).unwrap();
    for page in 0..32 * MIB {
        assert_eq!(memory.read(page), page.wrapping_mul(0x9E37_79B9));
    }
}

#[test]
fn sockets_and_pipes_carry_pages_that_are_out() {
    let memory = paged_out();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let half = (16 * MIB) << 12;
    let (first, second) = memory.bytes(0, 32 * MIB).split_at_mut(half as usize);
    std::thread::scope(|scope| {
        scope.spawn(move || listener.accept().unwrap().0.write_all(first).unwrap());
        TcpStream::connect(address)
            .unwrap()
            .read_exact(second)
            .unwrap();
    });
    for page in 0..16 * MIB {
        assert_eq!(memory.read(16 * MIB + page), page.wrapping_mul(0x9E37_79B9));
    }
    memory.engine.trim(memory.arena);
    let (one, two) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    two.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    one.send_to(&memory.bytes(100, 8)[..30_000], two.local_addr().unwrap())
        .unwrap();
    assert_eq!(two.recv(&mut memory.bytes(5000, 8)[..]).unwrap(), 30_000);
    assert_eq!(memory.read(5007), memory.read(107));
}

#[test]
fn a_mutex_and_a_condition_live_in_pages_that_are_out() {
    #[repr(C)]
    struct Shared {
        mutex: libc::pthread_mutex_t,
        condition: libc::pthread_cond_t,
        count: u64,
    }
    let memory = Memory::of_file(4 * MIB, 16 * MIB);
    memory.commit(0, 16 * MIB);
    let shared = memory.bytes(77, 1).as_mut_ptr().cast::<Shared>();
    // SAFETY: A committed page, large and aligned enough, used by these threads only.
    unsafe {
        shared.write(Shared {
            mutex: libc::PTHREAD_MUTEX_INITIALIZER,
            condition: libc::PTHREAD_COND_INITIALIZER,
            count: 0,
        });
    }
    let address = shared.expose_provenance();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let memory = &memory;
            scope.spawn(move || {
                let shared: *mut Shared = core::ptr::with_exposed_provenance_mut(address);
                let mut random = Random::of(thread + 1);
                for round in 0..3_000 {
                    // SAFETY: The mutex was initialised above and lives until the threads are done.
                    unsafe {
                        assert_eq!(libc::pthread_mutex_lock(&raw mut (*shared).mutex), 0);
                        (*shared).count += 1;
                        while round % 64 == 0 && (*shared).count % 4 != thread {
                            let _ = libc::pthread_cond_broadcast(&raw mut (*shared).condition);
                            (*shared).count += 1;
                        }
                        assert_eq!(libc::pthread_mutex_unlock(&raw mut (*shared).mutex), 0);
                    }
                    memory.write(512 + random.below(15 * MIB - 512), round);
                    if round % 100 == 0 {
                        memory.engine.trim(memory.pages(0, 512));
                    }
                }
            });
        }
    });
    // SAFETY: As above; no thread is left.
    assert!(unsafe { (*shared).count } >= 12_000);
}

#[test]
fn names_and_arguments_may_be_out() {
    let memory = paged_out();
    memory.bytes(40, 1)[..10].copy_from_slice(b"/dev/null\0");
    memory.engine.trim(memory.arena);
    let name = memory.bytes(40, 1).as_ptr().cast::<libc::c_char>();
    // SAFETY: A string with an end, in committed memory.
    let number = unsafe { libc::open(name, libc::O_RDONLY) };
    assert!(number >= 0);
    // SAFETY: Just opened.
    unsafe { libc::close(number) };
}

#[test]
fn a_thread_with_every_signal_blocked_pages() {
    let memory = paged_out();
    let blocked = pagekeeper_sys::lock::SignalsBlocked::new();
    for page in 0..32 * MIB {
        assert_eq!(memory.read(page), page.wrapping_mul(0x9E37_79B9));
    }
    drop(blocked);
}
