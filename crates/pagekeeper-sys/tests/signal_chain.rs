//! Other people's SIGSEGV and SIGBUS handlers, installed before and after ours, and programs that block the signals.

// Longer than 500 lines because it is a table of dispositions, one case each.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the tests make faults on purpose and install handlers"
)]

mod signal_support;

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use pagekeeper_sys::signal::{
    self, Action, Context, Decision, FaultInfo, MaskChange, SIGNAL_BUS, SIGNAL_SEGV, SigInfo,
    SignalSet, virtual_mask_report, virtual_pending, virtual_sigaction, virtual_sigprocmask,
};
use signal_support::*;

/// Our client's only page.
static OURS: AtomicUsize = AtomicUsize::new(0);
/// How often the client answered.
static ANSWERED: AtomicUsize = AtomicUsize::new(0);

/// What the program's handler saw last, and how often it ran.
static RUNS: AtomicUsize = AtomicUsize::new(0);
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static MASK: AtomicU64 = AtomicU64::new(0);
static SEEN_MASK: AtomicU64 = AtomicU64::new(0);
static SAVED_MASK: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);

fn client(fault: &mut FaultInfo<'_>) -> Decision {
    if fault.address() & !4095 != OURS.load(Relaxed) {
        return Decision::NotMine;
    }
    ANSWERED.fetch_add(1, Relaxed);
    open_page(fault.address());
    Decision::Retry
}

fn prepare() {
    OURS.store(closed_pages(1) as usize, Relaxed);
    // SAFETY: The client keeps the rules.
    unsafe { signal::install(client).expect("installed") };
}

/// Touches our page, which must be answered.
fn page_ours() {
    let before = ANSWERED.load(Relaxed);
    close_page(OURS.load(Relaxed));
    // SAFETY: The client opens the page.
    unsafe { (OURS.load(Relaxed) as *mut u8).write_volatile(1) };
    assert_eq!(ANSWERED.load(Relaxed), before + 1);
}

/// Touches a foreign page.
fn touch(address: *mut u8) {
    // SAFETY: The handler opens the page, or the process dies, which is the point.
    unsafe { address.write_volatile(1) };
}

/// A program's handler: looks around, touches our page, opens the foreign one.
unsafe extern "C" fn opening(signal: i32, info: *mut SigInfo, context: *mut Context) {
    let local = 0_u8;
    // SAFETY: What the kernel passes.
    let (info, context) = unsafe { (&*info, &*context) };
    RUNS.fetch_add(1, Relaxed);
    SIGNAL.store(signal, Relaxed);
    CODE.store(info.code, Relaxed);
    ADDRESS.store(info.address(), Relaxed);
    MASK.store(real_mask(), Relaxed);
    SEEN_MASK.store(virtual_mask_report(SignalSet(real_mask())).0, Relaxed);
    SAVED_MASK.store(context.mask.0, Relaxed);
    STACK.store((&raw const local) as usize, Relaxed);
    page_ours();
    if info.code > 0 {
        open_page(info.address());
    }
}

fn action(handler: unsafe extern "C" fn(i32, *mut SigInfo, *mut Context), flags: i32) -> Action {
    Action {
        handler: handler as *const () as usize,
        flags: flags as u32 as u64 | libc::SA_SIGINFO as u64,
        restorer: 0,
        mask: SignalSet::EMPTY,
    }
}

/// Installs an action past the wrappers.
fn install_really(signal: i32, handler: usize, flags: i32, mask: &[i32]) {
    // SAFETY: The tests' handlers.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        for &blocked in mask {
            libc::sigaddset(&raw mut action.sa_mask, blocked);
        }
        let result = libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        assert_eq!(result, 0);
    }
}

/// Installs an action as a program does through the wrapper.
fn install_virtually(signal: i32, action: Action) -> Action {
    // SAFETY: The tests' handlers.
    unsafe { virtual_sigaction(signal, Some(&action)).expect("a good action") }
}

/// Sends `signal` to this thread.
fn send(signal: i32) {
    // SAFETY: Sends a signal.
    unsafe {
        let thread = libc::syscall(libc::SYS_gettid);
        assert_eq!(
            libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal),
            0
        );
    }
}

