//! A lock, signals, a new process and descriptors, on the smallest budget that the engine takes.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls libc with paged memory, which is what is tried"
)]

use std::ffi::{CString, c_char};
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagekeeper::Residence;

use super::{PAGE, Region, Settings, Told, fill, verify};

/// Four threads on one mutex. It guards a counter; besides, each thread writes to pages of its own all over the region.
pub(super) fn mutex(settings: &Settings) -> Told {
    const THREADS: usize = 4;
    let region = Region::tiny(settings.engine)?;
    let base = region.memory.base().expose_provenance();
    let pages = region.memory.pages().count().as_usize();
    let (end, rounds) = (
        Instant::now() + Duration::from_secs(settings.seconds),
        AtomicU64::new(0),
    );
    let worker = |thread: usize| {
        let lock = ptr::with_exposed_provenance_mut::<libc::pthread_mutex_t>(base);
        let counter = ptr::with_exposed_provenance_mut::<u64>(base + pages / 2 * PAGE);
        let mut state = 88_172_645_463_325_252 + thread as u64;
        let mut own = vec![0_u64; pages];
        let word = |page: usize| {
            ptr::with_exposed_provenance_mut::<u64>(base + page * PAGE + 256 + 8 * thread)
        };
        while Instant::now() < end {
            // SAFETY: zeros are an initialised mutex; it guards the counter; the words are this thread's.
            unsafe {
                if libc::pthread_mutex_lock(lock) != 0 {
                    return Err("DIFFERENCE: the mutex cannot be taken".to_owned());
                }
                counter.write_volatile(counter.read_volatile() + 1);
                if libc::pthread_mutex_unlock(lock) != 0 {
                    return Err("DIFFERENCE: the mutex cannot be let go".to_owned());
                }
            }
            rounds.fetch_add(1, Ordering::Relaxed);
            for _ in 0..20 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let page = (state >> 20) as usize % pages;
                // SAFETY: as above.
                let found = unsafe { word(page).read_volatile() };
                if found != own[page] {
                    return Err(format!(
                        "DIFFERENCE in page {page}: {found} not {}",
                        own[page]
                    ));
                }
                own[page] = state;
                // SAFETY: as above.
                unsafe { word(page).write_volatile(state) };
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || worker(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    // SAFETY: all threads have ended.
    let counted =
        unsafe { ptr::with_exposed_provenance::<u64>(base + pages / 2 * PAGE).read_volatile() };
    let rounds = rounds.into_inner();
    if counted != rounds {
        return Err(format!("DIFFERENCE: {rounds} rounds, {counted} counted").into());
    }
    Ok(format!(
        "{THREADS} threads on one mutex in {}: {rounds} rounds in {} s, all counted",
        budget(&region),
        settings.seconds
    ))
}

fn budget(region: &Region) -> String {
    format!(
        "{} pages of RAM",
        region.space.status().budget.pages().get()
    )
}

/// A thread that blocked every signal pages in and out.
pub(super) fn signals(settings: &Settings) -> Told {
    const ROUNDS: u64 = 3;
    let region = Region::tiny(settings.engine)?;
    // SAFETY: a full set, for this thread and those that it starts.
    let blocked = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut())
    };
    if blocked != 0 {
        return Err(std::io::Error::from_raw_os_error(blocked).into());
    }
    let bytes = region.bytes();
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                for round in 0..ROUNDS {
                    fill(bytes, round);
                    verify(bytes, 0, round, "a thread with all signals blocked")?;
                }
                Ok::<_, String>(())
            })
            .join()
            .expect("no panic")
    })?;
    let size = region.memory.size();
    Ok(format!(
        "every signal blocked, {ROUNDS} times {size} in {}, every byte equal",
        budget(&region)
    ))
}

/// Strings in the region, one to a page and across its end.
struct Strings<'a> {
    region: &'a Region,
    used: usize,
}

impl Strings<'_> {
    fn place(&mut self, bytes: &[u8]) -> *mut u8 {
        let at = self.used + PAGE - 8;
        self.used += (PAGE - 8 + bytes.len()).next_multiple_of(PAGE);
        let to = &mut self.region.bytes()[at..at + bytes.len()];
        to.copy_from_slice(bytes);
        to.as_mut_ptr()
    }

    fn text(&mut self, text: &str) -> Result<*mut c_char, std::ffi::NulError> {
        Ok(self.place(CString::new(text)?.as_bytes_with_nul()).cast())
    }

    /// An array of strings that ends with null; itself in the region.
    fn list(&mut self, texts: &[String]) -> Result<*const *mut c_char, std::ffi::NulError> {
        let mut list = Vec::new();
        for text in texts {
            list.extend_from_slice(&self.text(text)?.expose_provenance().to_ne_bytes());
        }
        list.extend_from_slice(&[0; 8]);
        Ok(self.place(&list).cast_const().cast())
    }
}

