//! Sockets, messages and waiting for descriptors.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use super::{Case, noise};
use crate::touch_support::{Paged, errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(&["send", "sendto", "recv", "recvfrom"], DATAGRAM);
    add(&["sendmsg", "recvmsg", "sendmmsg", "recvmmsg"], MESSAGE);
    add(
        &[
            "connect",
            "bind",
            "accept",
            "accept4",
            "getsockname",
            "getpeername",
        ],
        ADDRESS,
    );
    add(&["getsockopt", "setsockopt"], OPTION);
    add(&["pipe", "pipe2", "socketpair"], PAIR);
    add(&["eventfd_read"], EVENT);
    add(&["poll", "ppoll", "select", "pselect"], POLL);
    add(
        &["epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2"],
        EPOLL,
    );
    all
}

/// A datagram that takes several pages.
const LENGTH: usize = 30_000;

fn udp() -> (UdpSocket, UdpSocket) {
    let first = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let second = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    first
        .connect(second.local_addr().expect("an address"))
        .expect("connected");
    second
        .connect(first.local_addr().expect("an address"))
        .expect("connected");
    (first, second)
}

const DATAGRAM: Case = |name, paged| {
    let (ours, other) = udp();
    let bytes = noise(LENGTH, 7);
    if name.starts_with("send") {
        let buffer = paged.bytes(&bytes);
        let address = paged.value(address_of(&other));
        paged.out();
        let sent = match name {
            "send" => call!(name, ours.as_raw_fd(), buffer, LENGTH, 0),
            _ => call!(name, ours.as_raw_fd(), buffer, LENGTH, 0, address, 16),
        };
        assert_eq!(sent, LENGTH as isize, "{name}: {}", errno());
        let mut arrived = vec![0; 2 * LENGTH];
        assert_eq!(other.recv(&mut arrived).expect("a datagram"), LENGTH);
        assert!(arrived[..LENGTH] == bytes);
    } else {
        other.send(&bytes).expect("sent");
        let buffer = paged.room(2 * LENGTH);
        let address = paged.value([0_u32; 4]);
        let length = paged.value(16_u32);
        paged.out();
        let got = match name {
            "recv" => call!(name, ours.as_raw_fd(), buffer, 2 * LENGTH, 0),
            _ => call!(
                name,
                ours.as_raw_fd(),
                buffer,
                2 * LENGTH,
                0,
                address,
                length
            ),
        };
        assert_eq!(got, LENGTH as isize, "{name}: {}", errno());
        assert!(paged.slice(buffer, LENGTH) == bytes);
        assert!(name == "recv" || paged.get(address) == address_of(&other));
    }
};

/// The socket's address as the kernel writes it.
fn address_of(socket: &impl AsRawFd) -> [u32; 4] {
    let mut address = [0_u32; 4];
    let mut length = 16;
    // SAFETY: room for an IPv4 address.
    unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut length,
        )
    };
    address
}

/// A message header with two buffers and room for control data, all in paged memory.
fn header(paged: &mut Paged, first: *mut u8, second: *mut u8) -> *mut libc::mmsghdr {
    let vectors = paged.value([
        first.expose_provenance(),
        1000,
        second.expose_provenance(),
        2000,
    ]);
    let control = paged.room(64);
    // SAFETY: plain words.
    let mut message: libc::mmsghdr = unsafe { core::mem::zeroed() };
    message.msg_hdr.msg_iov = vectors.cast();
    message.msg_hdr.msg_iovlen = 2;
    message.msg_hdr.msg_control = control.cast();
    message.msg_hdr.msg_controllen = 24;
    // SAFETY: one descriptor to hand over.
    unsafe {
        let header = control.cast::<libc::cmsghdr>();
        header.write(libc::cmsghdr {
            cmsg_len: 20,
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        });
        header.add(1).cast::<i32>().write(2);
    }
    paged.value(message)
}

const MESSAGE: Case = |name, paged| {
    let (ours, other) = UnixDatagram::pair().expect("sockets");
    let bytes = noise(3000, 8);
    let (first, second) = (paged.bytes(&bytes[..1000]), paged.bytes(&bytes[1000..]));
    let message = header(paged, first, second);
    let plural = name.contains("mmsg");
    paged.out();
    if name.starts_with("send") {
        let sent = if plural {
            call!(name, ours.as_raw_fd(), message, 1, 0)
        } else {
            call!(name, ours.as_raw_fd(), message, 0)
        };
        assert_eq!(
            int(sent),
            if plural { 1 } else { 3000 },
            "{name}: {}",
            errno()
        );
        assert!(!plural || paged.get(message).msg_len == 3000);
        let mut arrived = [0; 4000];
        assert_eq!(other.recv(&mut arrived).expect("a message"), 3000);
        assert!(arrived[..3000] == bytes);
        return;
    }
    let sender = if plural { "sendmmsg" } else { "sendmsg" };
    assert!(
        int(call!(
            sender,
            other.as_raw_fd(),
            message,
            if plural { 1 } else { 0 },
            0
        )) > 0
    );
    let blank = [0_u8; 2000];
    let (first, second) = (paged.bytes(&blank[..1000]), paged.bytes(&blank));
    let message = header(paged, first, second);
    let time = paged.value([5_i64, 0]);
    paged.out();
    let got = if plural {
        call!(name, ours.as_raw_fd(), message, 1, 0, time)
    } else {
        call!(name, ours.as_raw_fd(), message, 0)
    };
    assert_eq!(
        int(got),
        if plural { 1 } else { 3000 },
        "{name}: {}",
        errno()
    );
    assert!(
        paged.slice(first, 1000) == bytes[..1000] && paged.slice(second, 2000) == bytes[1000..]
    );
    let header = paged.get(message).msg_hdr;
    assert_eq!(header.msg_controllen, 24, "the control data arrived");
    let number: i32 = paged.get(header.msg_control.cast::<u8>().wrapping_add(16).cast());
    assert!(number > 2, "a new descriptor");
    // SAFETY: it is ours now.
    unsafe { libc::close(number) };
};