#[test]
fn a_handler_from_before_gets_its_faults() {
    in_child("a_handler_from_before_gets_its_faults", || {
        install_really(
            libc::SIGSEGV,
            opening as *const () as usize,
            libc::SA_SIGINFO | libc::SA_ONSTACK,
            &[libc::SIGUSR1, libc::SIGBUS],
        );
        prepare();
        let foreign = closed_pages(2);
        let before = real_mask();
        for page in 0..2 {
            let address = foreign.wrapping_add(page * 4096 + 5);
            touch(address);
            assert_eq!(ADDRESS.load(Relaxed), address as usize);
        }
        assert_eq!(RUNS.load(Relaxed), 2);
        assert_eq!(SIGNAL.load(Relaxed), libc::SIGSEGV);
        assert_eq!(CODE.load(Relaxed), 2, "SEGV_ACCERR");
        let blocked = SignalSet::of(libc::SIGUSR1) | SignalSet::FAULTS;
        assert_eq!(
            SEEN_MASK.load(Relaxed),
            before | blocked.0,
            "as it believes"
        );
        let really = SignalSet(MASK.load(Relaxed));
        assert!(!really.meets(SignalSet::FAULTS), "but not really");
        assert!(really.contains(libc::SIGUSR1));
        assert_eq!(SAVED_MASK.load(Relaxed), before);
        assert_eq!(real_mask(), before, "afterwards as before");
        page_ours();
    });
}

#[test]
fn a_handler_from_after_gets_its_faults_and_is_reported() {
    in_child(
        "a_handler_from_after_gets_its_faults_and_is_reported",
        || {
            prepare();
            let mine = action(opening, libc::SA_ONSTACK);
            for signal in [SIGNAL_SEGV, SIGNAL_BUS] {
                install_virtually(signal, mine);
                // SAFETY: Only asks.
                let told = unsafe { virtual_sigaction(signal, None).expect("asked") };
                assert_eq!((told.handler, told.mask), (mine.handler, mine.mask));
                assert_eq!(signal::reassert(), Ok(false), "ours is still the real one");
            }
            let foreign = closed_pages(1);
            touch(foreign);
            assert_eq!(
                (RUNS.load(Relaxed), SIGNAL.load(Relaxed)),
                (1, libc::SIGSEGV)
            );
            send(SIGNAL_BUS);
            assert_eq!(
                (RUNS.load(Relaxed), SIGNAL.load(Relaxed)),
                (2, libc::SIGBUS)
            );
            assert_eq!(CODE.load(Relaxed), -6, "SI_TKILL");
            page_ours();
            // SAFETY: Asks for what is no signal.
            assert!(unsafe { virtual_sigaction(99, None) }.is_err());
        },
    );
}

#[test]
fn the_handler_runs_on_the_stack_it_asked_for() {
    in_child("the_handler_runs_on_the_stack_it_asked_for", || {
        prepare();
        let mut memory = vec![0_u8; 64 << 10];
        use_alternate_stack(&mut memory);
        let range = memory.as_ptr() as usize..memory.as_ptr() as usize + memory.len();
        let foreign = closed_pages(3);
        install_virtually(SIGNAL_SEGV, action(opening, libc::SA_ONSTACK));
        touch(foreign);
        assert!(range.contains(&STACK.load(Relaxed)), "asked for");
        install_virtually(SIGNAL_SEGV, action(opening, 0));
        let (local, mask) = (0_u8, real_mask());
        touch(foreign.wrapping_add(4096));
        let here = (&raw const local) as usize;
        assert!(
            here.abs_diff(STACK.load(Relaxed)) < 64 << 10,
            "the thread's own"
        );
        assert_eq!(real_mask(), mask);
        use_no_alternate_stack();
        install_virtually(SIGNAL_SEGV, action(opening, libc::SA_ONSTACK));
        touch(foreign.wrapping_add(2 * 4096));
        assert!(
            here.abs_diff(STACK.load(Relaxed)) < 64 << 10,
            "there is no other"
        );
        assert_eq!(RUNS.load(Relaxed), 3);
        page_ours();
    });
}

