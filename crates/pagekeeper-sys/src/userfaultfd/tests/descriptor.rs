//! Opening, refusals, events, and a program that closes descriptors.

use super::*;

#[test]
fn an_ordinary_user_gets_a_user_mode_descriptor() {
    let offered = match Userfaultfd::offered(FaultScope::UserMode) {
        Ok(offered) => offered,
        Err(error) => return println!("skipped, because {error}"),
    };
    assert!(offered.contains(UffdFeatures::SIGBUS | UffdFeatures::MISSING_SHMEM));
    let uffd = inline(UffdFeatures::empty(), UffdFeatures::MOVE).unwrap();
    assert_eq!(
        uffd.features().contains(UffdFeatures::MOVE),
        offered.contains(UffdFeatures::MOVE)
    );
}

#[test]
fn refusals_keep_their_numbers() {
    let unheard_of = UffdFeatures::from_bits_retain(1 << 63);
    let none = UffdFeatures::empty();
    match Userfaultfd::open(unheard_of, none, FaultScope::UserMode) {
        Err(OpenError::Lacking { missing }) => assert_eq!(missing, unheard_of),
        Err(OpenError::Refused { .. }) => println!("skipped, because userfaultfd is refused"),
        other => panic!("{other:?}"),
    }
    match Userfaultfd::open(none, none, FaultScope::UserAndKernel) {
        Ok(_) => println!("this user may answer the kernel's faults"),
        Err(OpenError::Refused { device, call }) => {
            assert!(
                matches!(device, Errno::NOENT | Errno::ACCESS | Errno::PERM),
                "{device}"
            );
            assert!(matches!(call, Errno::PERM | Errno::NOSYS), "{call}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_descriptor_that_is_something_else_is_noticed() {
    let file = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()).unwrap();
    let uffd = Userfaultfd::from_descriptor(file, UffdFeatures::SIGBUS, OpenedBy::Device);
    let memory = reserve(PageCount::ONE, Access::READ_WRITE, Treatment::empty()).unwrap();
    let progress = copy(&uffd, memory.range(), &source(1, 1));
    assert_eq!(progress, done(0, Some(Errno::NOTTY)));
    // SAFETY: Cannot succeed.
    let registered = unsafe { uffd.register(memory.range(), Modes::MISSING) };
    assert_eq!(registered, Err(Errno::NOTTY));
}

#[test]
fn a_descriptor_can_be_moved_up() {
    let Some(mut uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    let memory = arena(&uffd, 2, Modes::MISSING);
    let lowest = 500;
    if crate::rlimit::descriptors() < 600 {
        return println!("skipped, because fewer than 600 descriptors are allowed");
    }
    uffd.raise_above(lowest).unwrap();
    assert!(uffd.as_raw_fd() >= lowest);
    assert_eq!(
        read_by_kernel(memory.page(0)),
        Err(Errno::FAULT),
        "still registered"
    );
    assert!(copy(&uffd, memory.range(), &source(2, 1)).is_complete());
    let number = uffd.as_raw_fd();
    assert_eq!(uffd.raise_above(i32::MAX), Err(Errno::INVAL));
    assert_eq!(uffd.as_raw_fd(), number);
}

/// Message mode: a thread waits, we are told, we fill, it goes on.
#[test]
fn a_waiting_thread_is_reported_and_woken() {
    let wanted = UffdFeatures::EXACT_ADDRESS | UffdFeatures::THREAD_ID;
    let uffd = match Userfaultfd::open(wanted, UffdFeatures::empty(), FaultScope::UserMode) {
        Ok(uffd) => uffd,
        Err(error) => return println!("skipped, because {error}"),
    };
    let memory = arena(&uffd, 2, Modes::MISSING);
    let address = memory.range().address() + PAGE_SIZE as u64 + 5;
    let mut buffer = EventBuffer::default();
    assert_eq!(uffd.read_events(&mut buffer, |_| ()), Ok(0));
    assert_eq!(uffd.wait(Some(1)), Ok(false));
    std::thread::scope(|scope| {
        let toucher = scope.spawn(|| {
            let pointer = core::ptr::with_exposed_provenance::<u8>(address as usize);
            // SAFETY: Inside the arena, which lives longer; the page is filled below.
            let value = unsafe { pointer.read_volatile() };
            (
                value,
                rustix::thread::gettid().as_raw_nonzero().get() as u32,
            )
        });
        assert_eq!(uffd.wait(Some(10_000)), Ok(true));
        let mut fault = None;
        let count = uffd
            .read_events(&mut buffer, |event| fault = Some(event))
            .unwrap();
        assert_eq!(count, 1);
        let bytes = source(1, 77);
        // SAFETY: The source is long enough; the range is ours.
        let progress =
            unsafe { uffd.copy(pages(&memory, 1, 1), bytes.as_ptr(), CopyMode::empty()) };
        assert!(progress.is_complete());
        let (value, number) = toucher.join().unwrap();
        assert_eq!(value, 77);
        match fault {
            Some(Event::Fault {
                address: told,
                write,
                write_protected,
                minor,
                thread,
            }) => {
                assert_eq!((told, thread), (address, number));
                assert!(!write && !write_protected && !minor);
            }
            other => panic!("{other:?}"),
        }
    });
}

/// While an event is unread every resolving call says EAGAIN; afterwards all is well.
#[test]
fn unread_events_hold_every_answer_up() {
    let wanted = UffdFeatures::EVENT_REMOVE | UffdFeatures::EVENT_UNMAP;
    let uffd = match Userfaultfd::open(wanted, UffdFeatures::empty(), FaultScope::UserMode) {
        Ok(uffd) => uffd,
        Err(error) => return println!("skipped, because {error}"),
    };
    let mut memory = arena(&uffd, 8, Modes::MISSING);
    let removed = pages(&memory, 2, 3);
    let kept = pages(&memory, 0, 6);
    let next = |uffd: &Userfaultfd| {
        assert_eq!(uffd.wait(Some(10_000)), Ok(true));
        let mut found = None;
        uffd.read_events(&mut EventBuffer::default(), |event| found = Some(event))
            .unwrap();
        found.unwrap()
    };
    std::thread::scope(|scope| {
        // SAFETY: Ours; the caller of madvise sleeps until the event is read.
        let remover = scope.spawn(|| unsafe { map::advise(removed, Advice::Discard) });
        assert_eq!(uffd.wait(Some(10_000)), Ok(true));
        let held = copy(&uffd, pages(&memory, 0, 1), &source(1, 1));
        assert_eq!(held, done(0, Some(Errno::AGAIN)));
        match next(&uffd) {
            Event::Remove(range) => assert_eq!(range, removed),
            other => panic!("{other:?}"),
        }
        remover.join().unwrap().unwrap();
        assert!(copy(&uffd, pages(&memory, 0, 1), &source(1, 1)).is_complete());
    });
    std::thread::scope(|scope| {
        let unmapped = pages(&memory, 6, 2);
        let shrinker = scope.spawn(|| memory.shrink_to(kept));
        match next(&uffd) {
            Event::Unmap(range) => assert_eq!(range, unmapped),
            other => panic!("{other:?}"),
        }
        shrinker.join().unwrap().unwrap();
        uffd.wake(kept).unwrap();
    });
    // Dropping would wait for somebody to read its own event.
    // SAFETY: Ours.
    unsafe { uffd.unregister(kept).unwrap() };
}

/// The program closes our descriptor: pages that are out stay out, and the next call works.
#[test]
fn a_kept_descriptor_survives_being_closed() {
    let Some(mut uffd) = inline(UffdFeatures::empty(), UffdFeatures::empty()) else {
        return;
    };
    uffd.keep().unwrap();
    let memory = arena(&uffd, 4, Modes::MISSING);
    for round in 0..3_u64 {
        assert_eq!(uffd.take_back_if_lost(), Ok(false));
        // SAFETY: A careless program does just that.
        unsafe { rustix::io::close(uffd.as_raw_fd()) };
        let page = memory.page(round);
        assert_eq!(read_by_kernel(page), Err(Errno::FAULT), "never zeros");
        let range = PageRange::new(page, PageCount::ONE);
        assert_eq!(copy(&uffd, range, &source(1, 9)), done(1, None));
        assert_eq!(read_by_kernel(page), Ok(9));
    }
}