const ADDRESS: Case = |name, paged| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = paged.value(address_of(&listener));
    let blank = paged.value([0_u32; 4]);
    let length = paged.value(16_u32);
    // SAFETY: a socket of our own.
    let fresh = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    let local = paged.value([2_u32, 0x0100_007F, 0, 0]);
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    paged.out();
    match name {
        "connect" => assert_eq!(int(call!(name, fresh, address, 16)), 0, "{}", errno()),
        "bind" => assert_eq!(int(call!(name, fresh, local, 16)), 0, "{}", errno()),
        "getsockname" => {
            assert_eq!(int(call!(name, listener.as_raw_fd(), blank, length)), 0);
            assert_eq!(paged.get(blank), address_of(&listener));
        }
        "getpeername" => {
            assert_eq!(int(call!(name, client.as_raw_fd(), blank, length)), 0);
            assert_eq!(paged.get(blank), address_of(&listener));
        }
        _ => {
            let accepted = int(call!(
                name,
                listener.as_raw_fd(),
                blank,
                length,
                libc::SOCK_CLOEXEC
            ));
            assert!(accepted >= 0);
            assert_eq!(paged.get(blank), address_of(&client));
            // SAFETY: ours.
            unsafe { libc::close(accepted) };
        }
    }
    assert_eq!(paged.get(length), 16);
    // SAFETY: ours.
    unsafe { libc::close(fresh) };
};

const OPTION: Case = |name, paged| {
    let (socket, _other) = udp();
    let value = paged.value(1_i32);
    let length = paged.value(4_u32);
    paged.out();
    let result = match name {
        "setsockopt" => call!(
            name,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            value,
            4
        ),
        _ => call!(
            name,
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            value,
            length
        ),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert!(name == "setsockopt" || paged.get(value) == libc::SOCK_DGRAM);
};

const PAIR: Case = |name, paged| {
    let numbers = paged.value([-1_i32; 2]);
    paged.out();
    let result = match name {
        "socketpair" => call!(name, libc::AF_UNIX, libc::SOCK_STREAM, 0, numbers),
        _ => call!(name, numbers, 0),
    };
    assert_eq!(int(result), 0);
    for number in paged.get(numbers) {
        // SAFETY: ours.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }
};

const EVENT: Case = |name, paged| {
    let value = paged.value(0_u64);
    paged.out();
    // SAFETY: a descriptor of our own.
    unsafe {
        let event = libc::eventfd(7, libc::EFD_CLOEXEC);
        assert_eq!(int(call!(name, event, value)), 0);
        libc::close(event);
    }
    assert_eq!(paged.get(value), 7);
};

const POLL: Case = |name, paged| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"!").expect("written");
    let number = reader.as_raw_fd();
    let entry = paged.value(libc::pollfd {
        fd: number,
        events: libc::POLLIN,
        revents: 0,
    });
    let mut set = [0_u64; 16];
    set[number as usize / 64] = 1 << (number % 64);
    let reading = paged.value(set);
    let failing = paged.value(set);
    let time = paged.value([5_i64, 0]);
    let mask = paged.value([u64::MAX; 16]);
    paged.out();
    let result = match name {
        "poll" => call!(name, entry, 1, 5000),
        "ppoll" => call!(name, entry, 1, time, mask),
        "select" => call!(name, number + 1, reading, 0_usize, failing, time),
        _ => call!(name, number + 1, reading, 0_usize, failing, time, mask),
    };
    assert_eq!(int(result), 1, "{name}: {}", errno());
    if name.ends_with("poll") {
        assert_eq!(paged.get(entry).revents, libc::POLLIN);
    } else {
        assert_eq!(paged.get(reading), set);
        assert_eq!(paged.get(failing), [0; 16]);
    }
    drop(writer);
};

const EPOLL: Case = |name, paged| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"!").expect("written");
    let event = paged.value(libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 4711,
    });
    let all = paged.value([libc::epoll_event { events: 0, u64: 0 }; 8]);
    let time = paged.value([5_i64, 0]);
    let mask = paged.value([u64::MAX; 16]);
    // SAFETY: a descriptor of our own.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    paged.out();
    assert_eq!(
        int(call!(
            "epoll_ctl",
            epoll,
            libc::EPOLL_CTL_ADD,
            reader.as_raw_fd(),
            event
        )),
        0
    );
    paged.out();
    let result = match name {
        "epoll_pwait" => call!(name, epoll, all, 8, 5000, mask),
        "epoll_pwait2" => call!(name, epoll, all, 8, time, mask),
        _ => call!("epoll_wait", epoll, all, 8, 5000),
    };
    assert_eq!(int(result), 1, "{name}: {}", errno());
    let first = paged.get(all)[0];
    assert_eq!({ first.u64 }, 4711);
    // SAFETY: ours.
    unsafe { libc::close(epoll) };
    drop(writer);
};
