//! Leaving the signal frame, going on elsewhere, and coming back with everything as it was.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the tests make faults on purpose and look at the registers"
)]

mod signal_support;

use std::arch::naked_asm;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pagekeeper_sys::signal::{Decision, FaultInfo, Redirected, Verdict, call_on_stack};
use signal_support::client::*;
use signal_support::*;
/// What a thread has: rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15, flags; the red zone; sixteen vector registers.
#[repr(C, align(64))]
#[derive(Clone, PartialEq, Debug)]
struct State {
    general: [u64; 16],
    red_zone: [u64; 16],
    vector: [u64; 64],
}

impl State {
    fn patterned(page: usize) -> Self {
        let mix = |index: usize| (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut state = Self {
            general: std::array::from_fn(mix),
            red_zone: std::array::from_fn(|index| mix(index + 100)),
            vector: std::array::from_fn(|index| mix(index + 200)),
        };
        state.general[5] = page as u64;
        state
    }
}

static mut SAVED_RDX: u64 = 0;

/// Fills registers and red zone from `input`, writes to `page`, and stores everything to `output`.
#[unsafe(naked)]
unsafe extern "C" fn touch_with(page: *mut u8, input: *const State, output: *mut State) {
    naked_asm!(
        "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15", "push rdx",
        ".irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu ymm\\register, ymmword ptr [rsi + 256 + 32 * \\register]",
        "mov rax, [rsi + 128 + 8 * \\register]",
        "mov [rsp - 128 + 8 * \\register], rax",
        ".endr",
        "mov rax, [rsi]",
        "mov rbx, [rsi + 8]",
        "mov rcx, [rsi + 16]",
        "mov rdx, [rsi + 24]",
        "mov rbp, [rsi + 48]",
        "mov r8, [rsi + 56]",
        "mov r9, [rsi + 64]",
        "mov r10, [rsi + 72]",
        "mov r11, [rsi + 80]",
        "mov r12, [rsi + 88]",
        "mov r13, [rsi + 96]",
        "mov r14, [rsi + 104]",
        "mov r15, [rsi + 112]",
        "mov rsi, [rsi + 32]",
        "std",
        "stc",
        // The fault.
        "mov byte ptr [rdi], 0x5A",
        "mov [rip + {saved}], rdx",
        "mov rdx, [rsp]",
        "mov [rdx], rax",
        "mov [rdx + 8], rbx",
        "mov [rdx + 16], rcx",
        "mov rax, [rip + {saved}]",
        "mov [rdx + 24], rax",
        "mov [rdx + 32], rsi",
        "mov [rdx + 40], rdi",
        "mov [rdx + 48], rbp",
        "mov [rdx + 56], r8",
        "mov [rdx + 64], r9",
        "mov [rdx + 72], r10",
        "mov [rdx + 80], r11",
        "mov [rdx + 88], r12",
        "mov [rdx + 96], r13",
        "mov [rdx + 104], r14",
        "mov [rdx + 112], r15",
        ".irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovdqu ymmword ptr [rdx + 256 + 32 * \\register], ymm\\register",
        "mov rax, [rsp - 128 + 8 * \\register]",
        "mov [rdx + 128 + 8 * \\register], rax",
        ".endr",
        "pushfq",
        "pop rax",
        "mov [rdx + 120], rax",
        "cld",
        "vzeroupper",
        "pop rdx", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
        "ret",
        saved = sym SAVED_RDX,
    )
}

/// Carry (bit 0) and direction (bit 10).
const FLAGS: u64 = 1 | 1 << 10;

fn registers_survive(page: *mut u8) {
    let input = State::patterned(page as usize);
    let mut output = State::patterned(0);
    // SAFETY: The page is one that the client opens.
    unsafe { touch_with(page, &raw const input, &raw mut output) };
    assert_eq!(output.general[15] & FLAGS, FLAGS, "flags");
    output.general[15] = input.general[15];
    assert_eq!(output, input);
    // SAFETY: Open now.
    assert_eq!(unsafe { page.read() }, 0x5A);
}

#[test]
fn every_register_survives() {
    if !std::arch::is_x86_feature_detected!("avx") {
        println!("skipped, because the processor has no AVX");
        return;
    }
    in_child("every_register_survives", || {
        let start = prepare(open_outside);
        // SAFETY: errno of this thread.
        unsafe { *libc::__errno_location() = 5 };
        let mask = real_mask();
        registers_survive(start);
        assert_eq!(RUNS.load(Relaxed), 1);
        // SAFETY: As above.
        assert_eq!(unsafe { *libc::__errno_location() }, 5, "errno is kept");
        assert_eq!(real_mask(), mask);
        // Without an alternate stack the kernel's frame is used in place.
        use_no_alternate_stack();
        registers_survive(start.wrapping_add(4096));
        // Rounding and the like are the thread's own in the function, and survive.
        let towards_zero = 0x7F80_u32;
        // SAFETY: A valid setting.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const towards_zero) };
        registers_survive(start.wrapping_add(2 * 4096));
        let mut after = 0_u32;
        // SAFETY: Writes four bytes.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut after) };
        assert_eq!(after, towards_zero);
        assert_eq!(RUNS.load(Relaxed), 3);
    });
}

/// Thirty-two 64-byte registers and eight mask registers.
#[repr(C, align(64))]
#[derive(Clone, PartialEq, Debug)]
struct Wide {
    vector: [u64; 256],
    masks: [u64; 8],
}

#[unsafe(naked)]
unsafe extern "C" fn touch_wide(page: *mut u8, input: *const Wide, output: *mut Wide) {
    naked_asm!(
        ".irp register, 0, 1, 2, 3, 4, 5, 6, 7",
        "kmovq k\\register, qword ptr [rsi + 2048 + 8 * \\register]",
        ".endr",
        ".irp register, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovdqu64 zmm\\register, zmmword ptr [rsi + 64 * \\register]",
        ".endr",
        "mov byte ptr [rdi], 0x5B",
        ".irp register, 0, 1, 2, 3, 4, 5, 6, 7",
        "kmovq qword ptr [rdx + 2048 + 8 * \\register], k\\register",
        ".endr",
        ".irp register, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
        "vmovdqu64 zmmword ptr [rdx + 64 * \\register], zmm\\register",
        ".endr",
        "vzeroupper",
        "ret",
    )
}

#[test]
fn wide_registers_survive() {
    if !std::arch::is_x86_feature_detected!("avx512bw") {
        println!("skipped, because the processor has no AVX-512");
        return;
    }
    in_child("wide_registers_survive", || {
        let start = prepare(open_outside);
        for page in 0..4 {
            let mix = |index: usize| (index as u64 + 7).wrapping_mul(0xD134_2543_DE82_EF95);
            let input = Wide {
                vector: std::array::from_fn(mix),
                masks: std::array::from_fn(|index| mix(index + 300)),
            };
            let mut output = Wide {
                vector: [0; 256],
                masks: [0; 8],
            };
            // SAFETY: The page is one that the client opens.
            unsafe { touch_wide(start.add(page * 4096), &raw const input, &raw mut output) };
            assert_eq!(output, input);
        }
    });
}

/// Every fault but the last page's causes another one first, inside the redirected function.
fn nesting(redirected: &mut Redirected<'_>) -> Verdict {
    RUNS.fetch_add(1, Relaxed);
    let next = redirected.argument + 4096;
    if next < START.load(Relaxed) + PAGES * 4096 {
        // SAFETY: A page that this function opens.
        unsafe { (next as *mut u8).write_volatile(7) };
    }
    open_page(redirected.argument);
    Verdict::Resume
}

fn nest(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        Decision::Redirect {
            target: nesting,
            argument: fault.address(),
        }
    } else {
        Decision::NotMine
    }
}

