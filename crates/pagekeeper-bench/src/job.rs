//! Work for a child process: the bench starts itself anew for each contender, hands the job over as JSON on standard input
//! and gets the results as JSON on standard output. So the peak of memory is one contender's, and a crash is one
//! contender's too.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::kernel;
use crate::patterns::{calls, fits, heap, metadata, monitor, paging, views};
use crate::usage::Peak;

/// What a child has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Touch that many bytes and end, so that the machine really has them.
    Warm(u64),
    Paging(paging::Job),
    Fits(fits::Job),
    Metadata(metadata::Job),
    Calls(calls::Job),
    Heap(heap::Job),
    Views(views::Job),
    Monitor(monitor::Job),
}

/// Work, and where.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// The control group to join before anything else.
    cgroup: Option<PathBuf>,
    parent: u32,
    work: Work,
}

/// Runs `work` in a child, in a control group if one is given, and returns what it says.
///
/// # Errors
/// What the child wrote to standard error when it fails, is killed, or takes longer than `limit`.
pub(crate) fn run<T: DeserializeOwned>(
    work: Work,
    cgroup: Option<&Path>,
    limit: Duration,
) -> anyhow::Result<T> {
    let order = Order {
        cgroup: cgroup.map(Path::to_owned),
        parent: std::process::id(),
        work,
    };
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the bench cannot start itself anew")?;
    let mut output = child.stdout.take().context("no pipe")?;
    let mut complaints = child.stderr.take().context("no pipe")?;
    // Both pipes are emptied all the time, or the child would wait for us.
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text)
    });
    let complaints = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = complaints.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    if let Some(mut input) = child.stdin.take() {
        // A child that died early says so below.
        let _ = input.write_all(&serde_json::to_vec(&order)?);
    }
    let ended = wait(&mut child, limit);
    let text = output
        .join()
        .map_err(|_| anyhow!("reading the child's results failed"))??;
    let complaints = complaints.join().unwrap_or_default();
    match ended? {
        Some(status) if status.success() => {
            if !complaints.trim().is_empty() {
                eprintln!("{}", complaints.trim_end());
            }
            serde_json::from_str(&text).context("the child's results cannot be read")
        }
        Some(status) => bail!("{}", cause(status, &complaints)),
        None => bail!(
            "it did not end within {} s and was stopped",
            limit.as_secs()
        ),
    }
}

/// Waits for the child's end; kills it and returns `None` when it takes too long.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Why a child failed, in one line.
fn cause(status: ExitStatus, complaints: &str) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    let lines = complaints
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let said: Vec<&str> = lines
        .filter(|line| !line.starts_with("note:"))
        .take(3)
        .collect();
    let how = match status.signal() {
        Some(9) => "killed (signal 9: out of memory in its control group?)".to_owned(),
        Some(number) => format!("ended by signal {number}"),
        None => format!("exit code {}", status.code().unwrap_or(-1)),
    };
    if said.is_empty() {
        how
    } else {
        format!("{how}: {}", said.join(" / "))
    }
}

/// The child's whole life.
///
/// # Errors
/// What went wrong, for standard error.
pub(crate) fn child() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let order: Order = serde_json::from_str(&text).context("no job on standard input")?;
    // A child without its bench would go on for nobody.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if parent != Some(order.parent) {
        bail!("the bench that gave the job has ended");
    }
    if let Some(folder) = &order.cgroup {
        kernel::join(folder).context("the control group cannot be joined")?;
    }
    let before = Peak::now(&[]);
    let result = match order.work {
        Work::Warm(bytes) => serde_json::to_value(warm(bytes)?)?,
        Work::Paging(job) => serde_json::to_value(paging::run(&job, &before)?)?,
        Work::Fits(job) => serde_json::to_value(fits::run(&job, &before)?)?,
        Work::Metadata(job) => serde_json::to_value(metadata::run(&job)?)?,
        Work::Calls(job) => serde_json::to_value(calls::run(&job)?)?,
        Work::Heap(job) => serde_json::to_value(heap::run(&job)?)?,
        Work::Views(job) => serde_json::to_value(views::run(&job, &before)?)?,
        Work::Monitor(job) => serde_json::to_value(monitor::run(&job)?)?,
    };
    println!("{result}");
    Ok(())
}

/// Touches memory, so that the host behind a virtual machine has given it before anything is measured: as huge pages and
/// as small ones, which the kernel takes from different places. Returns bytes.
fn warm(bytes: u64) -> anyhow::Result<u64> {
    use pagekeeper_sys::map::{Access, Treatment, reserve_aligned};
    use pagekeeper_units::{PAGES_PER_HUGE_PAGE, PageCount};
    let pages = PageCount::holding(bytes.max(1));
    let alignment = PageCount::new(PAGES_PER_HUGE_PAGE);
    for treatment in [Treatment::HUGE_PAGES, Treatment::NO_HUGE_PAGES] {
        let mapping = reserve_aligned(pages, alignment, Access::READ_WRITE, treatment)?;
        let mut words = memory_words(&mapping);
        for page in 0..pages.get() {
            words.store(page * 512, 1);
        }
    }
    Ok(bytes)
}

#[allow(unsafe_code, reason = "UNSAFETY: looks at a fresh mapping as words")]
fn memory_words(mapping: &pagekeeper_sys::map::Mapping) -> crate::pages::Words {
    // SAFETY: the mapping is fresh, readable and writable, and used through these words only.
    unsafe { crate::pages::Words::new(mapping.base(), mapping.len() as u64 / 8) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn causes_are_one_line_with_what_the_child_said() {
        let killed = cause(ExitStatus::from_raw(9), "");
        assert!(killed.starts_with("killed (signal 9"), "{killed}");
        let said = cause(
            ExitStatus::from_raw(1 << 8),
            "\nError: no room\n\nnote: run with\nCaused by:\n",
        );
        assert_eq!(said, "exit code 1: Error: no room / Caused by:");
        assert_eq!(cause(ExitStatus::from_raw(7), "x"), "ended by signal 7: x");
    }

    #[test]
    fn a_child_that_takes_too_long_is_stopped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = Instant::now();
        assert!(
            wait(&mut child, Duration::from_millis(30))
                .unwrap()
                .is_none()
        );
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