/// A shell is started by path, with arguments and environment that are all out, and writes down what it was given.
pub(super) fn spawn(settings: &Settings) -> Told {
    let region = Region::tiny(settings.engine)?;
    // Further up: mapped may keep the beginning in anonymous memory.
    let middle = region.memory.size().as_usize() / 4;
    let mut strings = Strings {
        region: &region,
        used: middle,
    };
    let given: Vec<_> = (0..40)
        .map(|number| format!("argument {number} {}", "x".repeat(number * 7)))
        .collect();
    let mut arguments = vec![
        "sh".to_owned(),
        "-c".to_owned(),
        "printf '%s\\n' \"$@\" \"$FIRST\" \"$LAST\"".to_owned(),
        "sh".to_owned(),
    ];
    arguments.extend(given.iter().cloned());
    let mut environment: Vec<_> = (0..40)
        .map(|number| format!("V{number}={number}"))
        .collect();
    environment.insert(0, "FIRST=the first".to_owned());
    environment.push("LAST=the last".to_owned());
    let path = strings.text("/bin/sh")?;
    let arguments = strings.list(&arguments)?;
    let environment = strings.list(&environment)?;
    let (first, last) = (middle as u64, strings.used as u64);
    let mut output = tempfile::tempfile()?;
    // Out with it: by asking, and by needing the room for something else.
    region.memory.trim(first..last);
    region.bytes()[last as usize..]
        .chunks_mut(PAGE)
        .for_each(|page| page.fill(7));
    let out: u64 = region
        .memory
        .residence(first..last)
        .iter()
        .filter(|(_, residence)| *residence != Residence::Resident)
        .map(|(pages, _)| pages.count().get())
        .sum();
    // SAFETY: file actions of our own; strings as `posix_spawn` wants them.
    let (result, status) = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawn_file_actions_adddup2(&raw mut actions, output.as_raw_fd(), 1);
        let (mut child, mut status) = (0, 0);
        let result = libc::posix_spawn(
            &raw mut child,
            path,
            &raw const actions,
            ptr::null(),
            arguments,
            environment,
        );
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        if result == 0 {
            libc::waitpid(child, &raw mut status, 0);
        }
        (result, status)
    };
    if result != 0 || status != 0 {
        let error = std::io::Error::from_raw_os_error(result);
        return Err(format!("posix_spawn: {error}, status {status:#x}").into());
    }
    let mut text = String::new();
    output.rewind()?;
    output.read_to_string(&mut text)?;
    let should = given
        .iter()
        .map(String::as_str)
        .chain(["the first", "the last"]);
    if !text.lines().eq(should) {
        return Err(format!("DIFFERENCE: the shell was given\n{text}").into());
    }
    Ok(format!(
        "path, {} arguments and environment in {} pages, {out} of them out: the shell got every byte",
        given.len() + 4,
        (last - first) / PAGE as u64
    ))
}

/// The numbers that are open now, but for the standard ones.
fn open_numbers() -> Vec<i32> {
    (3..20_000)
        .chain(1_048_000..1_048_576)
        // SAFETY: asks for flags.
        .filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1)
        .collect()
}

/// Everything is closed and every number replaced, again and again, while another thread pages.
pub(super) fn descriptors(settings: &Settings) -> Told {
    let region = Region::tiny(settings.engine)?;
    let bytes = region.bytes();
    fill(bytes, 0);
    let (stop, passes) = (AtomicBool::new(false), AtomicU64::new(0));
    let paging = || {
        while !stop.load(Ordering::Relaxed) {
            let pass = passes.load(Ordering::Relaxed);
            verify(bytes, 0, pass, "a thread that pages meanwhile")?;
            fill(bytes, pass + 1);
            passes.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, String>(())
    };
    let (mut closed, mut replaced, mut refused) = (0_u64, 0_u64, 0_u64);
    std::thread::scope(|scope| {
        let worker = scope.spawn(paging);
        let end = Instant::now() + Duration::from_secs(settings.seconds.min(10));
        while !worker.is_finished() && (Instant::now() < end || passes.load(Ordering::Relaxed) < 2)
        {
            // SAFETY: nothing that is open belongs to this program any more.
            unsafe {
                libc::close_range(3, u32::MAX, 0);
                closed += 1;
                for number in open_numbers() {
                    if libc::dup2(2, number) == number {
                        replaced += 1;
                    } else {
                        refused += 1;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        worker.join().expect("no panic")
    })?;
    let passes = passes.into_inner();
    verify(region.bytes(), 0, passes, "the last pass")?;
    if closed == 0 || refused > 0 {
        return Err(format!("{closed} times close_range, {refused} times dup2 refused").into());
    }
    Ok(format!(
        "close_range(3, ~0) {closed} times, dup2 onto {replaced} numbers, {passes} passes over {} in {} meanwhile, every byte equal",
        region.memory.size(),
        budget(&region)
    ))
}