#[test]
fn a_redirected_function_may_fault_itself() {
    in_child("a_redirected_function_may_fault_itself", || {
        let start = prepare(nest);
        // SAFETY: A page that the client opens.
        unsafe { start.write_volatile(7) };
        assert_eq!(RUNS.load(Relaxed), PAGES, "one inside the other");
        for page in 0..PAGES {
            // SAFETY: All are open now.
            assert_eq!(unsafe { start.add(page * 4096).read() }, 7);
        }
    });
}

/// The argument is the landing's address.
fn jumping(redirected: &mut Redirected<'_>) -> Verdict {
    RUNS.fetch_add(1, Relaxed);
    // The test wrote the landing's address to the faulting instruction's rsi.
    let landing = redirected.fault.context().registers.rsi as *const Landing;
    // SAFETY: The test's landing, whose function is still running below us.
    unsafe { jump(landing) }
}

fn jump_away(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        Decision::Redirect {
            target: jumping,
            argument: 0,
        }
    } else {
        Decision::NotMine
    }
}

extern "C-unwind" fn fault_with_landing(landing: usize) {
    // SAFETY: Never completed.
    unsafe {
        std::arch::asm!(
            "mov byte ptr [rdi], 1",
            in("rdi") START.load(Relaxed),
            in("rsi") landing,
        );
    }
}

