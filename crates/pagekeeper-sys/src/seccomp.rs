//! Making the kernel refuse chosen system calls, so that every fallback can be tried on any kernel.
//!
//! Containers refuse userfaultfd and io_uring by a seccomp filter; this installs the same kind of filter in a
//! process of our own, for tests and for `pagekeeper doctor`. A filter cannot be taken away again: use it in a
//! child process (a test starts itself again with an environment variable).

#![allow(
    unsafe_code,
    reason = "UNSAFETY: system calls that take pointers to kernel structs"
)]

use linux_raw_sys::general::{
    __NR_io_uring_setup, __NR_ioctl, __NR_prctl, __NR_seccomp, __NR_userfaultfd,
};

use crate::Errno;
use crate::raw;

/// One kind of system call, and what the kernel answers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    call: u32,
    argument: Option<(u8, u32)>,
    errno: Errno,
}

/// `USERFAULTFD_IOC_NEW`: the ioctl by which `/dev/userfaultfd` makes a descriptor.
const USERFAULTFD_IOC_NEW: u32 = 0xAA00;

impl Refusal {
    /// The system call `call` (an `__NR_*` number) fails with `errno`.
    pub const fn of(call: u32, errno: Errno) -> Self {
        Self {
            call,
            argument: None,
            errno,
        }
    }

    /// Only if the lower 32 bits of argument `index` (from 0) are `value`.
    ///
    /// # Panics
    /// If `index` is above 5.
    #[must_use]
    pub const fn when_argument(mut self, index: u8, value: u32) -> Self {
        assert!(index < 6, "a system call has six arguments");
        self.argument = Some((index, value));
        self
    }

    /// Both ways to a userfaultfd: the system call and the device.
    pub const fn userfaultfd(errno: Errno) -> [Self; 2] {
        [
            Self::of(__NR_userfaultfd, errno),
            Self::of(__NR_ioctl, errno).when_argument(1, USERFAULTFD_IOC_NEW),
        ]
    }

    /// io_uring.
    pub const fn io_uring(errno: Errno) -> [Self; 1] {
        [Self::of(__NR_io_uring_setup, errno)]
    }
}

/// Who is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The calling thread and what it starts.
    Thread,
    /// Every thread of the process.
    Process,
}

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    word: u32,
}

/// A program of classic BPF (`struct sock_fprog`).
#[repr(C)]
struct Program {
    length: u16,
    start: *const Instruction,
}

/// Load the 32-bit word at an offset of `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// Jump if equal.
const JUMP_EQUAL: u16 = 0x15;
/// Return.
const RETURN: u16 = 0x06;

const OFFSET_CALL: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
/// `AUDIT_ARCH_X86_64`.
const ARCHITECTURE: u32 = 0xC000_003E;
const RETURN_ALLOW: u32 = 0x7FFF_0000;
const RETURN_KILL_PROCESS: u32 = 0x8000_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

const PR_SET_NO_NEW_PRIVS: usize = 38;
const SECCOMP_SET_MODE_FILTER: usize = 1;
const SECCOMP_FILTER_FLAG_TSYNC: usize = 1;

/// From now on the kernel refuses these calls. Sets `no_new_privs`, so no privilege is needed. Cannot be undone.
///
/// # Errors
/// `EINVAL` without filters in the kernel, or with more than a thousand refusals; `EACCES`, `ENOMEM`; `ESRCH` if a
/// thread of the process has a filter that cannot be brought in line.
pub fn refuse(refusals: &[Refusal], scope: Scope) -> Result<(), Errno> {
    if refusals.len() > 1000 {
        return Err(Errno::INVAL);
    }
    install(&assemble(refusals), scope)
}

fn install(program: &[Instruction], scope: Scope) -> Result<(), Errno> {
    let header = Program {
        length: program.len() as u16,
        start: program.as_ptr(),
    };
    let flags = match scope {
        Scope::Thread => 0,
        Scope::Process => SECCOMP_FILTER_FLAG_TSYNC,
    };
    // SAFETY: The header and the program behind it live until the kernel has copied them.
    unsafe {
        raw::call(__NR_prctl, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0])?;
        let result = raw::call(
            __NR_seccomp,
            [SECCOMP_SET_MODE_FILTER, flags, (&raw const header) as usize],
        )?;
        // With TSYNC a thread number means: that thread stood in the way.
        if result != 0 {
            return Err(Errno::SRCH);
        }
    }
    Ok(())
}

/// From now on any system call of the calling thread but these ends the process by SIGSYS: proves that what follows makes
/// none. Sets `no_new_privs`. Cannot be undone.
///
/// # Errors
/// As [`refuse`]; at most a hundred calls can be allowed.
pub fn allow_only(calls: &[u32]) -> Result<(), Errno> {
    if calls.len() > 100 {
        return Err(Errno::INVAL);
    }
    install(&assemble_only(calls), Scope::Thread)
}

