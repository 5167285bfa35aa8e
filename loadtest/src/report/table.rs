//! Tables for terminals and pages: the first column to the left, numbers to the right.

use crate::plot::escape;

/// A table of texts.
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns from this one on are numbers.
    numbers_from: usize,
}

impl Table {
    /// A table with these headings; numbers begin at column `numbers_from`.
    pub(super) fn new(head: &[&str], numbers_from: usize) -> Self {
        let head = head.iter().map(|&text| text.to_owned()).collect();
        Table { head, rows: Vec::new(), numbers_from }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines, each after `indent`.
    pub(super) fn text(&self, indent: &str) -> String {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        for row in all() {
            let mut line = indent.to_owned();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let gap = if column == 0 { "" } else { "   " };
                line.push_str(gap);
                if column >= self.numbers_from {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// The table as HTML.
    pub(super) fn html(&self) -> String {
        let row = |row: &Vec<String>, tag: &str| {
            let cell = |(column, cell): (usize, &String)| {
                let class = if column >= self.numbers_from { "n" } else { "t" };
                format!("<{tag} class=\"{class}\">{}</{tag}>", escape(cell))
            };
            format!("<tr>{}</tr>\n", row.iter().enumerate().map(cell).collect::<String>())
        };
        let body: String = self.rows.iter().map(|cells| row(cells, "td")).collect();
        format!("<div class=\"scroll\"><table>\n{}{body}</table></div>", row(&self.head, "th"))
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
