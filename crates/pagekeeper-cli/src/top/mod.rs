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

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableMouseCapture, EnableMouseCapture, Event, KeyEventKind,
};
use ratatui::crossterm::execute;

use self::app::{App, Next};
use crate::arguments::TopOptions;
use crate::failure::Failure;

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
    let mut terminal = ratatui::try_init().map_err(|error| broken(&error))?;
    // Where there is no mouse, keys do everything.
    let _ = execute!(std::io::stdout(), EnableMouseCapture);
    let ended = watch(&mut terminal, &mut app, options.every);
    let _ = execute!(std::io::stdout(), DisableMouseCapture);
    ratatui::restore();
    match ended.map_err(|error| broken(&error))? {
        Some(line) => Err(Failure::Broken(line)),
        None => Ok(()),
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
) -> std::io::Result<Option<String>> {
    loop {
        let look = Instant::now();
        if let Some(line) = app.look() {
            return Ok(Some(line));
        }
        terminal.draw(|frame| app.draw(frame))?;
        loop {
            let left = every.saturating_sub(look.elapsed());
            if left.is_zero() {
                break;
            }
            if !event::poll(left)? {
                break;
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
}
