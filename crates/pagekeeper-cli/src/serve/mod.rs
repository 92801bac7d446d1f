//! `pagekeeper serve`: a process, or all that may be looked at, live in the browser.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | paths and what they answer |
//! | [`access`] | who may look: a token, or users of this machine that may look anyway |
//! | [`watch`] | a thread for each process that somebody looks at |
//! | [`events`] | what happened between two looks, in words |
//! | [`metrics`] | figures for Prometheus |

mod access;
mod events;
mod metrics;
mod server;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::failure::Failure;
use crate::terminal;
use access::Access;

/// Options of `serve`.
#[derive(Args, Debug)]
#[command(
    long_about = "Shows a process live in the browser: where its data is over time, page lists, a heat map of its address \
                  space, its regions, what happens. Without PID the page lists all processes that you may look into. Prints \
                  the address to open and goes on until Ctrl-C. The page needs no network but this server.\n\n\
                  On a loopback address only you and root get in. On any other a token is needed, which the address to \
                  open then carries; what is sent is not encrypted.",
    after_help = "Paths: / the page; /metrics for Prometheus; /api/v1/machine, /api/v1/processes,\n\
                  /api/v1/processes/PID, /api/v1/processes/PID/snapshot and /api/v1/processes/PID/events as JSON.\n\
                  docs/monitor.md describes them.\n\n\
                  Exit codes: 1 the address cannot be listened on; 2 wrong use, no such process, or no\n\
                  permission."
)]
pub(crate) struct ServeOptions {
    /// The process [default: all that you may look into]
    pid: Option<u32>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7177")]
    listen: SocketAddr,
    /// A file with the token that a reader must show [default: PAGEKEEPER_SERVE_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    every: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.1 to 60".to_owned()),
    }
}

/// Listens until the process is ended.
pub(crate) fn run(options: &ServeOptions) -> Result<(), Failure> {
    let access = Access::new(options.listen, options.token_file.as_deref())?;
    let every = Duration::from_secs_f64(options.every);
    let watched = watch::Watches::new(every, options.pid)?;
    let server = server::Server::new(watched, access, options.pid)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Looking into processes is done there, one reader's after another's.
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Failure::Broken(format!("cannot wait for readers: {error}")))?;
    runtime.block_on(async {
        let broken = |error: std::io::Error| {
            Failure::Broken(format!(
                "cannot listen on {}: {error}; --listen {} takes a free port",
                options.listen,
                SocketAddr::new(options.listen.ip(), 0)
            ))
        };
        let listener = tokio::net::TcpListener::bind(options.listen)
            .await
            .map_err(broken)?;
        let address = listener.local_addr().map_err(broken)?;
        terminal::print(&server.greeting(address));
        server.serve(listener, address).await.map_err(broken)
    })
}