#[test]
fn a_one_shot_handler_runs_once() {
    let output = run_child("a_one_shot_handler_runs_once", || {
        prepare();
        install_virtually(
            SIGNAL_SEGV,
            action(opening, libc::SA_RESETHAND | libc::SA_ONSTACK),
        );
        let foreign = closed_pages(2);
        touch(foreign);
        // SAFETY: Only asks.
        let told = unsafe { virtual_sigaction(SIGNAL_SEGV, None).expect("asked") };
        assert!(told.is_default() && RUNS.load(Relaxed) == 1);
        page_ours();
        eprintln!("once");
        touch(foreign.wrapping_add(4096));
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert!(errors(&output).contains("once"));
}

#[test]
fn the_default_is_death_by_the_right_signal() {
    let fault = run_child("the_default_is_death_by_the_right_signal", || {
        prepare();
        // Rust's own handler is the program's now; take it away.
        install_virtually(SIGNAL_BUS, Action::DEFAULT);
        page_ours();
        touch(page_behind_the_end());
    });
    assert_eq!(fault.status.signal(), Some(libc::SIGBUS));
}

#[test]
fn the_default_is_death_when_sent() {
    let sent = run_child("the_default_is_death_when_sent", || {
        prepare();
        install_virtually(SIGNAL_BUS, Action::DEFAULT);
        send(SIGNAL_BUS);
    });
    assert_eq!(sent.status.signal(), Some(libc::SIGBUS));
}

fn ignoring() -> Action {
    Action {
        handler: libc::SIG_IGN,
        ..Action::DEFAULT
    }
}

#[test]
fn an_ignored_signal_is_ignored_when_sent_only() {
    let output = run_child("an_ignored_signal_is_ignored_when_sent_only", || {
        prepare();
        install_virtually(SIGNAL_SEGV, ignoring());
        send(SIGNAL_SEGV);
        page_ours();
        eprintln!("ignored");
        touch(closed_pages(1));
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert!(errors(&output).contains("ignored"));
}

/// Recursion without end.
fn overflow(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if page[1] == u64::MAX {
        return 0;
    }
    overflow(depth + 1) + page[2]
}

#[test]
fn rusts_own_stack_overflow_message_still_comes() {
    let output = run_child("rusts_own_stack_overflow_message_still_comes", || {
        prepare();
        page_ours();
        let thread = std::thread::Builder::new().name("deep".into());
        let _ = thread
            .spawn(|| overflow(0))
            .map(std::thread::JoinHandle::join);
    });
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let errors = errors(&output);
    assert!(errors.contains("has overflowed its stack"), "{errors}");
}

#[test]
fn rusts_own_handler_does_not_unseat_us() {
    // It answers a signal that is no overflow by setting the default action and returning. A signal that was sent
    // does not come again, so the process goes on, as it would without us.
    let output = run_child("rusts_own_handler_does_not_unseat_us", || {
        prepare();
        send(SIGNAL_SEGV);
        // SAFETY: Only asks.
        let told = unsafe { virtual_sigaction(SIGNAL_SEGV, None).expect("asked") };
        assert!(told.is_default(), "what Rust's handler set counts");
        page_ours();
        eprintln!("still here");
        touch(closed_pages(1));
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert!(
        errors(&output).contains("still here"),
        "{}",
        errors(&output)
    );
}

#[test]
fn a_replaced_handler_is_noticed() {
    in_child("a_replaced_handler_is_noticed", || {
        prepare();
        let handler = opening as *const () as usize;
        install_really(
            libc::SIGSEGV,
            handler,
            libc::SA_SIGINFO | libc::SA_ONSTACK,
            &[],
        );
        assert_eq!(signal::reassert(), Ok(true));
        assert_eq!(signal::reassert(), Ok(false));
        page_ours();
        touch(closed_pages(1));
        assert_eq!(RUNS.load(Relaxed), 1);
    });
}

#[test]
fn a_blocked_signal_waits_and_faults_of_ours_do_not() {
    in_child("a_blocked_signal_waits_and_faults_of_ours_do_not", || {
        prepare();
        install_virtually(SIGNAL_BUS, action(opening, libc::SA_ONSTACK));
        let before = virtual_sigprocmask(MaskChange::Block, Some(SignalSet::ALL));
        let blocked = virtual_sigprocmask(MaskChange::Block, None);
        assert!(blocked.contains(SIGNAL_BUS) && blocked.contains(libc::SIGUSR1));
        assert!(!SignalSet(real_mask()).meets(SignalSet::FAULTS));
        page_ours();
        send(SIGNAL_BUS);
        send(SIGNAL_BUS);
        assert_eq!(RUNS.load(Relaxed), 0, "it waits");
        assert_eq!(virtual_pending(), SignalSet::of(SIGNAL_BUS));
        let told = virtual_sigprocmask(MaskChange::Set, Some(before));
        assert_eq!(told, blocked);
        assert_eq!(RUNS.load(Relaxed), 1, "one of a kind");
        assert_eq!(
            (CODE.load(Relaxed), SIGNAL.load(Relaxed)),
            (-6, libc::SIGBUS)
        );
        // The sender's number lies where a fault has its address.
        assert_eq!(ADDRESS.load(Relaxed) as u32, std::process::id());
        assert_eq!(virtual_pending(), SignalSet::EMPTY);
        assert_eq!(virtual_sigprocmask(MaskChange::Block, None), before);
    });
}

#[test]
fn a_fault_while_blocked_kills() {
    let output = run_child("a_fault_while_blocked_kills", || {
        prepare();
        install_virtually(SIGNAL_SEGV, action(opening, libc::SA_ONSTACK));
        virtual_sigprocmask(MaskChange::Block, Some(SignalSet::FAULTS));
        touch(closed_pages(1));
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_mask_from_before_is_adopted() {
    in_child("a_mask_from_before_is_adopted", || {
        let both = SignalSet::FAULTS;
        // No client yet: for real.
        virtual_sigprocmask(MaskChange::Block, Some(both));
        assert!(SignalSet(real_mask()).meets(both));
        prepare();
        assert!(!SignalSet(real_mask()).meets(both));
        assert_eq!(
            virtual_sigprocmask(MaskChange::Unblock, Some(both)) & both,
            both
        );
        assert_eq!(
            virtual_sigprocmask(MaskChange::Block, None) & both,
            SignalSet::EMPTY
        );
        page_ours();
    });
}

#[test]
fn other_signals_masks_are_filtered_and_reported() {
    in_child("other_signals_masks_are_filtered_and_reported", || {
        prepare();
        let wanted = Action {
            mask: SignalSet::FAULTS | SignalSet::of(libc::SIGUSR2),
            ..action(opening, 0)
        };
        install_virtually(libc::SIGUSR1, wanted);
        // SAFETY: Only asks.
        let told = unsafe { virtual_sigaction(libc::SIGUSR1, None).expect("asked") };
        assert_eq!((told.handler, told.mask), (wanted.handler, wanted.mask));
        send(libc::SIGUSR1);
        assert_eq!(RUNS.load(Relaxed), 1);
        let really = SignalSet(MASK.load(Relaxed));
        assert!(really.contains(libc::SIGUSR2) && !really.meets(SignalSet::FAULTS));
        let old = install_virtually(libc::SIGUSR1, Action::DEFAULT);
        assert_eq!(old.mask, wanted.mask);
    });
}

/// Leaves the handler as siglongjmp does: libc restores the real mask by itself, past every wrapper.
unsafe extern "C" fn leaping(_signal: i32, _info: *mut SigInfo, context: *mut Context) {
    RUNS.fetch_add(1, Relaxed);
    // SAFETY: The test's landing, whose address it put into rsi; its function still runs.
    unsafe {
        let mask = SAVED_MASK.load(Relaxed);
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            std::ptr::null_mut::<u64>(),
            8_usize,
        );
        jump((*context).registers.rsi as *const Landing)
    }
}

extern "C-unwind" fn fault_with_landing(landing: usize) {
    // SAFETY: Never completed: nothing is mapped at 8.
    unsafe { std::arch::asm!("mov byte ptr [rdi], 1", in("rdi") 8, in("rsi") landing) };
}

#[test]
fn handlers_may_jump_away_for_ever() {
    in_child("handlers_may_jump_away_for_ever", || {
        prepare();
        for flags in [libc::SA_ONSTACK, 0] {
            install_virtually(SIGNAL_SEGV, action(leaping, flags));
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mask = real_mask();
                        SAVED_MASK.store(mask, Relaxed);
                        for _ in 0..5_000 {
                            let mut landing = Landing::default();
                            let landing = &raw mut landing;
                            // SAFETY: The handler jumps to the landing made here.
                            let jumped = unsafe {
                                with_landing(landing, fault_with_landing, landing as usize)
                            };
                            assert_eq!(jumped, 1);
                        }
                        assert_eq!(real_mask(), mask);
                        let told = virtual_sigprocmask(MaskChange::Block, None);
                        assert!(!told.meets(SignalSet::FAULTS));
                        assert_eq!(alternate_stack().ss_flags, 0);
                    });
                }
            });
        }
        assert_eq!(RUNS.load(Relaxed), 20_000);
        page_ours();
    });
}

/// Faults itself, three times at most: where an alternate stack ends is nothing to rely on, with or without us.
unsafe extern "C" fn stumbling(_signal: i32, _info: *mut SigInfo, _context: *mut Context) {
    eprintln!("stumbling");
    if RUNS.fetch_add(1, Relaxed) == 2 {
        // SAFETY: Ends the process.
        unsafe { libc::_exit(CONTENT) };
    }
    touch(8 as *mut u8);
}

#[test]
fn a_handler_that_faults_dies_at_once() {
    let output = run_child("a_handler_that_faults_dies_at_once", || {
        prepare();
        install_virtually(SIGNAL_SEGV, action(stumbling, libc::SA_ONSTACK));
        touch(closed_pages(1));
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert_eq!(errors(&output).matches("stumbling").count(), 1);
}

#[test]
fn with_nodefer_it_may_fault_again() {
    let output = run_child("with_nodefer_it_may_fault_again", || {
        prepare();
        let mut memory = vec![0_u8; 64 << 10];
        use_alternate_stack(&mut memory);
        install_virtually(
            SIGNAL_SEGV,
            action(stumbling, libc::SA_ONSTACK | libc::SA_NODEFER),
        );
        touch(closed_pages(1));
    });
    assert_eq!(output.status.code(), Some(CONTENT));
    assert_eq!(errors(&output).matches("stumbling").count(), 3);
}

/// Asks that the signal stay blocked after it returns, as a handler may by editing the saved mask.
unsafe extern "C" fn mask_editing(_signal: i32, info: *mut SigInfo, context: *mut Context) {
    RUNS.fetch_add(1, Relaxed);
    // SAFETY: What the kernel passes.
    unsafe {
        (*context).mask = (*context).mask | SignalSet::of(SIGNAL_SEGV);
        if (*info).code > 0 {
            open_page((*info).address());
        }
    }
}

#[test]
fn a_handler_may_edit_the_mask() {
    in_child("a_handler_may_edit_the_mask", || {
        prepare();
        install_virtually(SIGNAL_SEGV, action(mask_editing, 0));
        touch(closed_pages(1));
        let told = virtual_sigprocmask(MaskChange::Block, None);
        assert!(told.contains(SIGNAL_SEGV) && !told.contains(SIGNAL_BUS));
        assert!(!SignalSet(real_mask()).meets(SignalSet::FAULTS));
        send(SIGNAL_SEGV);
        assert_eq!(RUNS.load(Relaxed), 1);
        page_ours();
        virtual_sigprocmask(MaskChange::Unblock, Some(SignalSet::of(SIGNAL_SEGV)));
        assert_eq!(RUNS.load(Relaxed), 2);
    });
}

#[test]
fn uninstalling_gives_the_actions_back() {
    in_child("uninstalling_gives_the_actions_back", || {
        prepare();
        install_virtually(SIGNAL_SEGV, action(opening, libc::SA_ONSTACK));
        OURS.store(closed_pages(1) as usize, Relaxed);
        let other: signal::FaultHandler = |_| Decision::NotMine;
        // SAFETY: Refused; then nobody touches our page from outside the handler.
        unsafe {
            assert!(signal::install(other).is_err(), "one client at a time");
            signal::uninstall().expect("given back");
            assert!(!signal::is_installed());
            let mut real: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGSEGV, std::ptr::null(), &raw mut real);
            assert_eq!(real.sa_sigaction, opening as *const () as usize);
            signal::install(client).expect("again");
        }
        page_ours();
        touch(closed_pages(1));
        assert_eq!(RUNS.load(Relaxed), 1);
    });
}
