//! Rust source taken apart line by line: code without texts and comments, and the comments.

/// One line of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Code; texts are emptied, comments left out.
    pub(crate) code: String,
    /// What stands in comments.
    pub(crate) comment: String,
}

/// What the reader is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    /// Comments nest.
    BlockComment(u32),
    Text,
    /// Ended by a quote and so many hashes.
    RawText(usize),
}

/// Takes a file apart.
pub(crate) fn lines_of(source: &str) -> Vec<Line> {
    let bytes: Vec<char> = source.chars().collect();
    let mut lines = vec![Line::default()];
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let line = lines.last_mut().expect("one at least");
        if rest[0] == '\n' {
            if inside == Inside::LineComment {
                inside = Inside::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        at += match inside {
            Inside::Code => code(rest, line, &mut inside),
            Inside::LineComment => {
                line.comment.push(rest[0]);
                1
            }
            Inside::BlockComment(depth) => block_comment(rest, line, depth, &mut inside),
            Inside::Text => match rest[0] {
                // A line that goes on after a backslash is still a line.
                '\\' if rest.get(1) != Some(&'\n') => 2,
                '"' => {
                    inside = Inside::Code;
                    line.code.push('"');
                    1
                }
                _ => 1,
            },
            Inside::RawText(hashes) => {
                if rest[0] == '"' && starts(&rest[1..], &"#".repeat(hashes)) {
                    inside = Inside::Code;
                    line.code.push('"');
                    1 + hashes
                } else {
                    1
                }
            }
        };
    }
    lines
}

fn code(rest: &[char], line: &mut Line, inside: &mut Inside) -> usize {
    if starts(rest, "//") {
        *inside = Inside::LineComment;
        return 2;
    }
    if starts(rest, "/*") {
        *inside = Inside::BlockComment(1);
        return 2;
    }
    if rest[0] == '"' {
        *inside = Inside::Text;
        line.code.push('"');
        return 1;
    }
    let in_name = line
        .code
        .ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if rest[0] == 'r' && (!in_name || line.code.ends_with('b')) {
        let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
        if rest.get(1 + hashes) == Some(&'"') {
            *inside = Inside::RawText(hashes);
            line.code.push('"');
            return 2 + hashes;
        }
    }
    if rest[0] == '\'' {
        // A character has its end close by; a lifetime has none.
        let length = if rest.get(1) == Some(&'\\') {
            rest.iter()
                .skip(3)
                .position(|&c| c == '\'')
                .map(|end| end + 4)
        } else {
            (rest.get(2) == Some(&'\'')).then_some(3)
        };
        if let Some(length) = length {
            line.code.push_str("''");
            return length;
        }
    }
    line.code.push(rest[0]);
    1
}

fn block_comment(rest: &[char], line: &mut Line, depth: u32, inside: &mut Inside) -> usize {
    if starts(rest, "*/") {
        *inside = if depth == 1 {
            Inside::Code
        } else {
            Inside::BlockComment(depth - 1)
        };
        return 2;
    }
    if starts(rest, "/*") {
        *inside = Inside::BlockComment(depth + 1);
        return 2;
    }
    line.comment.push(rest[0]);
    1
}

fn starts(text: &[char], with: &str) -> bool {
    with.chars()
        .enumerate()
        .all(|(at, c)| text.get(at) == Some(&c))
}

#[test]
fn code_texts_and_comments_are_told_apart() {
    let source = "let a = \"unsafe // no\"; // SAFETY: yes\n/* one /* two */ unsafe */ unsafe {\nlet r = r#\"a\n\" \
                  unsafe\"#;\nlet c = '\"'; let l: &'a str = x; let e = '\\'';\nbr\"x\"; var\"y\"\n";
    let lines = lines_of(source);
    let code: Vec<&str> = lines.iter().map(|line| line.code.as_str()).collect();
    let last = "let c = ''; let l: &'a str = x; let e = '';";
    let expected = [
        "let a = \"\"; ",
        " unsafe {",
        "let r = \"",
        "\";",
        last,
        "b\"\"; var\"\"",
        "",
    ];
    assert_eq!(code, expected);
    assert_eq!(
        (lines[0].comment.as_str(), lines[1].comment.as_str()),
        (" SAFETY: yes", " one  two  unsafe ")
    );
}