#[test]
fn jumping_away_a_hundred_thousand_times_leaks_nothing() {
    in_child(
        "jumping_away_a_hundred_thousand_times_leaks_nothing",
        || {
            prepare(jump_away);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let (mask, stack) = (real_mask(), alternate_stack());
                        for _ in 0..25_000 {
                            let mut landing = Landing::default();
                            let landing = &raw mut landing;
                            // SAFETY: The function jumps to the landing made here.
                            let jumped = unsafe {
                                with_landing(landing, fault_with_landing, landing as usize)
                            };
                            assert_eq!(jumped, 1);
                        }
                        assert_eq!(real_mask(), mask);
                        let after = alternate_stack();
                        assert_eq!(
                            (after.ss_sp, after.ss_size, after.ss_flags),
                            (stack.ss_sp, stack.ss_size, 0),
                            "the same stack, not in use"
                        );
                    });
                }
            });
            assert_eq!(RUNS.load(Relaxed), 100_000);
        },
    );
}

/// Lets the load succeed by itself: sets its result and steps over it (3 bytes).
fn editing(redirected: &mut Redirected<'_>) -> Verdict {
    let registers = &mut redirected.fault.context_mut().registers;
    registers.rax = 0x1234_5678_9ABC_DEF0;
    registers.rip += 3;
    Verdict::Resume
}

fn edit(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        assert!(!fault.is_write() && !fault.is_instruction_fetch());
        Decision::Redirect {
            target: editing,
            argument: 0,
        }
    } else {
        Decision::NotMine
    }
}

#[test]
fn edited_registers_take_effect() {
    in_child("edited_registers_take_effect", || {
        let start = prepare(edit);
        let value: u64;
        // SAFETY: The load never happens. Its encoding is 48 8B 07.
        unsafe { std::arch::asm!("mov rax, [rdi]", in("rdi") start, out("rax") value) };
        assert_eq!(value, 0x1234_5678_9ABC_DEF0);
    });
}

#[test]
fn a_fault_on_an_alternate_stack_is_redirected_there() {
    in_child("a_fault_on_an_alternate_stack_is_redirected_there", || {
        prepare(open_outside);
        let mut memory = vec![0_u8; 128 << 10];
        use_alternate_stack(&mut memory);
        // SAFETY: The handler only touches memory.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = touch_from_handler as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()),
                0
            );
            for _ in 0..3 {
                assert_eq!(libc::raise(libc::SIGUSR1), 0);
            }
        }
        assert_eq!(RUNS.load(Relaxed), 3);
        assert_eq!(alternate_stack().ss_flags, 0);
    });
}

/// Sees its alternate stack armed although the kernel took it away for the handler.
fn armed(redirected: &mut Redirected<'_>) -> Verdict {
    let stack = alternate_stack();
    assert_ne!(stack.ss_size, 0);
    // A signal with a handler on that stack, in the middle of it all.
    // SAFETY: The test's handler does nothing.
    unsafe { assert_eq!(libc::raise(libc::SIGUSR1), 0) };
    opening(redirected)
}

