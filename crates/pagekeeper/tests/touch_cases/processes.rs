//! Starting programs with everything paged out.

use std::process::Command;

use super::Case;
use crate::touch_support::{Paged, errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(
        &[
            "execve", "execv", "execvp", "execvpe", "fexecve", "execveat", "execl", "execlp",
            "execle",
        ],
        EXEC,
    );
    add(&["posix_spawn", "posix_spawnp"], SPAWN);
    add(&["system", "popen"], SHELL);
    all
}

/// Arguments and an environment in paged memory: `sh -c 'echo $0 $1 $MARK' first second`.
fn strings(paged: &mut Paged) -> (*mut [usize; 6], *mut [usize; 3]) {
    let long = format!("LONG={}", "x".repeat(9000));
    let arguments = ["sh", "-c", "echo $0 $1 $MARK ${#LONG}", "first", "second"]
        .map(|text| paged.text(text).expose_provenance());
    let environment = ["MARK=marked", &long].map(|text| paged.text(text).expose_provenance());
    let [a, b, c, d, e] = arguments;
    (
        paged.value([a, b, c, d, e, 0]),
        paged.value([environment[0], environment[1], 0]),
    )
}

const EXEC: Case = |name, _| {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["exec_child", "--exact", "--nocapture"])
        .env("PAGEKEEPER_EXEC", name)
        .env("MARK", "marked")
        .env("LONG", "x".repeat(9000))
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("first second marked 9000"),
        "{name}: {text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
};

/// The other side of `EXEC`: becomes the shell.
pub(crate) fn execute(name: &str) {
    let mut paged = Paged::small();
    let (arguments, environment) = strings(&mut paged);
    let path = paged.text("/bin/sh");
    let short = paged.text("sh");
    // SAFETY: a descriptor of our own.
    let file = unsafe { libc::open(c"/bin/sh".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let text: [*const libc::c_char; 6] =
        paged.get(arguments).map(core::ptr::with_exposed_provenance);
    let list = environment.cast::<*const libc::c_char>();
    paged.out();
    match name {
        "execve" => call!(name, path, arguments, environment),
        "execv" => call!(name, path, arguments),
        "execvp" => call!(name, short, arguments),
        "execvpe" => call!(name, short, arguments, environment),
        "fexecve" => call!(name, file, arguments, environment),
        "execveat" => call!(name, libc::AT_FDCWD, path, arguments, environment, 0),
        // SAFETY: strings that end in null, eight of them, so that some travel on the stack.
        _ => unsafe {
            let [a, b, c, d, e, end] = text;
            let third = c"third".as_ptr();
            (match name {
                "execl" => libc::execl(path.cast(), a, b, c, d, e, third, third, end),
                "execlp" => libc::execlp(short.cast(), a, b, c, d, e, third, third, end),
                _ => libc::execle(path.cast(), a, b, c, d, e, third, third, end, list),
            }) as isize
        },
    };
    panic!("{name} came back: {}", errno());
}

const SPAWN: Case = |name, paged| {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let (arguments, environment) = strings(paged);
    let path = paged.text("/bin/sh");
    let process = paged.value(0_i32);
    // SAFETY: libc's own structs, moved into paged memory as they are.
    let (actions, attributes) = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = core::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawn_file_actions_adddup2(&raw mut actions, writer.as_raw_fd(), 1);
        let mut attributes: libc::posix_spawnattr_t = core::mem::zeroed();
        libc::posix_spawnattr_init(&raw mut attributes);
        (paged.value(actions), paged.value(attributes))
    };
    paged.out();
    assert_eq!(
        int(call!(
            name,
            process,
            path,
            actions,
            attributes,
            arguments,
            environment
        )),
        0
    );
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    assert_eq!(text, "first second marked 9000\n");
    let mut status = 0;
    // SAFETY: our child.
    let waited = unsafe { libc::waitpid(paged.get(process), &raw mut status, 0) };
    assert_eq!(waited, paged.get(process));
    assert_eq!(status, 0);
    let missing = paged.text("/no such program");
    paged.out();
    assert_eq!(
        int(call!(
            name,
            process,
            missing,
            0_usize,
            0_usize,
            arguments,
            environment
        )),
        libc::ENOENT
    );
};

const SHELL: Case = |name, paged| {
    let command = paged.text("exit 5");
    let kind = paged.text("r");
    paged.out();
    let status = if name == "system" {
        int(call!(name, command))
    } else {
        let stream = call!(name, command, kind);
        assert_ne!(stream, 0);
        // SAFETY: the stream that was just made.
        unsafe {
            unsafe extern "C" {
                fn pclose(stream: *mut libc::FILE) -> i32;
            }
            pclose(core::ptr::with_exposed_provenance_mut(stream as usize))
        }
    };
    assert_eq!(status, 5 << 8);
};
