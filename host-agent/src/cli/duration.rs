//! Times as people write them: `500ms`, `30s`, `5m`, `1h30m`.

use std::{fmt, time::Duration};

/// Longest time accepted: a week. More is a slip of the keyboard.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A duration that prints as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// In milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Parses numbers with units, the largest unit first and each at most once.
///
/// # Errors
/// A sentence that says what is wrong with `text`.
pub fn parse(text: &str) -> Result<HumanDuration, String> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut last_unit = u64::MAX;
    if rest.is_empty() {
        return Err("a time is a number with a unit: 500ms, 30s, 5m, 1h30m".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let letters = behind.len()
            - behind
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let (unit, behind) = behind.split_at(letters);
        let number: u64 = number.parse().map_err(|_| {
            format!("`{text}` is not a time; write it like 500ms, 30s, 5m or 1h30m")
        })?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" if rest.len() == digits => {
                return Err(format!("`{text}` lacks a unit; did you mean `{text}s`?"));
            }
            "" => {
                return Err(format!(
                    "`{text}` is not a time; write it like 500ms, 30s, 5m or 1h30m"
                ));
            }
            _ => {
                return Err(format!(
                    "`{unit}` is not a unit of time; there are ms, s, m and h"
                ));
            }
        };
        if unit_ms >= last_unit {
            return Err(format!(
                "the units of `{text}` must go from the largest to the smallest, each once"
            ));
        }
        last_unit = unit_ms;
        total = number
            .checked_mul(unit_ms)
            .and_then(|ms| total.checked_add(Duration::from_millis(ms)))
            .filter(|sum| *sum <= LONGEST)
            .ok_or_else(|| format!("`{text}` is longer than a week"))?;
        rest = behind;
    }
    if total.is_zero() {
        return Err(format!(
            "`{text}` is no time at all; to wait for nothing, use `--wait none`"
        ));
    }
    Ok(HumanDuration(total))
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return formatter.write_str("0s");
        }
        for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= unit_ms {
                write!(formatter, "{}{unit}", rest / unit_ms)?;
                rest %= unit_ms;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_being_read_and_written() {
        for text in [
            "500ms", "30s", "5m", "1h30m", "2h", "1m30s", "168h", "1s1ms",
        ] {
            assert_eq!(
                parse(text).map(|time| time.to_string()).as_deref(),
                Ok(text)
            );
        }
        assert_eq!(
            parse("90s").map(|time| time.to_string()).as_deref(),
            Ok("1m30s")
        );
    }

    #[test]
    fn what_is_no_time_is_refused_with_a_reason() {
        let reasons: Vec<_> = [
            "",
            "30",
            "5 m",
            "-1s",
            "1.5h",
            "30x",
            "30m1h",
            "1s1s",
            "999h",
            "0s",
            "99999999999999999999s",
            "s",
            "5m30",
        ]
        .iter()
        .map(|text| match parse(text) {
            Ok(time) => panic!("{text} was taken for {time}"),
            Err(reason) => format!("{text}: {reason}"),
        })
        .collect();
        insta::assert_snapshot!(reasons.join("\n"), @"
        : a time is a number with a unit: 500ms, 30s, 5m, 1h30m
        30: `30` lacks a unit; did you mean `30s`?
        5 m: `5 m` is not a time; write it like 500ms, 30s, 5m or 1h30m
        -1s: `-1s` is not a time; write it like 500ms, 30s, 5m or 1h30m
        1.5h: `1.5h` is not a time; write it like 500ms, 30s, 5m or 1h30m
        30x: `x` is not a unit of time; there are ms, s, m and h
        30m1h: the units of `30m1h` must go from the largest to the smallest, each once
        1s1s: the units of `1s1s` must go from the largest to the smallest, each once
        999h: `999h` is longer than a week
        0s: `0s` is no time at all; to wait for nothing, use `--wait none`
        99999999999999999999s: `99999999999999999999s` is not a time; write it like 500ms, 30s, 5m or 1h30m
        s: `s` is not a time; write it like 500ms, 30s, 5m or 1h30m
        5m30: `5m30` lacks a unit; did you mean `5m30s`?
        ");
    }
}
