//! What is shown, and what keys do to it.

use pagekeeper::monitor::MonitorError;
use pagekeeper_sys::memory_info::MemoryInfo;
use ratatui::Frame;
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::detail::Detail;
use super::list::List;
use super::palette::{CHOSEN, HEADING, QUIET, WARNING};
use crate::failure::Failure;
use crate::terminal::size;

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing changed.
    Wait,
    /// Something is shown otherwise.
    Draw,
    /// Something else is to be looked at.
    Look,
    /// The end.
    Leave,
}

/// What a key means to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Lines up (negative) or down.
    Move(isize),
    First,
    Last,
    /// Into what is chosen; opens and closes in a tree.
    Enter,
    /// The next order, or the other way round.
    Sort,
    Reverse,
    /// The next kind, or all.
    Kind,
}

/// 76 columns at most: with its frame it fits the smallest terminal that shows everything.
const HELP: [&str; 15] = [
    "arrows, PgUp, PgDn, Home, End  choose (mouse: wheel, click)",
    "Enter, click on chosen line    into the process; open, close an allocation",
    "Esc, Backspace                 back to the list",
    "s, r                           next order, the other way round",
    "                               (mouse: click on a heading)",
    "/                              only what contains the text; Enter keeps it",
    "k                              list: only those that use Pagekeeper;",
    "                               process: only one kind of memory",
    "space                          pause, go on",
    "q, Ctrl-C                      leave",
    "",
    "Sizes in units of 1,024; soft, hard: faults a second; in, out: MB a second.",
    "Strips show which part of a region is in RAM: · none ░ ▒ ▓ more █ all.",
    "W working set, M modified, S standby, C compressed pool (RAM), F page file;",
    "┄ the RAM budget.",
];

/// See the module text.
pub(super) struct App {
    list: List,
    detail: Option<Detail>,
    is_paused: bool,
    is_help: bool,
    /// Text is being typed.
    is_typing: bool,
    message: Option<String>,
    /// Where the lines of the list or tree are drawn.
    lines: Rect,
}

impl App {
    /// The list, or one process.
    pub(super) fn new(pid: Option<u32>) -> Result<Self, Failure> {
        Ok(Self {
            list: List::default(),
            detail: pid.map(Detail::new).transpose()?,
            is_paused: false,
            is_help: false,
            is_typing: false,
            message: None,
            lines: Rect::default(),
        })
    }

