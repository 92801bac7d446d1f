//! The command line.

use pagekeeper::{ByteCount, EngineKind};

pub(crate) const HELP: &str = "\
soak: every operation of a space at once, from many threads, checked against a copy in ordinary memory

  --engine E        inline (default), mapped or resident
  --pages N         RAM budget in pages; default: the least that the engine takes (inline 64, mapped 1024)
  --data SIZE       memory to work on, such as 4M; default: sixteen times the budget
  --threads N       default 8
  --seconds N       default 10
  --seed N          default: from the process number; printed
  --patience N      seconds without progress after which a thread counts as hanging; default 180
  --json            one JSON object at the end instead of the table
  --help

Exit code 0: no difference. 1: a difference, an exception that nobody expected or a refusal that should not be.
2: bad options. 3: a thread hangs.";

/// What was asked for.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) engine: EngineKind,
    pub(crate) ram: ByteCount,
    pub(crate) data: ByteCount,
    pub(crate) threads: usize,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) patience: u64,
    pub(crate) json: bool,
}

/// `None`: only help was asked for.
pub(crate) fn parse(
    mut arguments: impl Iterator<Item = String>,
) -> Result<Option<Options>, Box<dyn std::error::Error>> {
    let mut engine = EngineKind::Inline;
    let (mut pages, mut data) = (None, None);
    let (mut threads, mut seconds, mut patience, mut json) = (8, 10, 180, false);
    let mut seed = u64::from(std::process::id()) * 0x9E37_79B9 + 1;
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--help" | "-h" => return Ok(None),
            "--json" => {
                json = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--engine" => engine = value.parse()?,
            "--pages" => pages = Some(value.parse()?),
            "--data" => data = Some(value.parse()?),
            "--threads" => threads = value.parse()?,
            "--seconds" => seconds = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--patience" => patience = value.parse()?,
            _ => return Err(format!("unknown option {name}; see --help").into()),
        }
    }
    let least = if engine == EngineKind::Inline {
        64
    } else {
        1024
    };
    let ram = ByteCount::kib(4 * pages.unwrap_or(least));
    Ok(Some(Options {
        engine,
        ram,
        data: data.unwrap_or(ByteCount::new(ram.get() * 16)),
        threads: std::cmp::max(threads, 1),
        seconds,
        seed: std::cmp::max(seed, 1),
        patience,
        json,
    }))
}
