//! Why the program ends with another code than 0.

use std::process::ExitCode;

use pagekeeper::Error;
use pagekeeper::monitor::MonitorError;

use crate::terminal;

/// The exit code of wrong use and wrong settings.
pub(crate) const USAGE: u8 = 2;

/// The exit code of a difference, of paging that failed, and of something essential that is missing.
const BAD: u8 = 1;

/// See the module text.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong use or settings: one line that says what to change.
    Usage(String),
    /// The work was begun and could not be finished: one line that says why.
    Broken(String),
    /// The report, which was printed, says what is bad.
    Reported,
}

impl Failure {
    /// The line to print, if one is still to be printed.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Usage(line) | Self::Broken(line) => Some(on_one_line(line)),
            Self::Reported => None,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => USAGE,
            Self::Broken(_) | Self::Reported => BAD,
        })
    }
}

/// What the library refuses before or during the work is a matter of settings: sizes, places, limits.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Settings(_) => Self::Usage(error.to_string()),
            _ if error.is_out_of_memory() => Self::Usage(format!(
                "{error}: give less --data or more --ram, or name a --page-file on a disk with more room"
            )),
            _ => Self::Broken(error.to_string()),
        }
    }
}

/// A process that cannot be looked at is a wrong number or a missing right; one that ends or hangs meanwhile is not.
impl From<MonitorError> for Failure {
    fn from(error: MonitorError) -> Self {
        match error {
            MonitorError::Exited { .. }
            | MonitorError::Silent { .. }
            | MonitorError::Unreadable { .. }
            | MonitorError::Kernel { .. } => Self::Broken(error.to_string()),
            _ => Self::Usage(error.to_string()),
        }
    }
}

fn on_one_line(text: &str) -> String {
    let words: Vec<_> = text.split_ascii_whitespace().map(terminal::clean).collect();
    words.join(" ")
}
