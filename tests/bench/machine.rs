//! What a figure was measured on, and what else that machine did meanwhile.

use std::{
    fs,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::usage::own_ticks;

/// Ticks per second of the times in /proc; the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// A machine's description.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Of the run, as YYYY-MM-DD, in UTC.
    pub(crate) date: String,
    /// Cores that others kept busy during the run, this benchmark's processes not counted.
    pub(crate) cores_used_by_others: f64,
    /// Cores that the hypervisor withheld during the run.
    pub(crate) cores_stolen: f64,
    /// How this program was built.
    pub(crate) build: &'static str,
}

/// Watches what others do until the machine is described.
#[derive(Debug)]
pub(crate) struct Watch {
    begin: Instant,
    own: u64,
    all: u64,
    stolen: u64,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let (all, stolen) = system_ticks();
        Self {
            begin: Instant::now(),
            own: own_ticks(),
            all,
            stolen,
        }
    }

    /// Describes the machine as it was since the beginning.
    pub(crate) fn describe(&self) -> Machine {
        let (all, stolen) = system_ticks();
        let own = own_ticks().saturating_sub(self.own);
        let others = all.saturating_sub(self.all).saturating_sub(own);
        let available = self.begin.elapsed().as_secs_f64() * TICKS;
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes: f64 = value_of(&meminfo, "MemTotal:")
            .and_then(|value| value.trim_end_matches("kB").trim().parse().ok())
            .unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            processor: value_of(&cpuinfo, "model name")
                .map(|value| value.trim_start_matches([':', ' ', '\t']).to_owned())
                .unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: (kibibytes / 1024.0 / 1024.0).round(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map(|text| text.trim().to_owned())
                .unwrap_or_default(),
            date: today(),
            cores_used_by_others: others as f64 / available,
            cores_stolen: stolen.saturating_sub(self.stolen) as f64 / available,
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        }
    }
}

/// Busy and stolen time of all processors.
fn system_ticks() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let of = |indices: &[usize]| indices.iter().filter_map(|&index| fields.get(index)).sum();
    (of(&[0, 1, 2, 5, 6]), of(&[7]))
}

fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    value.map(str::trim)
}

fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let days = since.unwrap_or_default().as_secs() / 86_400;
    let (year, month, day) = civil(days);
    format!("{year}-{month:02}-{day:02}")
}

/// The Gregorian date of a day since 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        (days, year) = (days - length, year + 1);
    }
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        (days, month) = (days - length, month + 1);
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_453), (2025, 12, 31));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }
}
