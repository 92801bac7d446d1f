//! A table that reads well as plain text and as Markdown.

use std::fmt::Write as _;

/// Rows below a heading, a sentence and column names.
pub(super) struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        // A row of dashes says nothing.
        if cells.iter().skip(1).any(|cell| cell != "–") {
            self.rows.push(cells);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes heading, sentence and table; nothing when there are no rows.
    pub(super) fn write(&self, heading: &str, sentence: &str, text: &mut String) {
        if self.is_empty() {
            return;
        }
        let _ = writeln!(text, "\n{heading}\n\n{sentence}\n");
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .chain(self.columns.get(column))
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        line(&self.columns, &widths, text);
        text.push('|');
        for (column, width) in widths.iter().enumerate() {
            // Numbers stand on the right.
            let dashes = "-".repeat(width + 1);
            let _ = if column == 0 {
                write!(text, "{dashes}-|")
            } else {
                write!(text, "{dashes}:|")
            };
        }
        text.push('\n');
        for row in &self.rows {
            line(row, &widths, text);
        }
    }
}

fn line(cells: &[String], widths: &[usize], text: &mut String) {
    text.push('|');
    for (column, (cell, width_wanted)) in cells.iter().zip(widths).enumerate() {
        let blanks = " ".repeat(width_wanted - width(cell));
        let _ = if column == 0 {
            write!(text, " {cell}{blanks} |")
        } else {
            write!(text, " {blanks}{cell} |")
        };
    }
    text.push('\n');
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["who", "µs"]);
        table.row(vec!["ours".to_owned(), "1".to_owned()]);
        table.row(vec!["theirs".to_owned(), "1,000".to_owned()]);
        table.row(vec!["nobody".to_owned(), "–".to_owned()]);
        let mut text = String::new();
        table.write("## Heading", "A sentence.", &mut text);
        let expected = "\n## Heading\n\nA sentence.\n\n\
            | who    |    µs |\n|--------|------:|\n| ours   |     1 |\n| theirs | 1,000 |\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_empty_table_is_not_written() {
        let mut text = String::new();
        Table::new(&["a"]).write("## H", "S", &mut text);
        assert!(text.is_empty());
    }
}
