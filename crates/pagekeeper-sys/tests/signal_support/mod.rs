//! What the signal tests share: a child process for each test, pages that fault, an asm way to jump.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]
#![allow(
    unsafe_code,
    reason = "UNSAFETY: the tests make faults on purpose and jump out of them"
)]

pub mod client;

use std::arch::naked_asm;
use std::process::{Command, Output};

/// The status with which a child says that it came to its end.
pub const CONTENT: i32 = 77;

const CHILD: &str = "PAGEKEEPER_TEST_CHILD";

/// Whether this process is the child that has to carry out the test `name`.
pub fn is_child(name: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == name)
}

/// The command that runs the test `name`, and nothing else, in a child process.
pub fn child_command(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own program"));
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name);
    command
}

/// Runs `body` in a child process and gives back how that ended.
pub fn run_child(name: &str, body: fn()) -> Output {
    if is_child(name) {
        body();
        std::process::exit(CONTENT);
    }
    child_command(name).output().expect("the child starts")
}

/// Runs `body` in a child process, which must come to its end.
pub fn in_child(name: &str, body: fn()) {
    let output = run_child(name, body);
    assert_eq!(
        output.status.code(),
        Some(CONTENT),
        "{name}: {:?}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a child wrote to its error output.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Pages without access.
pub fn closed_pages(count: usize) -> *mut u8 {
    // SAFETY: A new mapping.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            count * 4096,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED);
    start.cast()
}

/// Opens the page at `address`.
pub fn open_page(address: usize) {
    protect(address, libc::PROT_READ | libc::PROT_WRITE);
}

/// Closes the page at `address`.
pub fn close_page(address: usize) {
    protect(address, libc::PROT_NONE);
}

fn protect(address: usize, protection: i32) {
    // SAFETY: A page of a mapping of the test.
    let result =
        unsafe { libc::syscall(libc::SYS_mprotect, address & !4095, 4096_usize, protection) };
    assert_eq!(result, 0);
}

/// A page of a file behind its end: a touch is SIGBUS.
pub fn page_behind_the_end() -> *mut u8 {
    // SAFETY: A new file and a new mapping of it.
    unsafe {
        let file = libc::memfd_create(c"test".as_ptr(), 0);
        assert!(file >= 0);
        let start = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file,
            0,
        );
        assert_ne!(start, libc::MAP_FAILED);
        start.cast()
    }
}

/// The thread's real mask.
pub fn real_mask() -> u64 {
    let mut mask = 0_u64;
    // SAFETY: The kernel writes eight bytes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            0,
            std::ptr::null::<u64>(),
            &raw mut mask,
            8_usize,
        )
    };
    assert_eq!(result, 0);
    mask
}

/// The thread's alternate stack.
pub fn alternate_stack() -> libc::stack_t {
    // SAFETY: The kernel fills the struct.
    unsafe {
        let mut stack = std::mem::zeroed();
        assert_eq!(libc::sigaltstack(std::ptr::null(), &raw mut stack), 0);
        stack
    }
}

/// Gives the thread this alternate stack.
pub fn use_alternate_stack(memory: &mut [u8]) {
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: The tests keep the memory.
    unsafe { assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0) };
}

/// Takes the thread's alternate stack away.
pub fn use_no_alternate_stack() {
    let stack = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: libc::SS_DISABLE,
        ss_size: 0,
    };
    // SAFETY: A valid setting.
    unsafe { assert_eq!(libc::sigaltstack(&raw const stack, std::ptr::null_mut()), 0) };
}

/// Where `jump` goes: rbx, rbp, r12 to r15, rsp, rip.
#[repr(C)]
#[derive(Default)]
pub struct Landing {
    registers: [u64; 8],
}

/// Calls `function(argument)`; returns 0 when that returns and 1 after a [`jump`] to `landing`. What setjmp does,
/// without returning twice.
#[unsafe(naked)]
pub unsafe extern "C" fn with_landing(
    landing: *mut Landing,
    function: extern "C-unwind" fn(usize),
    argument: usize,
) -> u64 {
    naked_asm!(
        "mov [rdi], rbx",
        "mov [rdi + 8], rbp",
        "mov [rdi + 16], r12",
        "mov [rdi + 24], r13",
        "mov [rdi + 32], r14",
        "mov [rdi + 40], r15",
        "mov [rdi + 48], rsp",
        "sub rsp, 8",
        "mov rdi, rdx",
        "call rsi",
        "add rsp, 8",
        "xor eax, eax",
        "ret",
    )
}

/// Ends the [`with_landing`] that filled `landing`, from wherever it called.
#[unsafe(naked)]
pub unsafe extern "C" fn jump(landing: *const Landing) -> ! {
    naked_asm!(
        "mov rbx, [rdi]",
        "mov rbp, [rdi + 8]",
        "mov r12, [rdi + 16]",
        "mov r13, [rdi + 24]",
        "mov r14, [rdi + 32]",
        "mov r15, [rdi + 40]",
        "mov rsp, [rdi + 48]",
        "mov eax, 1",
        "ret",
    )
}
