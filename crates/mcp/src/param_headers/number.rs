//! Numbers compared by value, exactly: not as floating point, in which different numbers are the same.

use crate::reader::Reader;

/// Whether a header's text and a JSON number mean the same number (`42` and `42.0`, `1e3` and `1000`).
pub(super) fn same_number(header: &str, number: &str) -> bool {
    header == number || decimal(header).is_some_and(|said| decimal(number) == Some(said))
}

/// Whether a JSON number is between −2^53 + 1 and 2^53 − 1, where every double is exact.
pub(super) fn is_safe(number: &str) -> bool {
    number
        .parse::<f64>()
        .is_ok_and(|number| number.abs() < 9_007_199_254_740_992.0)
}

/// The decimal digits of a JSON number that is an integer which every double can hold.
pub(super) fn as_integer(number: &str) -> Option<String> {
    if !is_safe(number) {
        return None;
    }
    if let Ok(integer) = number.parse::<i64>() {
        return Some(integer.to_string());
    }
    let Decimal {
        negative,
        digits,
        exponent,
    } = decimal(number)?;
    // `is_safe` bounds it to sixteen digits; what is behind the point is none of an integer's.
    let zeros = usize::try_from(exponent).ok()?;
    let sign = if negative { "-" } else { "" };
    Some(match digits.is_empty() {
        true => "0".to_owned(),
        false => format!("{sign}{digits}{}", "0".repeat(zeros)),
    })
}

/// Sign, digits without zeros at either end, and the power of ten of the last digit.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// `text` if it is a JSON number of a length that the reader accepts.
fn decimal(text: &str) -> Option<Decimal> {
    // The reader would skip white space.
    let mut reader = Reader::new(text);
    if reader.number().ok()? != (0..text.len()) {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some(Decimal {
            negative: false,
            digits: String::new(),
            exponent: 0,
        });
    }
    let exponent: i64 = exponent.parse().ok()?;
    let shift = i64::try_from(digits.len() - kept.len()).ok()? - i64::try_from(fraction.len()).ok()?;
    Some(Decimal {
        negative,
        digits: kept.trim_start_matches('0').to_owned(),
        exponent: exponent.checked_add(shift)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{as_integer, is_safe, same_number};

    #[test]
    fn mb_07_only_exact_integers_have_to_be_mirrored() {
        for safe in ["0", "-7", "42.5", "9007199254740991", "-9007199254740991", "1e15"] {
            assert!(is_safe(safe), "{safe}");
        }
        for unsafe_ in [
            "9007199254740992",
            "-9007199254740992",
            "1e16",
            "12345678901234567890",
        ] {
            assert!(!is_safe(unsafe_), "{unsafe_}");
        }
    }

    #[test]
    fn mb_07_numbers_are_compared_by_value() {
        for (one, other) in [
            ("42", "42.0"),
            ("42.0", "42"),
            ("-7", "-7.000"),
            ("0", "-0"),
            ("0.0", "0e5"),
            ("1000", "1e3"),
            ("1E+3", "1000.0"),
            ("0.042e3", "42"),
            ("9007199254740993", "9007199254740993.0"),
        ] {
            assert!(same_number(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("42", "43"),
            ("42", "-42"),
            ("42", "4.2"),
            ("42", "420"),
            // The same in floating point.
            ("9007199254740992", "9007199254740993"),
            ("42.0000000000000000001", "42"),
            // No JSON numbers.
            ("042", "42"),
            ("+42", "42"),
            ("42.", "42"),
            ("0x2a", "42"),
            ("4_2", "42"),
            (" 42", "42"),
            ("42 ", "42"),
            ("", "0"),
            ("NaN", "0"),
        ] {
            assert!(!same_number(one, other), "{one} {other}");
        }
    }

    #[test]
    fn integers_are_written_without_point_or_exponent() {
        for (number, written) in [
            ("42", Some("42")),
            ("-7", Some("-7")),
            ("-0", Some("0")),
            ("0.0", Some("0")),
            ("42.0", Some("42")),
            ("-1.5e1", Some("-15")),
            ("1e3", Some("1000")),
            ("9007199254740991", Some("9007199254740991")),
            ("9007199254740992", None),
            ("0.5", None),
            ("1e400", None),
        ] {
            assert_eq!(as_integer(number).as_deref(), written, "{number}");
        }
    }
}
