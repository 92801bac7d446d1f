//! Memory that is far larger than its budget, handed to the kernel in every way that programs do it. See `--help`.
//!
//! Each case is a process of its own, so that one may close everything or block every signal. One line each.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, calls libc by pointers"
)]

mod cases;

use std::process::{Command, ExitCode};

use cases::{CASES, Settings};
use pagekeeper::{ByteCount, EngineKind};

const HELP: &str = "\
kernel_io: paged memory as argument of system calls and locks, every byte verified

  --engine E    inline, mapped or resident; default: inline, then mapped
  --size SIZE   bytes through each channel; default 64M
  --ram SIZE    RAM budget of the transfers; default 4M
  --seconds N   for the cases that go on for a time; default 2
  --full        --size 1G --ram 64M --seconds 60
  --only CASE   one case, in this process; cases: file tcp udp pipe fread mutex signals spawn descriptors
  --help

Exit code 0: every byte equal. 1: a difference or a failure. 2: bad options.";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kernel_io: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut settings = Settings {
        engine: EngineKind::Inline,
        size: ByteCount::mib(64),
        ram: ByteCount::mib(4),
        seconds: 2,
    };
    let (mut engine, mut only) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            "--full" => {
                settings.size = ByteCount::gib(1);
                settings.ram = ByteCount::mib(64);
                settings.seconds = 60;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--engine" => engine = Some(value.parse()?),
            "--size" => settings.size = value.parse()?,
            "--ram" => settings.ram = value.parse()?,
            "--seconds" => settings.seconds = value.parse()?,
            "--only" => only = Some(value),
            _ => return Err(format!("unknown option {name}; see --help").into()),
        }
    }
    if !settings.size.get().is_multiple_of(1 << 20) || settings.size == ByteCount::ZERO {
        return Err("--size: give whole MiB".into());
    }
    if let Some(only) = only {
        settings.engine = engine.unwrap_or(EngineKind::Inline);
        let case = CASES.iter().find(|(name, _)| *name == only);
        let (_, case) = case.ok_or(format!("no case '{only}'; see --help"))?;
        return Ok(match case(&settings) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("FAILED: {error}");
                ExitCode::FAILURE
            }
        });
    }
    let mut code = ExitCode::SUCCESS;
    let engines = engine.map_or(vec![EngineKind::Inline, EngineKind::Mapped], |one| {
        vec![one]
    });
    for engine in engines {
        settings.engine = engine;
        for (name, _) in CASES {
            if !in_a_process_of_its_own(&settings, name)? {
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Runs one case and prints its line; whether all was well.
fn in_a_process_of_its_own(settings: &Settings, case: &str) -> std::io::Result<bool> {
    let start = std::time::Instant::now();
    let output = Command::new(std::env::current_exe()?)
        .args(["--only", case, "--engine", settings.engine.name()])
        .args(["--size", &settings.size.get().to_string()])
        .args(["--ram", &settings.ram.get().to_string()])
        .args(["--seconds", &settings.seconds.to_string()])
        .output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    println!(
        "{:<7} {case:<12} {:>6.1} s  {}",
        settings.engine,
        start.elapsed().as_secs_f64(),
        told.trim()
    );
    if !output.status.success() {
        println!("        {}: {}", output.status, trouble.trim());
    }
    Ok(output.status.success())
}
