//! Starting programs: paths, arguments and environments are copied to ordinary memory first.
//!
//! The new program's memory replaces ours (or, in `posix_spawn`, a child that shares it reads the strings with all signals
//! blocked), so pinning is out of the question. Nothing is copied unless something reaches paged memory. `fork` and
//! `vfork` stay as they are; a `vfork` child that executes a program with copied strings leaves the copy to its parent, a
//! few pages each time.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::arch::naked_asm;
use core::ffi::{c_char, c_int};

use libc::{FILE, pid_t, posix_spawn_file_actions_t, posix_spawnattr_t};

use super::reach::{active, fail, reaches};
use super::real::{ErrorNumber, Failure};
use super::scratch::{Scratch, StandIns, copy, string_length};
use super::wrap::{real, rows, touch};

rows! { "process";
    execve: "the path, the arguments, the environment";
    execv: "the path, the arguments, the environment";
    execvp: "the name, the arguments, the environment";
    execvpe: "the name, the arguments, the environment";
    fexecve: "the arguments, the environment";
    execveat: "the path, the arguments, the environment";
    execl: "the path, the arguments, the environment";
    execlp: "the name, the arguments, the environment";
    execle: "the path, the arguments, the environment";
    posix_spawn: "the number, the path, actions, attributes, arguments, environment";
    posix_spawnp: "the number, the name, actions, attributes, arguments, environment";
    system: "the command";
    popen: "the command";
}

type List = *const *const c_char;

unsafe extern "C" {
    #[link_name = "environ"]
    static ENVIRONMENT: List;
}

/// A list of strings, as it is or in ordinary memory.
struct Strings {
    list: List,
    _memory: Option<Scratch>,
}

impl Strings {
    /// The caller's list, copied if it or any of its strings reaches paged memory.
    ///
    /// # Safety
    /// A list of C strings that ends in null, or null.
    unsafe fn new(list: List) -> Result<Self, c_int> {
        // SAFETY: as promised.
        unsafe {
            if list.is_null() || !Self::reach(list) {
                return Ok(Self {
                    list,
                    _memory: None,
                });
            }
            let (mut count, mut bytes) = (0, 0);
            while !(*list.add(count)).is_null() {
                bytes += string_length((*list.add(count)).cast(), usize::MAX)? + 1;
                count += 1;
            }
            let memory = Scratch::new((count + 1) * size_of::<*const c_char>() + bytes)?;
            let copied = memory.start().cast::<*const c_char>();
            let mut at = copied.add(count + 1).cast::<u8>();
            for index in 0..count {
                let text = *list.add(index);
                let length = string_length(text.cast(), usize::MAX)? + 1;
                copy(text.cast(), at, length);
                copied.add(index).write(at.cast());
                at = at.add(length);
            }
            // The memory began as zeros, so the list ends in null.
            Ok(Self {
                list: copied,
                _memory: Some(memory),
            })
        }
    }

    unsafe fn reach(list: List) -> bool {
        if !active() {
            return false;
        }
        // SAFETY: as promised to `new`.
        unsafe {
            let mut index = 0;
            loop {
                let entry = list.add(index);
                if reaches(entry, size_of::<*const c_char>()) || reaches(*entry, 1) {
                    return true;
                }
                if (*entry).is_null() {
                    return false;
                }
                index += 1;
            }
        }
    }
}

/// A path or name, as it is or in ordinary memory.
unsafe fn text(stand_ins: &mut StandIns, text: *const c_char) -> Result<*const c_char, c_int> {
    if text.is_null() || !reaches(text, libc::PATH_MAX as usize) {
        return Ok(text);
    }
    // SAFETY: the caller's string.
    unsafe { stand_ins.text(text.cast()) }.map(|copy| copy.cast_const().cast())
}

/// Everything that a program is started with, in ordinary memory.
struct Start {
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    _stand_ins: StandIns,
}

impl Start {
    unsafe fn new(path: *const c_char, arguments: List, environment: List) -> Result<Self, c_int> {
        let mut stand_ins = StandIns::new();
        // SAFETY: the caller's strings.
        unsafe {
            Ok(Self {
                path: text(&mut stand_ins, path)?,
                arguments: Strings::new(arguments)?,
                environment: Strings::new(environment)?,
                _stand_ins: stand_ins,
            })
        }
    }

