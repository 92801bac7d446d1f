//! How far a phase is: a bar on a terminal, plain lines elsewhere, nothing with `--json`.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// How often a bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(10);

/// What the units of a phase are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds of a fixed time.
    Milliseconds,
}

/// A phase and its counter, which workers add to.
#[derive(Debug)]
pub(super) struct Phase {
    name: &'static str,
    unit: Unit,
    total: u64,
    done: AtomicU64,
    finished: AtomicBool,
    began: Instant,
    visible: bool,
}

impl Phase {
    /// A phase that ends when `total` is reached.
    pub(super) fn new(name: &'static str, unit: Unit, total: u64, visible: bool) -> Self {
        Self {
            name,
            unit,
            total,
            done: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            began: Instant::now(),
            visible,
        }
    }

    /// So much more is done.
    pub(super) fn add(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }

    /// So much was not done after all.
    pub(super) fn take_back(&self, amount: u64) {
        self.done.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Does the work of the phase and shows meanwhile how far it is. What the work returns, and how long it took.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        std::thread::scope(|scope| {
            self.show(scope);
            // Also when the work panics, or the display would be waited for forever.
            let _finish = FinishWhenDropped(self);
            let began = Instant::now();
            let result = work();
            (result, began.elapsed())
        })
    }

    /// Shows it from a thread of its own until it is finished.
    fn show<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        if !self.visible {
            return;
        }
        let show = || {
            if std::io::stderr().is_terminal() {
                self.draw()
            } else {
                self.print_lines()
            }
        };
        // A display is no reason to fail.
        let _ = std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn_scoped(scope, show);
    }

    fn position(&self) -> u64 {
        match self.unit {
            Unit::Bytes => self.done.load(Ordering::Relaxed),
            Unit::Milliseconds => self.elapsed().as_millis() as u64,
        }
        .min(self.total)
    }

    /// Sleeps up to `most`, but not beyond the end of the phase.
    fn wait(&self, most: Duration) -> bool {
        let end = Instant::now() + most;
        while !self.finished.load(Ordering::Acquire) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
        false
    }

    fn draw(&self) {
        let template = match self.unit {
            Unit::Bytes => {
                "{msg:8} {bar:32.cyan/blue} {binary_bytes:>10} of {binary_total_bytes}, {binary_bytes_per_sec}"
            }
            Unit::Milliseconds => "{msg:8} {bar:32.cyan/blue} {elapsed_precise} ",
        };
        let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(self.name);
        while self.wait(REDRAW) {
            bar.set_position(self.position());
        }
        bar.finish_and_clear();
    }

    fn print_lines(&self) {
        while self.wait(LINE) {
            match self.unit {
                Unit::Bytes => eprintln!(
                    "{}: {} of {} after {:.0} s",
                    self.name,
                    terminal::size(self.position()),
                    terminal::size(self.total),
                    self.elapsed().as_secs_f64()
                ),
                Unit::Milliseconds => {
                    eprintln!("{}: {:.0} s", self.name, self.elapsed().as_secs_f64());
                }
            }
        }
    }
}

struct FinishWhenDropped<'phase>(&'phase Phase);

impl Drop for FinishWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_ends_with_its_work() {
        let phase = Phase::new("test", Unit::Bytes, 100, true);
        let (result, time) = phase.run(|| {
            phase.add(150);
            phase.take_back(60);
            phase.position()
        });
        assert_eq!(result, 90);
        assert!(time < Duration::from_secs(5));
    }

    #[test]
    fn a_failing_phase_ends_too() {
        let phase = Phase::new("test", Unit::Milliseconds, 100, true);
        let failed = std::panic::catch_unwind(|| phase.run(|| panic!("on purpose")));
        assert!(failed.is_err() && phase.finished.load(Ordering::Acquire));
    }
}