#[test]
fn a_stack_that_disarms_itself_is_armed_again() {
    in_child("a_stack_that_disarms_itself_is_armed_again", || {
        let start = prepare(|fault| {
            if is_ours(fault) {
                Decision::Redirect {
                    target: armed,
                    argument: fault.address(),
                }
            } else {
                Decision::NotMine
            }
        });
        let mut memory = vec![0_u8; 64 << 10];
        let stack = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 1 << 31, // SS_AUTODISARM
            ss_size: memory.len(),
        };
        // SAFETY: The memory lives as long as the process.
        unsafe {
            assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        }
        for page in 0..3 {
            registers_or_plain_touch(start.wrapping_add(page * 4096));
            let after = alternate_stack();
            assert_eq!((after.ss_sp, after.ss_size), (stack.ss_sp, stack.ss_size));
        }
        assert_eq!(RUNS.load(Relaxed), 3);
    });
}

fn registers_or_plain_touch(page: *mut u8) {
    if std::arch::is_x86_feature_detected!("avx") {
        registers_survive(page);
    } else {
        // SAFETY: The client opens the page.
        unsafe { page.write_volatile(1) };
    }
}

#[test]
fn many_threads_are_redirected_at_once() {
    in_child("many_threads_are_redirected_at_once", || {
        let start = prepare(open_outside) as usize;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..500 {
                        // A page of this thread's own, closed again each time.
                        let page = start + 4096 * (thread * 16 + round % 16);
                        close_page(page);
                        // SAFETY: The client opens the page.
                        unsafe { (page as *mut u8).write_volatile(9) };
                    }
                });
            }
        });
        assert_eq!(RUNS.load(Relaxed), 2000);
    });
}

/// Answers in the handler, on a stack of its own, like the pager does.
fn open_in_handler(fault: &mut FaultInfo<'_>) -> Decision {
    if !is_ours(fault) {
        return Decision::NotMine;
    }
    unsafe extern "C" fn open(argument: *mut std::ffi::c_void) {
        let mut large = [1_u8; 16 << 10];
        std::hint::black_box(&mut large);
        open_page(argument as usize);
    }
    let stack = PAGER_STACK.load(Relaxed) as *mut u8;
    // SAFETY: One thread faults in the test; the stack is 64 KiB large.
    unsafe { call_on_stack(stack, open, fault.address() as *mut _) };
    Decision::Retry
}

static PAGER_STACK: AtomicUsize = AtomicUsize::new(0);

#[test]
fn the_foreign_stack_is_hardly_used() {
    in_child("the_foreign_stack_is_hardly_used", || {
        let start = prepare(open_in_handler);
        let own = Box::leak(vec![0_u8; 64 << 10].into_boxed_slice());
        PAGER_STACK.store(own.as_ptr_range().end as usize, Relaxed);
        // SAFETY: Reads the auxiliary vector.
        let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let size = (8 << 10).max(least + 4096);
        let mut painted = vec![0xA5_u8; size];
        use_alternate_stack(&mut painted);
        // SAFETY: A page that the client opens.
        unsafe { start.write_volatile(1) };
        let with_us = size - painted.iter().take_while(|&&byte| byte == 0xA5).count();
        // The kernel's frame by itself: the same signal with a handler that does nothing.
        painted.fill(0xA5);
        let empty: extern "C" fn(i32) = nothing;
        // SAFETY: The handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = empty as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
            libc::raise(libc::SIGUSR1);
        }
        let frame = size - painted.iter().take_while(|&&byte| byte == 0xA5).count();
        let ours = with_us.saturating_sub(frame);
        println!("kernel's frame {frame} bytes, the handler beyond it {ours}");
        assert!(ours < 1024, "the handler used {ours} bytes");
    });
}

extern "C" fn nothing(_signal: i32) {}
