//! What a person types as the code of a device (RFC 8628 §6.1): accepted is exactly what has eight letters of the
//! alphabet and nothing else but white space and punctuation, and every way to write a code is the same code.

use doorward_oauth::device::UserCode;

const ALPHABET: &str = "BCDFGHJKLMNPQRSTVWXZ";

/// One input: the text that was typed.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let letters: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let Ok(code) = UserCode::parse(text) else {
        // What has the form in which devices show it is never refused.
        let plain = text.len() <= 64
            && text
                .bytes()
                .all(|b| b.is_ascii_alphabetic() || b" -".contains(&b));
        let is_code = letters.len() == 8 && letters.chars().all(|c| ALPHABET.contains(c));
        assert!(!(plain && is_code), "refused: {text:?}");
        return;
    };
    assert_eq!(letters.len(), 8, "{text:?}");
    assert!(letters.chars().all(|c| ALPHABET.contains(c)), "{text:?}");
    assert!(
        text.chars().all(|c| c.is_ascii() || !c.is_alphanumeric()),
        "{text:?}"
    );
    let shown = code.to_string();
    assert_eq!(shown, format!("{}-{}", &letters[..4], &letters[4..]));
    for written in [shown.clone(), shown.to_lowercase(), letters, format!(" {shown} ")] {
        assert_eq!(UserCode::parse(&written), Ok(code));
        assert_eq!(UserCode::parse(&written).unwrap().digest(), code.digest());
    }
}
