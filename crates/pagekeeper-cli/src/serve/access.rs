//! Who may look.
//!
//! What is in a process is for its user and for root. On a loopback address every user of the machine could connect, and through
//! a browser every page of the web: so without a token the other end of the connection must be a process of the same user or
//! of root, and the browser must have asked for this machine by a name of its own (a page elsewhere cannot have its own name
//! looked up to here). Elsewhere only the token counts.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use pagekeeper_sys::process;

use crate::failure::Failure;

/// Shorter ones can be guessed.
const LEAST_TOKEN: usize = 16;
/// The name of the cookie that a browser keeps the token in.
const COOKIE: &str = "pagekeeper-token";
/// Where the token is looked for without `--token-file`.
const VARIABLE: &str = "PAGEKEEPER_SERVE_TOKEN";

/// Who may look.
#[derive(Debug)]
pub(super) struct Access {
    token: Option<String>,
}

/// What a request says of whoever makes it.
#[derive(Debug, Default)]
pub(super) struct Credentials<'a> {
    pub(super) host: &'a str,
    pub(super) authorization: &'a str,
    pub(super) cookie: &'a str,
    pub(super) query: &'a str,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Allowed,
    /// The token came in the address: into a cookie with it, and out of the address.
    TakeCookie(String),
    /// Why not, in one line.
    Refused(String),
}

impl Access {
    /// Rules for an address.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an address that others reach without a token, and for a token that is too short or cannot be read.
    pub(super) fn new(listen: SocketAddr, file: Option<&Path>) -> Result<Self, Failure> {
        let token = match file {
            Some(path) => Some(fs::read_to_string(path).map_err(|error| {
                Failure::Usage(format!("--token-file {}: {error}", path.display()))
            })?),
            None => std::env::var(VARIABLE).ok(),
        };
        let token = token.map(|token| token.trim().to_owned());
        match &token {
            None if !listen.ip().is_loopback() => Err(Failure::Usage(format!(
                "{listen} can be reached from other machines: give a token with --token-file FILE or {VARIABLE}, or listen on \
                 127.0.0.1 and come through 'ssh -L'"
            ))),
            Some(token) if !is_good(token) => Err(Failure::Usage(format!(
                "the token must have {LEAST_TOKEN} or more letters, digits, '-' or '_', such as 'head -c 24 /dev/urandom | base64 | \
                 tr +/ -_' makes"
            ))),
            _ => Ok(Self { token }),
        }
    }

    /// The token, for the address to open.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether a request may be answered.
    pub(super) fn judge(
        &self,
        credentials: &Credentials<'_>,
        peer: SocketAddr,
        own: SocketAddr,
    ) -> Verdict {
        match &self.token {
            Some(token) => judge_token(token, credentials),
            None if !is_own_name(credentials.host) => {
                Verdict::Refused("ask for this machine as 127.0.0.1 or localhost".to_owned())
            }
            None => judge_user(user_of(peer, own)),
        }
    }
}

fn is_good(token: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.');
    token.len() >= LEAST_TOKEN && token.bytes().all(plain)
}

/// In a time that says nothing of where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let differ = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differ) == 0
}

fn judge_token(token: &str, credentials: &Credentials<'_>) -> Verdict {
    let shown = |text: &str| same(token, text);
    let header = credentials.authorization.strip_prefix("Bearer ");
    let mut cookies = credentials
        .cookie
        .split(';')
        .filter_map(|one| one.trim().split_once('='));
    let in_cookie = cookies.any(|(name, value)| name == COOKIE && shown(value));
    if header.is_some_and(shown) || in_cookie {
        return Verdict::Allowed;
    }
    let mut words = credentials
        .query
        .split('&')
        .filter_map(|word| word.split_once('='));
    if words.any(|(name, value)| name == "token" && shown(value)) {
        return Verdict::TakeCookie(format!(
            "{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
        ));
    }
    Verdict::Refused(
        "a token is needed: open the address that 'pagekeeper serve' printed, or send 'Authorization: Bearer TOKEN'"
            .to_owned(),
    )
}

/// Whether a browser that says `Host: host` means this machine and not a name that was made to lead here.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn judge_user(peer: Peer) -> Verdict {
    match peer {
        Peer::User(user) if user == 0 || user == process::own_user() => Verdict::Allowed,
        Peer::User(user) => Verdict::Refused(format!(
            "user {user} may not look: only the user of this server and root may; with a token others may, too"
        )),
        Peer::Nobody => Verdict::Refused(
            "the kernel does not say whose connection this is: start the server with a token"
                .to_owned(),
        ),
        // No such file, so that nothing can be known here: what is left is the loopback address itself.
        Peer::Untold => Verdict::Allowed,
    }
}

/// Whose the other end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    User(u32),
    /// No process of this machine that can be seen from here.
    Nobody,
    /// The kernel keeps no list.
    Untold,
}

fn user_of(peer: SocketAddr, own: SocketAddr) -> Peer {
    look_up(&["/proc/net/tcp", "/proc/net/tcp6"], peer, own)
}