    /// Looks again; gives the line to leave with when nothing can be looked at.
    pub(super) fn look(&mut self) -> Option<String> {
        if self.is_paused {
            return None;
        }
        if let Some(detail) = &mut self.detail {
            match detail.look() {
                Ok(()) => return None,
                Err(error) => {
                    self.message = Some(error.to_string());
                    self.detail = None;
                }
            }
        }
        self.list
            .look()
            .err()
            .map(|error: MonitorError| error.to_string())
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Next::Leave;
        }
        if self.is_typing {
            return self.typed(key.code);
        }
        if self.is_help {
            self.is_help = false;
            return Next::Draw;
        }
        self.message = None;
        let page = isize::try_from(self.lines.height).unwrap_or(1).max(1);
        match key.code {
            KeyCode::Char('q') => Next::Leave,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => {
                self.is_help = true;
                Next::Draw
            }
            KeyCode::Char(' ') => {
                self.is_paused = !self.is_paused;
                if self.is_paused {
                    Next::Draw
                } else {
                    Next::Look
                }
            }
            KeyCode::Char('/') => {
                self.is_typing = true;
                Next::Draw
            }
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            KeyCode::Up => self.command(Command::Move(-1)),
            KeyCode::Down => self.command(Command::Move(1)),
            KeyCode::PageUp => self.command(Command::Move(-page)),
            KeyCode::PageDown => self.command(Command::Move(page)),
            KeyCode::Home => self.command(Command::First),
            KeyCode::End => self.command(Command::Last),
            KeyCode::Enter | KeyCode::Right => self.command(Command::Enter),
            KeyCode::Char('s') => self.command(Command::Sort),
            KeyCode::Char('r') => self.command(Command::Reverse),
            KeyCode::Char('k') => self.command(Command::Kind),
            _ => Next::Wait,
        }
    }

    fn typed(&mut self, code: KeyCode) -> Next {
        let filter = match &mut self.detail {
            Some(detail) => detail.filter_mut(),
            None => self.list.filter_mut(),
        };
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char(letter) => filter.push(letter),
            _ => return Next::Wait,
        }
        self.arrange();
        Next::Draw
    }

    fn arrange(&mut self) {
        match &mut self.detail {
            Some(detail) => detail.arrange(),
            None => self.list.arrange(),
        }
    }

    fn back(&mut self) -> Next {
        let filter = match &mut self.detail {
            Some(detail) => detail.filter_mut(),
            None => self.list.filter_mut(),
        };
        if !filter.is_empty() {
            filter.clear();
            self.arrange();
            return Next::Draw;
        }
        if self.detail.take().is_some() {
            self.is_paused = false;
            return Next::Look;
        }
        Next::Wait
    }

    fn command(&mut self, command: Command) -> Next {
        if let Some(detail) = &mut self.detail {
            detail.command(command);
            return Next::Draw;
        }
        if command != Command::Enter {
            self.list.command(command);
            return Next::Draw;
        }
        let Some(pid) = self.list.chosen() else {
            return Next::Wait;
        };
        match Detail::new(pid) {
            Ok(detail) => {
                self.detail = Some(detail);
                self.is_paused = false;
                Next::Look
            }
            Err(error) => {
                self.message = Some(error.to_string());
                Next::Draw
            }
        }
    }

    /// The mouse was used.
    pub(super) fn mouse(&mut self, mouse: MouseEvent) -> Next {
        match mouse.kind {
            MouseEventKind::ScrollUp => self.command(Command::Move(-3)),
            MouseEventKind::ScrollDown => self.command(Command::Move(3)),
            MouseEventKind::Down(MouseButton::Left) => {
                let (x, y) = (mouse.column, mouse.row);
                if y + 1 == self.lines.y {
                    return match &mut self.detail {
                        Some(_) => self.command(Command::Sort),
                        None => {
                            self.list.sort_at(x);
                            Next::Draw
                        }
                    };
                }
                if !self.lines.contains((x, y).into()) {
                    return Next::Wait;
                }
                let line = usize::from(y - self.lines.y);
                let was_chosen = match &mut self.detail {
                    Some(detail) => detail.choose(line),
                    None => self.list.choose(line),
                };
                match was_chosen {
                    true => self.command(Command::Enter),
                    false => Next::Draw,
                }
            }
            _ => Next::Wait,
        }
    }

    /// Draws everything.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [top, middle, bottom] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.title(), top);
        self.lines = match &mut self.detail {
            Some(detail) => detail.draw(frame, middle),
            None => self.list.draw(frame, middle),
        };
        frame.render_widget(self.last_line(), bottom);
        if self.is_help {
            draw_help(frame);
        }
    }

    fn title(&self) -> Line<'static> {
        let text = match &self.detail {
            Some(detail) => detail.title(),
            None => self.list.title(),
        };
        let machine = MemoryInfo::read().map_or_else(
            |_| String::new(),
            |machine| {
                format!(
                    "  RAM {} free of {}",
                    size(machine.available_bytes),
                    size(machine.total_bytes)
                )
            },
        );
        let mut spans = vec![Span::styled(text, HEADING), Span::styled(machine, QUIET)];
        if self.is_paused {
            spans.push(Span::styled("  PAUSED", WARNING));
        }
        Line::from(spans)
    }

    fn last_line(&self) -> Line<'static> {
        let filter = match &self.detail {
            Some(detail) => detail.filter(),
            None => self.list.filter(),
        };
        if self.is_typing {
            return Line::styled(format!("only what contains: {filter}_"), CHOSEN);
        }
        if let Some(message) = &self.message {
            return Line::styled(message.clone(), WARNING);
        }
        let keys = match (&self.detail, filter.is_empty()) {
            (_, false) => format!("only '{filter}' (Esc: all)  ? help  q leave"),
            (Some(_), _) => {
                "Enter open  s order  k kind  / filter  space pause  Esc back  ? help  q leave"
                    .to_owned()
            }
            (None, _) => {
                "Enter look into  s order  k Pagekeeper  / filter  space pause  ? help  q leave"
                    .to_owned()
            }
        };
        Line::styled(keys, QUIET)
    }
}

fn draw_help(frame: &mut Frame<'_>) {
    let whole = frame.area();
    let height = (HELP.len() as u16 + 2).min(whole.height);
    let width = 80.min(whole.width);
    let area = Rect::new(
        (whole.width - width) / 2,
        (whole.height - height) / 2,
        width,
        height,
    );
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys (any key closes this) ");
    frame.render_widget(
        Paragraph::new(HELP.map(|line| Line::raw(format!(" {line}"))).to_vec()).block(block),
        area,
    );
}
