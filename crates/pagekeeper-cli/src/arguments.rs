//! The command line.

use std::path::PathBuf;
use std::time::Duration;

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
    Status(StatusOptions),
    /// Show processes and where their memory is, live; with a number, that process
    Top(TopOptions),
    /// Say what lies at an address of a process, as VirtualQuery does, and where the page is
    Query(QueryOptions),
    /// Read memory of a process that uses Pagekeeper, pages that are out included
    Read(ReadOptions),
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

/// Options of `status`.
#[derive(Args, Debug)]
#[command(
    after_help = "Processes that use Pagekeeper and that you may look into follow, with their commit charge and page files.\n\n\
                  Examples:\n  \
                  pagekeeper status\n  \
                  pagekeeper status --watch 1\n  \
                  pagekeeper status --json | jq .memory.available_physical\n\n\
                  Exit codes: 0 it was printed; 1 the kernel tells nothing; 2 wrong use."
)]
pub(crate) struct StatusOptions {
    /// Go on, with a new report every so many seconds [default: 5]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", value_parser = seconds)]
    pub(crate) watch: Option<Duration>,
    /// Print JSON; with --watch one report a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `top`.
#[derive(Args, Debug)]
#[command(
    after_help = "Keys: Enter look into, Esc back, arrows and the wheel move, s order, r reverse, k kind, / filter,\n\
                  space pause, ? help, q leave. Processes of others are shown to root only.\n\n\
                  Examples:\n  \
                  pagekeeper top\n  \
                  pagekeeper top 1234 --every 0.5\n\n\
                  Exit codes: 0 it was left; 1 the terminal failed; 2 wrong use, no such process, or no\n\
                  permission."
)]
pub(crate) struct TopOptions {
    /// Number of the process to begin with
    pub(crate) pid: Option<u32>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) every: Duration,
}

/// Options of `query`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
                  pagekeeper query 1234 0x7f12a0000000\n  \
                  pagekeeper query 1234 0x7f12a0000000 --json\n\n\
                  Exit codes: 0 it was printed, also of a free address; 1 the process ended meanwhile, or does not\n\
                  answer; 2 wrong use, no such process, or no permission.")]
pub(crate) struct QueryOptions {
    /// Number of the process
    pub(crate) pid: u32,
    /// Address, such as 0x7f12a0000000
    pub(crate) address: Address,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `read`.
#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is brought into memory by it. Memory that Pagekeeper does not manage is shown as far as the kernel\n\
                  shows it to a debugger.\n\n\
                  Examples:\n  \
                  pagekeeper read 1234 0x7f12a0000000 256\n  \
                  pagekeeper read 1234 0x7f12a0000000 16M --raw > bytes\n\n\
                  Exit codes: 0 all was read; 1 the process ended meanwhile, does not answer, or an address cannot be\n\
                  read (what lies before it is written); 2 wrong use, no such process, no permission, or a\n\
                  process that does not use Pagekeeper."
)]
pub(crate) struct ReadOptions {
    /// Number of the process
    pub(crate) pid: u32,
    /// Address, such as 0x7f12a0000000
    pub(crate) address: Address,
    /// How many bytes, such as 256 or 4K
    pub(crate) length: ByteCount,
    /// Write the bytes as they are, for a file or another program
    #[arg(long)]
    pub(crate) raw: bool,
}

/// An address: hexadecimal with 0x before it, or decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl core::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let parsed = match lower.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
            None => lower.parse(),
        };
        parsed.map(Self).map_err(|_| {
            format!("'{text}' is no address: write 0x and hexadecimal digits, or a decimal number")
        })
    }
}

/// Seconds, from a tenth to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds from 0.1 to 3600".to_owned()),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MOST_THREADS).contains(&count) => Ok(count),
        _ => Err(format!("give a number of threads from 1 to {MOST_THREADS}")),
    }
}
