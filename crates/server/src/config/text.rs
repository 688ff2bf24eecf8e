//! From text to values: booleans, numbers, durations, escaped keys and lists, as Go's flag package reads them.

use super::flags::Shape;
use std::time::Duration;

/// Is this text a value of this shape? The error is the end of a sentence.
pub fn check(shape: Shape, text: &str) -> Result<(), String> {
    match shape {
        Shape::Text | Shape::List => Ok(()),
        Shape::Bool => boolean(text).map(drop),
        Shape::Count => count(text).map(drop),
        Shape::Duration => duration(text).map(drop),
    }
}

/// Go's `strconv.ParseBool`.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// A whole number.
pub fn count(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number"))
}

/// Go's `time.ParseDuration`: numbers with a unit each, such as `1h30m`, `1.5s`, `300ms`; `0` needs no unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write for example 300ms, 5s or 2h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * unit_seconds(&rest[..end]).ok_or_else(wrong)?;
        rest = &rest[end..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// The parts between commas, without the blanks around them; an empty text is an empty list.
pub fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// A key in which `%xx` stands for one byte.
pub fn escaped_key(text: &str) -> Result<Vec<u8>, String> {
    let mut key = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            key.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => key.push((high * 16 + low) as u8),
            _ => return Err(format!("`{text}`: % must be followed by two hexadecimal digits (%25 is % itself)")),
        }
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("300ms").unwrap(), Duration::from_millis(300));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("0").unwrap(), Duration::ZERO);
        for wrong in ["", "5", "s", "5x", "-3s", "1..2s", "9999999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_hold_any_byte() {
        assert_eq!(escaped_key("a%2Cb%00%ff").unwrap(), b"a,b\0\xff");
        for wrong in ["%", "%4", "%zz", "a%"] {
            assert!(escaped_key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn booleans_are_gos() {
        assert!(boolean("T").unwrap() && !boolean("0").unwrap());
        assert!(boolean("yes").is_err());
    }
}
