//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pagekeeper::{ByteCount, EngineKind};

use crate::map::MapOptions;
use crate::serve::ServeOptions;

/// Threads that the demonstration accepts at most.
const MOST_THREADS: usize = 1024;

/// Windows' virtual memory for Linux programs: a page file and a pager of its own, in user space.
#[derive(Parser, Debug)]
#[command(
    name = "pagekeeper",
    version,
    after_help = "Exit codes: 0 all is well; 1 a difference was found (demo), or something essential is\n\
                  missing (doctor); 2 wrong use or settings.\n\n\
                  The variables PAGEKEEPER_RAM, PAGEKEEPER_PAGE_FILE, PAGEKEEPER_PAGE_FILE_INITIAL,\n\
                  PAGEKEEPER_PAGE_FILE_MAX, PAGEKEEPER_ENGINE and PAGEKEEPER_STATS set what no option\n\
                  sets; PAGEKEEPER_DISABLE names kernel features to do without."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Keep real data in less RAM than it needs, look records up, and compare every byte at the end
    Demo(DemoOptions),
    /// Show the machine's memory and processors, as GlobalMemoryStatusEx and GetSystemInfo say them
    Status(ReportOptions),
    /// Find out what the kernel and its limits allow here, what is missing and what would grant it
    Doctor(ReportOptions),
    /// Draw the whole address space of a process, or compare two drawings
    Map(MapOptions),
    /// Show a process, or all of them, live in the browser
    Serve(ServeOptions),
}

/// Options of `demo`.
#[derive(Args, Debug)]
#[command(
    long_about = "Reserves 1 TiB of address space, loads the files under FOLDER into one growing committed \
                  array until --data is reached (repeating the folder if it is smaller), looks records up \
                  at random from all threads, and at the end compares every byte with the files again. \
                  Files that change meanwhile or cannot be read are skipped and counted. Needs no \
                  privilege, no swap, and leaves nothing behind."
)]
pub(crate) struct DemoOptions {
    /// Folder whose files are the data; symbolic links and other file systems are not followed
    #[arg(default_value = "/usr")]
    pub(crate) folder: PathBuf,
    /// How much data to load, such as 512M or 4G
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1G",
        allow_hyphen_values = true
    )]
    pub(crate) data: ByteCount,
    /// RAM budget [default: PAGEKEEPER_RAM, or 256M]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) ram: Option<ByteCount>,
    /// Threads that look records up and compare [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = threads, allow_hyphen_values = true)]
    pub(crate) threads: Option<usize>,
    /// Engine: inline, mapped or resident [default: PAGEKEEPER_ENGINE, or inline where it can run]
    #[arg(long, value_name = "ENGINE")]
    pub(crate) engine: Option<EngineKind>,
    /// Folder or file for a page file, or 'none'; may be given several times, in order of preference
    /// [default: PAGEKEEPER_PAGE_FILE, or TMPDIR if on a disk, or /var/tmp]
    #[arg(long = "page-file", value_name = "PATH")]
    pub(crate) page_files: Vec<PathBuf>,
    /// How long to look records up
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Print the result as JSON, and nothing else on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of commands that print one report.
#[derive(Args, Debug)]
pub(crate) struct ReportOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MOST_THREADS).contains(&count) => Ok(count),
        _ => Err(format!("give a number of threads from 1 to {MOST_THREADS}")),
    }
}
