//! Dying as the kernel would have it: by the right signal, with the registers of the fault, after one clear line.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: the tests make faults on purpose and trace processes"
)]

mod signal_support;

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::sync::atomic::Ordering::Relaxed;

use pagekeeper_sys::signal::{Decision, FaultInfo, Redirected, Verdict, call_on_stack};
use signal_support::client::*;
use signal_support::*;

#[test]
fn an_alternate_stack_without_room_is_a_clean_death() {
    let output = run_child("an_alternate_stack_without_room_is_a_clean_death", || {
        prepare(open_outside);
        let mut memory = vec![0_u8; 20 << 10];
        use_alternate_stack(&mut memory[8 << 10..]);
        // SAFETY: As above.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = touch_from_handler as *const () as usize;
            action.sa_flags = libc::SA_ONSTACK;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
            libc::raise(libc::SIGUSR1);
        }
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert!(errors(&output).contains("no room"), "{}", errors(&output));
}

unsafe extern "C" fn touch_start(_: *mut std::ffi::c_void) {
    // SAFETY: A page that the client would open.
    unsafe { (START.load(Relaxed) as *mut u8).write_volatile(1) };
}

#[test]
fn an_exhausted_stack_is_a_clean_death() {
    let output = run_child("an_exhausted_stack_is_a_clean_death", || {
        prepare(open_outside);
        // Eight closed pages, then one open one, which is all the stack there is.
        let stack = closed_pages(9);
        open_page(stack as usize + 8 * 4096);
        // SAFETY: The test's own memory; the function does not return.
        unsafe {
            call_on_stack(stack.add(9 * 4096), touch_start, std::ptr::null_mut());
        }
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert!(errors(&output).contains("no room"), "{}", errors(&output));
}

fn dying(redirected: &mut Redirected<'_>) -> Verdict {
    eprintln!("about to die at {:x}", redirected.fault.address());
    Verdict::Die {
        signal: libc::SIGSEGV,
        code: 2,
    }
}

fn die_outside(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        Decision::Redirect {
            target: dying,
            argument: 0,
        }
    } else {
        Decision::NotMine
    }
}

fn die_at_once(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        Decision::Die {
            signal: libc::SIGSEGV,
            code: 2,
        }
    } else {
        Decision::NotMine
    }
}

/// Tells the traced process, two levels down, from the tracing one.
const TRACED: &str = "PAGEKEEPER_TEST_TRACED";

/// Traces a process that dies by `body`, and checks that the signal it dies of shows the same registers and address as
/// the fault itself. In a child process of its own, since a tracer waits for any thread.
fn dies_with_its_registers(name: &str, body: fn()) {
    if is_child(name) {
        if std::env::var_os(TRACED).is_some() {
            // SAFETY: The tracer is our parent. It traces this thread, which the harness started.
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            return body();
        }
        trace(name);
        std::process::exit(CONTENT);
    }
    let output = child_command(name).output().expect("the child starts");
    assert_eq!(output.status.code(), Some(CONTENT), "{}", errors(&output));
}

fn trace(name: &str) {
    let child = child_command(name)
        .env(TRACED, "1")
        .spawn()
        .expect("the child starts")
        .id() as i32;
    let mut stops = Vec::new();
    let end = loop {
        let mut status = 0;
        // SAFETY: Our own child, with structs that the kernel fills.
        unsafe {
            let thread = libc::waitpid(-1, &raw mut status, libc::__WALL);
            if !libc::WIFSTOPPED(status) {
                if thread == child {
                    break status;
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            if signal == libc::SIGSEGV || signal == libc::SIGBUS {
                let mut registers: libc::user_regs_struct = std::mem::zeroed();
                let mut info: libc::siginfo_t = std::mem::zeroed();
                libc::ptrace(libc::PTRACE_GETREGS, thread, 0, &raw mut registers);
                libc::ptrace(libc::PTRACE_GETSIGINFO, thread, 0, &raw mut info);
                let address = info.si_addr() as usize;
                stops.push((
                    registers.rip,
                    registers.rsp,
                    registers.rax,
                    address,
                    info.si_code,
                ));
            }
            libc::ptrace(libc::PTRACE_CONT, thread, 0, signal as usize);
        }
    };
    assert!(
        libc::WIFSIGNALED(end) && libc::WTERMSIG(end) == libc::SIGSEGV,
        "{end:x}"
    );
    assert_eq!(stops.len(), 2, "the fault, and the death");
    assert_eq!(stops[0], stops[1], "the same registers and address");
    assert_ne!(stops[0].3, 0);
}

#[test]
fn death_outside_the_frame_shows_the_fault() {
    dies_with_its_registers("death_outside_the_frame_shows_the_fault", || {
        let start = prepare(die_outside);
        // SAFETY: Kills.
        unsafe { start.add(123).write_volatile(1) };
    });
}

#[test]
fn death_in_the_handler_shows_the_fault() {
    dies_with_its_registers("death_in_the_handler_shows_the_fault", || {
        let start = prepare(die_at_once);
        // SAFETY: Kills.
        unsafe { start.add(123).write_volatile(1) };
    });
}

#[test]
fn the_line_comes_before_death_in_a_thread_too() {
    let output = run_child("the_line_comes_before_death_in_a_thread_too", || {
        let start = prepare(die_outside) as usize;
        let thread = std::thread::spawn(move || {
            // SAFETY: Kills.
            unsafe { (start as *mut u8).write_volatile(1) };
        });
        let _ = thread.join();
    });
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
    assert_eq!(errors(&output).matches("about to die").count(), 1);
}

#[test]
fn process_one_of_a_container_dies_too() {
    const REFUSED: i32 = 55;
    const SEGV_SEEN: i32 = 66;
    let name = "process_one_of_a_container_dies_too";
    if is_child(name) {
        assert_eq!(std::process::id(), 1);
        let start = prepare(die_outside);
        // SAFETY: Kills.
        unsafe { start.write_volatile(1) };
    }
    let mut command = child_command(name);
    // SAFETY: System calls only between fork and exec. The second child is process 1 of its namespace; the first one
    // waits for it.
    unsafe {
        command.pre_exec(|| {
            if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0 {
                libc::_exit(REFUSED);
            }
            let child = libc::fork();
            if child != 0 {
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0);
                let died = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV;
                libc::_exit(if died { SEGV_SEEN } else { 1 });
            }
            Ok(())
        });
    }
    let output = command.output().expect("the child starts");
    if output.status.code() == Some(REFUSED) {
        println!("skipped, because the kernel refuses a process namespace here");
        return;
    }
    assert_eq!(output.status.code(), Some(SEGV_SEEN), "{}", errors(&output));
    assert_eq!(errors(&output).matches("about to die").count(), 1);
}
