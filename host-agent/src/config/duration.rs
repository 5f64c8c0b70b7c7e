//! Durations as people write them: `90s`, `5m`, `1m30s`, `500ms`.

use std::time::Duration;

/// Longest duration taken. Nobody waits longer for a cluster; a larger number is a mistake.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

const EXPECTED: &str = "a duration is a number with a unit: 500ms, 90s, 5m, 1h or 1m30s";

/// Reads a duration of more than nothing and at most seven days.
pub fn parse(text: &str) -> Result<Duration, String> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit())
            .ok_or(EXPECTED)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|character: char| character.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total = parse_part(number, unit)?
            .and_then(|part| total.checked_add(part))
            .filter(|&total| total <= LONGEST)
            .ok_or("a duration is at most 7 days")?;
        rest = tail;
    }
    if total.is_zero() {
        Err(EXPECTED.to_owned())
    } else {
        Ok(total)
    }
}

/// The part's length; none when it is too large to be one.
fn parse_part(number: &str, unit: &str) -> Result<Option<Duration>, &'static str> {
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(EXPECTED),
    };
    if number.is_empty() {
        return Err(EXPECTED);
    }
    let count = number.parse::<u64>().ok();
    Ok(count
        .and_then(|count| count.checked_mul(milliseconds))
        .map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "0s", "5", "m", "5 m", "-5m", "5d", "1.5h", "5mm", "∞", "8000h", "1h5",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
        let huge = format!("{}s", "9".repeat(400));
        assert_eq!(parse(&huge), Err("a duration is at most 7 days".to_owned()));
        assert_eq!(
            parse("18446744073709551615ms"),
            Err("a duration is at most 7 days".to_owned())
        );
    }
}
