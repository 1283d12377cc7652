//! Columns and paragraphs of text that fit the terminal. All functions are pure except [`width`].

use std::io::{self, IsTerminal as _};

/// Width of the text if the output isn't a terminal.
pub const WITHOUT_TERMINAL: usize = 100;

/// Minimum width of the text.
const NARROWEST: usize = 60;

/// Number of spaces between two columns.
const GAP: usize = 2;

/// One column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Minimum width, in characters.
    pub least: usize,
    /// Whether its cells may be wrapped if the table is too wide.
    pub breaks: bool,
}

/// Returns the width of the terminal at standard output, or [`WITHOUT_TERMINAL`].
pub fn width() -> usize {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten();
    size.map(|size| size.ws_col.into()).filter(|columns| *columns > 0).unwrap_or(WITHOUT_TERMINAL)
}

/// Formats lines of cells within `width`, or 60 if that is more. Cells that don't fit continue on the next line.
pub fn table<const N: usize>(lines: &[[String; N]], columns: [Column; N], width: usize) -> String {
    let widths = widths(lines, columns, width.max(NARROWEST));
    let mut text = String::new();
    for line in lines {
        let cells: Vec<Vec<String>> =
            line.iter().zip(widths).map(|(cell, width)| wrap(cell, width)).collect();
        for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            text.push_str(&physical(&cells, &widths, at));
            text.push('\n');
        }
    }
    text
}

/// Returns one line of the terminal.
fn physical(cells: &[Vec<String>], widths: &[usize], at: usize) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let part = cell.get(at).map_or("", String::as_str);
        text.push_str(&format!("{part:<width$}{:GAP$}", ""));
    }
    text.trim_end().to_owned()
}

/// Narrows the widest column that may be wrapped, until the table fits or no column can be narrowed.
fn widths<const N: usize>(lines: &[[String; N]], columns: [Column; N], width: usize) -> [usize; N] {
    let mut widths = columns.map(|column| column.least);
    for line in lines {
        for (cell, width) in line.iter().zip(&mut widths) {
            *width = (*width).max(cell.chars().count());
        }
    }
    while widths.iter().sum::<usize>() + GAP * (N - 1) > width {
        let can = (0..N).filter(|at| columns[*at].breaks && widths[*at] > columns[*at].least);
        let Some(widest) = can.max_by_key(|at| widths[*at]) else { break };
        widths[widest] -= 1;
    }
    widths
}

/// Wraps text into lines of `width`, or 60 if that is more. All lines but the first are indented.
pub fn paragraph(text: &str, width: usize) -> String {
    wrap(text, width.max(NARROWEST) - GAP).join("\n  ") + "\n"
}

/// Wraps at spaces. A word that is too long is broken after `/` or `-`, or else anywhere.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some((end, next)) = rest.char_indices().nth(width) {
        let head = &rest[..end];
        let inside = head.rfind(' ').or_else(|| head.rfind(['/', '-'])).map(|at| at + 1);
        let cut = if next == ' ' { end } else { inside.unwrap_or(end) };
        lines.push(rest[..cut].trim_end().to_owned());
        rest = rest[cut..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Column = Column { least: 6, breaks: true };
    const WORD: Column = Column { least: 8, breaks: false };

    fn mk_line(cells: [&str; 3]) -> [String; 3] {
        cells.map(str::to_owned)
    }

    #[test]
    fn what_fits_is_in_columns_of_its_own_width() {
        let lines = [mk_line(["NAME", "STATE", "MORE"]), mk_line(["a/bcdef", "ok", "x y"])];
        let text = table(&lines, [NAME, WORD, NAME], 80);
        assert_eq!(text, "NAME     STATE     MORE\na/bcdef  ok        x y\n");
    }

    #[test]
    fn cells_that_do_not_fit_go_on_below_themselves_and_lose_nothing() {
        let (long, many) = (format!("A/ns/{}", "n".repeat(70)), ["127.0.0.1:19000"; 9].join(" "));
        let text = table(&[mk_line([&long, "pending", &many])], [NAME, WORD, NAME], 80);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.matches("127.0.0.1:19000").count(), 9, "{text}");
        assert_eq!(text.matches('n').count(), 73, "{text}\n(with pending's two and the namespace's)");
        let second = text.lines().nth(1).unwrap();
        let column = text.lines().next().unwrap().find("127").unwrap();
        assert_eq!(second.find("127"), Some(column), "{text}");
    }

    #[test]
    fn no_width_is_too_small_and_no_text_too_odd() {
        for text in ["", " ", "   x", "äöü/ß端口-端", &"-".repeat(200), &" ".repeat(200)] {
            for width in [0, 1, 2, 61] {
                table(&[mk_line([text, text, text])], [NAME, WORD, NAME], width);
                paragraph(text, width);
            }
        }
    }

    #[test]
    fn paragraphs_break_at_spaces() {
        let text = paragraph(&"word ".repeat(30), 60);
        assert!(text.lines().all(|line| line.len() <= 60 && !line.contains("wor\n")), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("  word")), "{text}");
    }
}
