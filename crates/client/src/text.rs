//! Text that a server wrote, made fit to be shown.

use std::fmt::Write as _;

/// How much of a server's text is shown, in characters.
const LONGEST: usize = 300;

/// `text` with everything escaped that a terminal or a reader could take for something else (control characters, ANSI
/// sequences, marks that change the direction of writing), and cut after 300 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST {
            out.push('…');
            break;
        }
        if is_deceiving(c) {
            // Writing to a String does not fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that do something else than being read: controls, line separators, marks of direction, invisible ones, tags.
fn is_deceiving(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn cl_15_what_a_server_writes_does_not_move_the_cursor() {
        assert_eq!(
            shown("a\u{1b}[2Jb\r\nc\u{202e}d"),
            "a\\u{1b}[2Jb\\r\\nc\\u{202e}d"
        );
        assert_eq!(shown("Grüße, 東京"), "Grüße, 東京");
        assert_eq!(shown(&"x".repeat(400)), format!("{}…", "x".repeat(300)));
    }
}
