//! The program `pagekeeper`: a demonstration, where memory is in processes and on the machine, and what the kernel allows.
//!
//! Translates between people and the library and decides nothing.
//!
//! | module | what |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`demo`] | much data in little RAM, every byte compared at the end |
//! | [`status`] | what GlobalMemoryStatusEx and GetSystemInfo say |
//! | [`top`] | processes and where their memory is, live |
//! | [`query`], [`read`] | one address of a process |
//! | [`doctor`] | features, permissions and limits, found out by doing |
//! | [`map`] | the whole address space of a process as a picture |
//! | [`serve`] | a process live in the browser |
//! | [`picture`] | what both are made of |
//! | [`terminal`] | printing, figures for people |
//!
//! Exit codes: 0 all is well; 1 the demonstration found a difference, or the doctor something that is
//! essential and missing; 2 wrong use or settings, said in one line.

mod arguments;
mod demo;
mod doctor;
mod failure;
mod map;
mod picture;
mod query;
mod read;
mod serve;
mod status;
mod terminal;
mod top;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use arguments::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let result = known_switches().and_then(|()| match &arguments.command {
        Command::Demo(options) => demo::run(options),
        Command::Status(options) => status::run(options),
        Command::Doctor(options) => doctor::run(options),
        Command::Map(options) => map::run(options),
        Command::Serve(options) => serve::run(options),
        Command::Query(options) => query::run(options),
        Command::Read(options) => read::run(options),
        Command::Top(options) => top::run(options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.message() {
                eprintln!("pagekeeper: {line}");
            }
            failure.exit_code()
        }
    }
}

/// A name in `PAGEKEEPER_DISABLE` that switches nothing off is a mistake that nobody would notice.
fn known_switches() -> Result<(), Failure> {
    pagekeeper_sys::probe::Switches::from_environment()
        .map(drop)
        .map_err(|unknown| Failure::Usage(unknown.to_string()))
}

/// Help goes to standard output as it is; a mistake becomes one line.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            terminal::print(&error.render().to_string());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            ExitCode::from(failure::USAGE)
        }
        _ => {
            eprintln!("pagekeeper: {}", one_line(&error.render().to_string()));
            ExitCode::from(failure::USAGE)
        }
    }
}

/// The error and its tips; not the usage, which `--help` shows better.
fn one_line(text: &str) -> String {
    let parts: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .map(|line| line.strip_prefix("error: ").unwrap_or(line))
        .collect();
    format!("{}; see --help", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn mistakes_become_one_line() {
        for arguments in [
            &["pagekeeper", "demo", "--warp"][..],
            &["pagekeeper", "dmeo"],
            &["pagekeeper", "demo", "--ram", "5X"],
            &["pagekeeper", "demo", "a", "b"],
            &["pagekeeper", "demo", "--threads", "many"],
        ] {
            let error = Arguments::try_parse_from(arguments).expect_err("a mistake");
            let line = one_line(&error.render().to_string());
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.len() > 20 && !line.contains("Usage"), "{line}");
        }
    }
}
