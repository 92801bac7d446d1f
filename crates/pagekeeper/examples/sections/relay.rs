//! Two processes share a named section larger than their RAM. They are killed in turn, and started again while the other lives.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use pagekeeper::{ByteCount, Opened, Section, Space, View};

use crate::{Outcome, PAGE, describe, space};

/// One of the two processes, at the other end of its standard input and output.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    role: &'static str,
}

impl Process {
    fn start(
        role: &'static str,
        shared: &[&str],
        group: Option<&str>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["relay-process", role])
            .args(shared)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let Some(group) = group {
            std::fs::write(format!("{group}/cgroup.procs"), child.id().to_string())?;
        }
        let orders = child.stdin.take().ok_or("no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self {
            child,
            orders,
            answers,
            role,
        })
    }

    fn order(&mut self, order: &str, expected: &str) -> Outcome {
        writeln!(self.orders, "{order}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        println!(
            "{} (process {}): {order}: {}",
            self.role,
            self.child.id(),
            answer.trim()
        );
        if answer.starts_with(expected) {
            return Ok(());
        }
        Err(format!(
            "{}: {order}: '{}' instead of '{expected}'",
            self.role,
            answer.trim()
        )
        .into())
    }

    fn kill(&mut self) -> Outcome {
        // SIGKILL: nothing is tidied up.
        self.child.kill()?;
        self.child.wait()?;
        println!("{} (process {}): killed", self.role, self.child.id());
        Ok(())
    }
}

pub(crate) fn run(size: &str, budget: &str, rounds: &str, groups: &[&str]) -> Outcome {
    let name = format!("Local\\relay-{}", std::process::id());
    let shared = [name.as_str(), size, budget];
    let group = |at: usize| groups.get(at).copied();
    let mut writer = Process::start("writer", &shared, group(0))?;
    writer.order("open", "created")?;
    writer.order("write 1", "done")?;
    let mut reader = Process::start("reader", &shared, group(1))?;
    reader.order("open", "existing")?;
    reader.order("verify 1", "done")?;
    for round in 2..=rounds.parse::<u64>()? {
        writer.kill()?;
        writer = Process::start("writer", &shared, group(0))?;
        writer.order("open", "existing")?;
        writer.order(&format!("write {round}"), "done")?;
        reader.kill()?;
        reader = Process::start("reader", &shared, group(1))?;
        reader.order("open", "existing")?;
        reader.order(&format!("verify {round}"), "done")?;
    }
    writer.kill()?;
    reader.kill()?;
    let mut next = Process::start("next", &shared, group(0))?;
    next.order("open", "created")?;
    next.order("verify 0", "done")?;
    next.kill()?;
    let names = std::fs::read_to_string("/proc/net/unix")?;
    let user = format!("@pagekeeper/s1/{}/", users_id()?);
    let left = names.lines().filter(|line| line.contains(&user)).count();
    println!("all dead: {left} names of this user's sections are left");
    Ok(())
}

fn users_id() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let id = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    Ok(id.ok_or("no user")?.to_owned())
}

/// One of the two: does what it is told, line by line.
pub(crate) fn process(_role: &str, name: &str, size: &str, budget: &str) -> Outcome {
    let mut state: Option<(Space, View)> = None;
    for order in std::io::stdin().lines() {
        let order = order?;
        let (verb, round) = order.split_once(' ').unwrap_or((&order, "0"));
        let round: u64 = round.parse()?;
        let answer = match (verb, &state) {
            ("open", _) => {
                let space = space(budget)?;
                let size = ByteCount::mib(size.parse()?);
                let (section, opened) = Section::named(&space, name, size).build_or_open()?;
                // The name lives as long as the handle: this process holds it to its end.
                let view = section.view().build()?;
                core::mem::forget(section);
                state = Some((space, view));
                match opened {
                    Opened::Created => "created".to_owned(),
                    Opened::Existing => "existing".to_owned(),
                }
            }
            ("write", Some((space, view))) => {
                write(view, round)?;
                format!("done; {}", describe(space))
            }
            ("verify", Some((space, view))) => {
                verify(view, round)?;
                format!("done; {}", describe(space))
            }
            _ => format!("not understood: {order}"),
        };
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// What word `at` of page `page` holds after a round; nothing before the first.
fn word(page: u64, at: u64, round: u64) -> u64 {
    if round == 0 {
        return 0;
    }
    (page << 20 ^ at ^ round << 52).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

fn page_of(page: u64, round: u64) -> Vec<u8> {
    let words = (0..PAGE / 8).flat_map(|at| word(page, at, round).to_le_bytes());
    words.collect()
}

fn write(view: &View, round: u64) -> Outcome {
    for page in 0..view.size().get() / PAGE {
        view.write_at(page * PAGE, &page_of(page, round))?;
    }
    Ok(())
}

fn verify(view: &View, round: u64) -> Outcome {
    let mut bytes = vec![0; PAGE as usize];
    for page in 0..view.size().get() / PAGE {
        view.read_at(page * PAGE, &mut bytes)?;
        if bytes != page_of(page, round) {
            return Err(format!("page {page} is wrong in round {round}").into());
        }
    }
    Ok(())
}
