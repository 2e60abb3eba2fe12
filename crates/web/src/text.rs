//! Text that a stranger wrote, made fit to be shown: a client's name, its redirect URI, an error it sent.
//!
//! askama escapes HTML; this module takes away what escaping leaves: control characters, characters that
//! turn the reading direction round or are invisible (a name that reads as another one), and length.

/// How much of a name or a short message is shown, in characters.
pub(crate) const SHORT: usize = 80;
/// How much of a URI is shown, in characters.
pub(crate) const LONG: usize = 300;

/// `text` with white space folded, every deceptive character replaced by U+FFFD, cut to `most` characters
/// (an ellipsis says so).
pub(crate) fn shown(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    // A cap on what is read as well: the work does not grow with what was sent.
    for word in text.split_whitespace().take(most.saturating_add(1)) {
        if count > 0 {
            out.push(' ');
            count += 1;
        }
        for character in word.chars() {
            if count >= most {
                out.push('…');
                return out;
            }
            out.push(if deceives(character) {
                char::REPLACEMENT_CHARACTER
            } else {
                character
            });
            count += 1;
        }
    }
    out
}

/// Control, bidirectional-override, zero-width, separator, tag and private-use characters.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cn_07_what_deceives_is_neutralised_and_length_capped() {
        assert_eq!(shown("Claude\u{202e}edoC", SHORT), "Claude\u{fffd}edoC");
        assert_eq!(shown("a\u{0}b\u{1b}[31m", SHORT), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(shown(" two \n lines\t", SHORT), "two lines");
        assert_eq!(
            shown("Zero\u{200b}width\u{e0041}", SHORT),
            "Zero\u{fffd}width\u{fffd}"
        );
        assert_eq!(shown("Ünïcødé 名前 ✓", SHORT), "Ünïcødé 名前 ✓");
        let long = shown(&"x".repeat(10_240), SHORT);
        assert_eq!((long.chars().count(), long.ends_with('…')), (SHORT + 1, true));
    }

    proptest::proptest! {
        #[test]
        fn cn_07_any_text_comes_out_short_and_printable(text in ".{0,400}") {
            let out = shown(&text, SHORT);
            proptest::prop_assert!(out.chars().count() <= SHORT + 2);
            proptest::prop_assert!(!out.chars().any(deceives));
        }
    }
}