/// The filter of [`allow_only`].
fn assemble_only(calls: &[u32]) -> Vec<Instruction> {
    let instruction = |code, word, if_true| Instruction {
        code,
        if_true,
        if_false: 0,
        word,
    };
    let mut program = vec![instruction(LOAD, OFFSET_CALL, 0)];
    for (place, &call) in calls.iter().enumerate() {
        // Over the calls that follow and the end of the others.
        let over = (calls.len() - place) as u8;
        program.push(instruction(JUMP_EQUAL, call, over));
    }
    program.push(instruction(RETURN, RETURN_KILL_PROCESS, 0));
    program.push(instruction(RETURN, RETURN_ALLOW, 0));
    program
}

/// The filter: another architecture and every other call pass.
fn assemble(refusals: &[Refusal]) -> Vec<Instruction> {
    let plain = |code, word| Instruction {
        code,
        if_true: 0,
        if_false: 0,
        word,
    };
    let skip_unless = |word, count| Instruction {
        code: JUMP_EQUAL,
        if_true: 0,
        if_false: count,
        word,
    };
    // A short jump over one return instead of a long one over everything: any number of refusals fits.
    let mut program = vec![
        plain(LOAD, OFFSET_ARCHITECTURE),
        Instruction {
            code: JUMP_EQUAL,
            if_true: 1,
            if_false: 0,
            word: ARCHITECTURE,
        },
    ];
    program.push(plain(RETURN, RETURN_ALLOW));
    for refusal in refusals {
        let answer = RETURN_ERRNO | (refusal.errno.raw_os_error() as u32 & 0xFFFF);
        program.push(plain(LOAD, OFFSET_CALL));
        if let Some((index, value)) = refusal.argument {
            program.push(skip_unless(refusal.call, 3));
            program.push(plain(LOAD, OFFSET_ARGUMENTS + 8 * u32::from(index)));
            program.push(skip_unless(value, 1));
        } else {
            program.push(skip_unless(refusal.call, 1));
        }
        program.push(plain(RETURN, answer));
    }
    program.push(plain(RETURN, RETURN_ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{__NR_getppid, __NR_getuid};

    /// In a thread of its own, which is what the filter is for then.
    fn in_thread(test: fn()) {
        std::thread::spawn(test).join().expect("the thread's test");
    }

    fn call(number: u32, arguments: [usize; 3]) -> Result<usize, Errno> {
        // SAFETY: The calls below touch no memory.
        unsafe { raw::call(number, arguments) }
    }

    #[test]
    fn chosen_calls_fail_and_others_do_not() {
        in_thread(|| {
            let mut refusals = vec![Refusal::of(__NR_getppid, Errno::NOSYS)];
            refusals.extend(Refusal::userfaultfd(Errno::PERM));
            refusals.extend(Refusal::io_uring(Errno::ACCESS));
            refuse(&refusals, Scope::Thread).expect("anyone may filter itself");
            assert_eq!(call(__NR_getppid, [0; 3]), Err(Errno::NOSYS));
            assert_eq!(call(__NR_userfaultfd, [0; 3]), Err(Errno::PERM));
            assert_eq!(call(__NR_io_uring_setup, [0; 3]), Err(Errno::ACCESS));
            assert!(call(__NR_getuid, [0; 3]).is_ok());
        });
        assert!(call(__NR_getppid, [0; 3]).is_ok(), "other threads go on");
    }

    #[test]
    fn an_argument_decides() {
        in_thread(|| {
            refuse(&Refusal::userfaultfd(Errno::PERM), Scope::Thread).expect("filter");
            let new = USERFAULTFD_IOC_NEW as usize;
            assert_eq!(call(__NR_ioctl, [usize::MAX, new, 0]), Err(Errno::PERM));
            assert_eq!(
                call(__NR_ioctl, [usize::MAX, new + 1, 0]),
                Err(Errno::BADF),
                "the kernel's own answer"
            );
        });
    }

    #[test]
    fn all_but_some_are_refused_for_good() {
        let program = assemble_only(&[__NR_getppid, __NR_getuid]);
        let targets: Vec<_> = program
            .iter()
            .enumerate()
            .filter(|(_, instruction)| instruction.code == JUMP_EQUAL)
            .map(|(at, instruction)| program[at + 1 + usize::from(instruction.if_true)].word)
            .collect();
        assert_eq!(targets, [RETURN_ALLOW; 2]);
        assert_eq!(program[program.len() - 2].word, RETURN_KILL_PROCESS);
        assert_eq!(allow_only(&[0; 101]), Err(Errno::INVAL));
    }

    #[test]
    fn filters_add_up_and_absurd_ones_are_refused() {
        in_thread(|| {
            refuse(&[], Scope::Thread).expect("an empty filter");
            refuse(&[Refusal::of(__NR_getppid, Errno::IO)], Scope::Thread).expect("a second");
            assert_eq!(call(__NR_getppid, [0; 3]), Err(Errno::IO));
            let many = vec![Refusal::of(__NR_getppid, Errno::IO); 1001];
            assert_eq!(refuse(&many, Scope::Thread), Err(Errno::INVAL));
            let most = vec![Refusal::of(0xFFFF, Errno::IO); 1000];
            refuse(&most, Scope::Thread).expect("a thousand fit");
        });
    }
}