/// Only lists that do not exist tell nothing. One that cannot be read, for want of descriptors most of all, lets nobody in: whoever
/// opens enough connections could bring that about.
fn look_up(lists: &[&str], peer: SocketAddr, own: SocketAddr) -> Peer {
    let mut answer = Peer::Untold;
    for path in lists {
        match fs::read_to_string(path) {
            Ok(list) => match find_user(&list, peer, own) {
                Some(user) => return Peer::User(user),
                None => answer = Peer::Nobody,
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => answer = Peer::Nobody,
        }
    }
    answer
}

/// The user in the line whose local address is `peer`, and whose remote one is `own`.
fn find_user(list: &str, peer: SocketAddr, own: SocketAddr) -> Option<u32> {
    list.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, remote, user) = (fields.get(1)?, fields.get(2)?, fields.get(7)?);
        let is = |written: &str, address: SocketAddr| {
            spellings(address).iter().any(|one| one == written)
        };
        (is(local, peer) && is(remote, own)).then(|| user.parse().ok())?
    })
}

/// How the kernel writes an address: words in the machine's byte order, in hexadecimal; IPv4 also as a part of IPv6.
fn spellings(address: SocketAddr) -> Vec<String> {
    let words = |bytes: &[u8]| -> String {
        let word = |four: &[u8]| {
            format!(
                "{:08X}",
                u32::from_ne_bytes(four.try_into().unwrap_or_default())
            )
        };
        bytes.chunks(4).map(word).collect()
    };
    let port = address.port();
    let told = |bytes: &[u8]| format!("{}:{port:04X}", words(bytes));
    match address.ip() {
        IpAddr::V4(ip) => vec![told(&ip.octets()), told(&ip.to_ipv6_mapped().octets())],
        IpAddr::V6(ip) => vec![told(&ip.octets())],
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const TOKEN: &str = "0123456789abcdefXYZ";

    fn with_token(credentials: &Credentials<'_>) -> Verdict {
        let access = Access {
            token: Some(TOKEN.to_owned()),
        };
        let anywhere = "192.0.2.1:1".parse().unwrap();
        access.judge(credentials, anywhere, anywhere)
    }

    #[test]
    fn a_list_that_cannot_be_read_lets_nobody_in() {
        let any: SocketAddr = ([127, 0, 0, 1], 1).into();
        assert_eq!(look_up(&["/nowhere/tcp"], any, any), Peer::Untold);
        // A folder: there, and not to be read as a file.
        assert_eq!(look_up(&["/nowhere/tcp", "/proc"], any, any), Peer::Nobody);
        assert_eq!(judge_user(Peer::User(0)), Verdict::Allowed);
    }

    #[test]
    fn a_token_may_come_three_ways_and_must_be_right() {
        let header = format!("Bearer {TOKEN}");
        let authorization = Credentials {
            authorization: &header,
            ..Credentials::default()
        };
        assert_eq!(with_token(&authorization), Verdict::Allowed);
        let cookies = format!("a=b; {COOKIE}={TOKEN}");
        let cookie = Credentials {
            cookie: &cookies,
            ..Credentials::default()
        };
        assert_eq!(with_token(&cookie), Verdict::Allowed);
        let address = format!("pid=1&token={TOKEN}");
        let query = Credentials {
            query: &address,
            ..Credentials::default()
        };
        assert!(
            matches!(with_token(&query), Verdict::TakeCookie(cookie) if cookie.contains("HttpOnly"))
        );
        for wrong in [
            "",
            "token=",
            "token=0123456789abcdefXY",
            "token=0123456789abcdefXYz",
            "pid=1",
        ] {
            let query = Credentials {
                query: wrong,
                host: "localhost",
                ..Credentials::default()
            };
            assert!(matches!(with_token(&query), Verdict::Refused(_)), "{wrong}");
        }
    }

    #[test]
    fn elsewhere_a_token_is_needed_and_a_short_one_is_none() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = |file: Option<&Path>| {
            Access::new(everywhere, file)
                .unwrap_err()
                .message()
                .unwrap()
        };
        assert!(refused(None).contains("--token-file"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "short\n").unwrap();
        assert!(refused(Some(&file)).contains("16 or more"));
        assert!(refused(Some(&folder.path().join("none"))).contains("none"));
        fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let access = Access::new(everywhere, Some(&file)).unwrap();
        assert_eq!(access.token(), Some(TOKEN));
    }

    #[test]
    fn only_own_names_of_this_machine_are_answered() {
        for own in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:7177",
            "[::1]:7177",
            "[::1]",
            "127.1.2.3",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for other in [
            "",
            "example.org",
            "evil.localhost.example:80",
            "10.0.0.1:7177",
            "127.0.0.1.example.org",
        ] {
            assert!(!is_own_name(other), "{other}");
        }
    }

    #[test]
    fn the_kernel_says_whose_a_connection_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap();
        let client = TcpStream::connect(own).unwrap();
        let peer = client.local_addr().unwrap();
        match user_of(peer, own) {
            Peer::Untold => println!("skipped, because /proc/net/tcp cannot be read here"),
            found => assert_eq!(found, Peer::User(process::own_user())),
        }
        assert_ne!(
            user_of("127.0.0.1:1".parse().unwrap(), own),
            Peer::User(process::own_user())
        );
    }

    #[test]
    fn other_users_are_refused() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
                    0: 0100007F:1F90 0100007F:1C09 01 00000000:00000000 00:00000000 00000000  1234        0 1\n";
        let (peer, own) = (
            "127.0.0.1:8080".parse().unwrap(),
            "127.0.0.1:7177".parse().unwrap(),
        );
        assert_eq!(find_user(list, peer, own), Some(1234));
        assert_eq!(find_user(list, own, peer), None);
        assert!(matches!(
            judge_user(Peer::User(process::own_user() + 1)),
            Verdict::Refused(_)
        ));
        assert!(matches!(judge_user(Peer::Nobody), Verdict::Refused(_)));
        assert_eq!(judge_user(Peer::User(0)), Verdict::Allowed);
    }
}
