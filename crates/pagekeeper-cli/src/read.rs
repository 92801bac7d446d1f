//! `pagekeeper read`: bytes of a process that uses Pagekeeper, wherever they are.

use std::fmt::Write as _;
use std::io::Write as _;

use pagekeeper::monitor::Observer;

use crate::arguments::ReadOptions;
use crate::failure::Failure;
use crate::terminal;

/// Bytes that are asked for at a time.
const PIECE: u64 = 64 << 10;
/// Bytes of a line.
const LINE: usize = 16;

/// Prints the bytes; what could be read before a failure is printed.
pub(crate) fn run(options: &ReadOptions) -> Result<(), Failure> {
    let mut observer = Observer::of(options.pid)?;
    let length = options.length.get();
    let mut done = 0;
    while done < length {
        let count = PIECE.min(length - done);
        let address = options.address.0.saturating_add(done);
        let mut bytes = vec![0; count as usize];
        observer.read(address, &mut bytes)?;
        if options.raw {
            let mut output = std::io::stdout().lock();
            if output
                .write_all(&bytes)
                .and_then(|()| output.flush())
                .is_err()
            {
                // Nobody reads any more.
                return Ok(());
            }
        } else {
            terminal::print(&dump(address, &bytes));
        }
        done += count;
    }
    Ok(())
}

/// Addresses, bytes and text, sixteen bytes a line.
fn dump(address: u64, bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 5);
    for (place, line) in bytes.chunks(LINE).enumerate() {
        let _ = write!(text, "{:016x} ", address + (place * LINE) as u64);
        for column in 0..LINE {
            if column == LINE / 2 {
                text.push(' ');
            }
            let _ = match line.get(column) {
                Some(byte) => write!(text, " {byte:02x}"),
                None => write!(text, "   "),
            };
        }
        text.push_str("  |");
        let shown = |byte: &u8| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        };
        text.extend(line.iter().map(shown));
        text.push_str("|\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_has_addresses_bytes_and_text() {
        let text = dump(0x1000, b"Pagekeeper\0\xFF more than a line");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "0000000000001000  50 61 67 65 6b 65 65 70  65 72 00 ff 20 6d 6f 72  |Pagekeeper.. mor|"
        );
        assert!(lines[1].starts_with("0000000000001010  65 20 74"));
        assert!(lines[1].ends_with("|e than a line|"));
        assert_eq!(lines[0].find('|'), lines[1].find('|'));
    }
}
