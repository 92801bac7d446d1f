//! `pagekeeper top`: processes and where their memory is, live in a terminal.
//!
//! Looks once a second, draws after each look and after each key, and not otherwise.
//!
//! | file | what |
//! |---|---|
//! | [`app`] | what is shown, and what keys do to it |
//! | [`history`] | rates and the time line: differences of counters, the last minutes |
//! | [`list`] | the list of processes |
//! | [`detail`] | one process |
//! | [`chart`] | the stacked time line, heat strips, histogram bars |
//! | [`palette`] | colours |
//! | [`symbols`] | names of code |
//! | [`tree`] | regions as a tree |

mod app;
mod chart;
mod detail;
mod history;
mod list;
mod palette;
mod symbols;
mod tree;

use core::sync::atomic::{AtomicBool, Ordering};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableMouseCapture, EnableMouseCapture, Event, KeyEventKind,
};
use ratatui::crossterm::execute;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use self::app::{App, Next};
use crate::arguments::TopOptions;
use crate::failure::Failure;

/// How soon a signal is noticed, at the latest.
const SIGNAL_LOOK: Duration = Duration::from_millis(100);

/// Runs until it is left with `q`.
pub(crate) fn run(options: &TopOptions) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "top needs a terminal; for scripts there is 'pagekeeper status --watch --json'"
                .to_owned(),
        ));
    }
    // A process that cannot be shown is said in one line, before the screen changes.
    let mut app = App::new(options.pid)?;
    let signals = Signals::caught().map_err(|error| broken(&error))?;
    let mut screen = Screen::open().map_err(|error| broken(&error))?;
    let ended = watch(&mut screen.terminal, &mut app, options.every, &signals);
    drop(screen);
    // As if it had not been caught, now that the terminal is what it was.
    if let Some(signal) = signals.came() {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    match ended.map_err(|error| broken(&error))? {
        Some(line) => Err(Failure::Broken(line)),
        None => Ok(()),
    }
}

/// The terminal while it is ours. What it was comes back however this ends.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> std::io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        // The library's own hook, which this one goes on to, leaves the mouse as it is.
        let restore = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _ = execute!(std::io::stdout(), DisableMouseCapture);
            restore(info);
        }));
        // Where there is no mouse, keys do everything.
        let _ = execute!(std::io::stdout(), EnableMouseCapture);
        Ok(Self { terminal })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(std::io::stdout(), DisableMouseCapture);
        ratatui::restore();
    }
}

/// Signals that end the program: caught, so that the terminal can be put back first.
struct Signals(Vec<(i32, Arc<AtomicBool>)>);

impl Signals {
    fn caught() -> std::io::Result<Self> {
        let caught = [SIGTERM, SIGHUP, SIGINT, SIGQUIT].map(|signal| {
            let came = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal, Arc::clone(&came))?;
            Ok((signal, came))
        });
        caught.into_iter().collect::<std::io::Result<_>>().map(Self)
    }

    /// One that came.
    fn came(&self) -> Option<i32> {
        let came = |(_, came): &&(i32, Arc<AtomicBool>)| came.load(Ordering::Relaxed);
        self.0.iter().find(came).map(|(signal, _)| *signal)
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::Broken(format!("the terminal: {error}"))
}

/// The loop; gives the line to leave with, if there is one.
fn watch(
    terminal: &mut DefaultTerminal,
    app: &mut App,
    every: Duration,
    signals: &Signals,
) -> std::io::Result<Option<String>> {
    while signals.came().is_none() {
        let look = Instant::now();
        if let Some(line) = app.look() {
            return Ok(Some(line));
        }
        terminal.draw(|frame| app.draw(frame))?;
        while signals.came().is_none() {
            let left = every.saturating_sub(look.elapsed());
            if left.is_zero() {
                break;
            }
            if !event::poll(left.min(SIGNAL_LOOK))? {
                continue;
            }
            let next = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => app.key(key),
                Event::Mouse(mouse) => app.mouse(mouse),
                Event::Resize(..) => Next::Draw,
                _ => Next::Wait,
            };
            match next {
                Next::Leave => return Ok(None),
                Next::Look => break,
                Next::Draw => {
                    terminal.draw(|frame| app.draw(frame))?;
                }
                Next::Wait => {}
            }
        }
    }
    Ok(None)
}
