//! A server of this program, and requests to it without any library: what anyone's program would do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A child that does not outlive the test.
pub(crate) struct Kept(pub(crate) Child);

impl Kept {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("started"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program, without any of its variables, for tests that go on beside it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pagekeeper"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PAGEKEEPER_") {
            command.env_remove(name);
        }
    }
    command.env("TMPDIR", "/var/tmp").stderr(Stdio::inherit());
    command
}

/// `pagekeeper serve`, listening on a free port.
pub(crate) struct Server {
    _child: Kept,
    /// Address and port.
    pub(crate) address: String,
    /// What it printed.
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = program();
        child.arg("serve").args(arguments).args(["--every", "0.2"]);
        if !arguments.contains(&"--listen") {
            child.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = Kept::start(child.stdout(Stdio::piped()));
        let mut line = String::new();
        let mut output = BufReader::new(child.0.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        let url = line.split(' ').next().unwrap_or_default().to_owned();
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next());
        Self {
            address: address
                .unwrap_or_else(|| panic!("no address: '{line}'"))
                .to_owned(),
            _child: child,
            url,
        }
    }

    fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let host = if headers.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        write!(
            stream,
            "GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n"
        )
        .expect("asked");
        stream
    }

    /// Status, headers, body.
    pub(crate) fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut answer = String::new();
        self.ask(path, headers)
            .read_to_string(&mut answer)
            .expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        (status, head.to_owned(), body.to_owned())
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.get(path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Server-sent events, one after the other: name and data.
    pub(crate) fn events(&self, pid: u32) -> impl Iterator<Item = (String, Value)> {
        let stream = self.ask(&format!("/api/v1/processes/{pid}/events"), "");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        std::iter::from_fn(move || {
            let name = lines.find_map(|line| line.strip_prefix("event: ").map(str::to_owned))?;
            let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned))?;
            Some((name, serde_json::from_str(&data).expect("JSON")))
        })
    }
}

/// A figure of `/proc/PID/status`, in bytes.
pub(crate) fn kernel_figure(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the figure");
    let number = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    number.parse::<u64>().expect("a number") * 1024
}

/// Whether `told` lies between the two, or is off by no more than 2 % and 128 KiB: figures of a process that goes on meanwhile.
pub(crate) fn agrees(told: u64, before: u64, after: u64) -> bool {
    let slack = before.max(after) / 50 + (128 << 10);
    told + slack >= before.min(after) && told <= before.max(after) + slack
}