    unsafe fn then<R: Failure>(
        path: *const c_char,
        arguments: List,
        environment: List,
        call: impl FnOnce(*const c_char, List, List) -> R,
    ) -> R {
        if !active() {
            return call(path, arguments, environment);
        }
        // SAFETY: the caller's strings.
        match unsafe { Self::new(path, arguments, environment) } {
            Ok(start) => call(start.path, start.arguments.list, start.environment.list),
            Err(number) => fail(number),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execve(
    path: *const c_char,
    arguments: List,
    environment: List,
) -> c_int {
    let real = real!(execve: (*const c_char, List, List) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        Start::then(
            path,
            arguments,
            environment,
            |path, arguments, environment| real(path, arguments, environment),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execv(path: *const c_char, arguments: List) -> c_int {
    // SAFETY: what `execv` does.
    unsafe { execve(path, arguments, ENVIRONMENT) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execvpe(
    name: *const c_char,
    arguments: List,
    environment: List,
) -> c_int {
    let real = real!(execvpe: (*const c_char, List, List) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        Start::then(
            name,
            arguments,
            environment,
            |name, arguments, environment| real(name, arguments, environment),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execvp(name: *const c_char, arguments: List) -> c_int {
    // SAFETY: what `execvp` does.
    unsafe { execvpe(name, arguments, ENVIRONMENT) }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fexecve(
    descriptor: c_int,
    arguments: List,
    environment: List,
) -> c_int {
    let real = real!(fexecve: (c_int, List, List) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        Start::then(
            core::ptr::null(),
            arguments,
            environment,
            |_, arguments, environment| real(descriptor, arguments, environment),
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn execveat(
    folder: c_int,
    path: *const c_char,
    arguments: List,
    environment: List,
    flags: c_int,
) -> c_int {
    let real = real!(execveat: (c_int, *const c_char, List, List, c_int) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        Start::then(
            path,
            arguments,
            environment,
            |path, arguments, environment| real(folder, path, arguments, environment, flags),
        )
    }
}

/// Arguments of a variadic call on x86-64: the first five after the path came in registers, the rest lies on the stack.
unsafe fn gather(first: List, more: List, then: impl FnOnce(List, List) -> c_int) -> c_int {
    const IN_REGISTERS: usize = 5;
    const FEW: usize = 64;
    // SAFETY: the caller ended the arguments with a null.
    unsafe {
        let argument = |index: usize| match index.checked_sub(IN_REGISTERS) {
            None => *first.add(index),
            Some(index) => *more.add(index),
        };
        let mut count = 0;
        while !argument(count).is_null() {
            count += 1;
        }
        // With execle the environment comes after the null; reading it does no harm where there is none.
        let after = argument(count + 1).cast::<*const c_char>();
        let mut few = [core::ptr::null::<c_char>(); FEW];
        let many;
        let list = if count < FEW {
            few.as_mut_ptr()
        } else {
            many = match Scratch::new((count + 1) * size_of::<*const c_char>()) {
                Ok(memory) => memory,
                Err(number) => return fail(number),
            };
            many.start().cast()
        };
        for index in 0..count {
            list.add(index).write(argument(index));
        }
        then(list, after)
    }
}

/// A variadic function: hands the path and where its arguments lie to `$inner`.
macro_rules! variadic {
    ($($name:ident by $inner:ident;)*) => { $(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name(path: *const c_char, first: *const c_char) -> c_int {
            naked_asm!(
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                // Above the five words and the return address.
                "lea rdx, [rsp + 48]",
                "call {inner}",
                "add rsp, 40",
                "ret",
                inner = sym $inner,
            )
        }
    )* };
}

variadic! {
    execl by execute_path;
    execlp by execute_name;
    execle by execute_with_environment;
}

unsafe extern "C" fn execute_path(path: *const c_char, first: List, more: List) -> c_int {
    // SAFETY: from the function above.
    unsafe {
        gather(first, more, |arguments, _| {
            execve(path, arguments, ENVIRONMENT)
        })
    }
}

unsafe extern "C" fn execute_name(name: *const c_char, first: List, more: List) -> c_int {
    // SAFETY: from the function above.
    unsafe {
        gather(first, more, |arguments, _| {
            execvpe(name, arguments, ENVIRONMENT)
        })
    }
}

unsafe extern "C" fn execute_with_environment(
    path: *const c_char,
    first: List,
    more: List,
) -> c_int {
    // SAFETY: from the function above.
    unsafe {
        gather(first, more, |arguments, environment| {
            execve(path, arguments, environment)
        })
    }
}

macro_rules! spawn_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(
            process: *mut pid_t,
            path: *const c_char,
            actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t,
            arguments: List,
            environment: List,
        ) -> ErrorNumber {
            type Actions = *const posix_spawn_file_actions_t;
            type Attributes = *const posix_spawnattr_t;
            let real = real!($name: (*mut pid_t, *const c_char, Actions, Attributes, List, List) -> ErrorNumber);
            // SAFETY: the caller's promises, passed on. The structs' own pointers lead to libc's heap.
            unsafe {
                if !active() {
                    return real(process, path, actions, attributes, arguments, environment);
                }
                let actions = super::signals::copied(actions);
                let attributes = super::signals::copied(attributes);
                let mut number = 0;
                let result = Start::then(path, arguments, environment, |path, arguments, environment| {
                    real(
                        &raw mut number,
                        path,
                        actions.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
                        attributes.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
                        arguments,
                        environment,
                    )
                });
                if result == ErrorNumber(0) && !process.is_null() {
                    *process = number;
                }
                result
            }
        }
    )* };
}

spawn_like! { posix_spawn posix_spawnp }

touch! { fn system(command: *const c_char) -> c_int { text command } }
touch! { fn popen(command: *const c_char, kind: *const c_char) -> *mut FILE { text command } }
