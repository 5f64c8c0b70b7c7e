//! Wall-clock times as Kubernetes writes them, and spans as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One reading of both clocks, so that nothing below the edge asks for the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Since the API began to listen.
    pub(crate) uptime: Duration,
    pub(crate) wall: SystemTime,
}

impl Moment {
    pub(crate) fn timestamp(&self) -> String {
        rfc3339(self.wall)
    }
}

/// Seconds precision, UTC, as in `metadata.creationTimestamp`.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let (date, _) = date_and_micros(at);
    format!("{date}Z")
}

/// Microseconds precision, as in `Lease.spec.renewTime`.
pub(crate) fn rfc3339_micros(at: SystemTime) -> String {
    let (date, micros) = date_and_micros(at);
    format!("{date}.{micros:06}Z")
}

fn date_and_micros(at: SystemTime) -> (String, u32) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let date = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    (date, since.subsec_micros())
}

/// Gregorian date of a day counted from 1970-01-01, by eras of 400 years that begin in March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Seconds since 1970 of a time in the form that [`rfc3339`] writes; fractions are dropped.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !text.ends_with('Z') || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day)
    {
        return None;
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let era = march_year / 400;
    let year_of_era = march_year % 400;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// A span as in `kubectl get`: `5s`, `4m3s`, `3h2m`, `2d3h`.
pub(crate) fn short_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, large_unit: char, small: u64, small_unit: char| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// A span in Go's form: `250ms`, `2s`, `1m30s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest.get(..digits)?.parse().ok()?;
        let after = rest.get(digits..)?;
        let unit_length = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, tail) = after.split_at(unit_length);
        let part = match unit {
            "ms" => Duration::from_millis(amount),
            "s" => Duration::from_secs(amount),
            "m" => Duration::from_secs(amount.checked_mul(60)?),
            "h" => Duration::from_secs(amount.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_the_round_trip() {
        for seconds in [
            0,
            951_782_399,
            951_782_400,
            1_709_164_800,
            1_795_256_598,
            4_102_444_799,
        ] {
            let text = rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(parse_rfc3339(&text), Some(seconds), "{text}");
        }
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_secs(951_782_400)),
            "2000-02-29T00:00:00Z"
        );
        assert_eq!(
            rfc3339_micros(UNIX_EPOCH + Duration::from_micros(7)),
            "1970-01-01T00:00:00.000007Z"
        );
    }

    #[test]
    fn nonsense_is_not_a_time() {
        for text in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "yesterday at three o'clock",
            "2026-01-01T00:00:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1x",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (243, "4m3s"),
            (300, "5m"),
            (700, "11m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (700_000, "8d"),
        ] {
            assert_eq!(short_age(Duration::from_secs(seconds)), text);
        }
    }
}
