//! What processes use, children included, as /proc has it.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    time::Duration,
};

/// CPU time of each thread of some processes, in nanoseconds.
#[derive(Debug)]
pub(crate) struct CpuTimes(HashMap<(u32, u32), u64>);

impl CpuTimes {
    /// Of the threads of `roots` and their descendants that are there now.
    pub(crate) fn of(roots: &[u32]) -> Self {
        let mut times = HashMap::new();
        for process in tree(roots) {
            for thread in numbers_in(&format!("/proc/{process}/task")) {
                let path = format!("/proc/{process}/task/{thread}/schedstat");
                let spent = fs::read_to_string(path).ok();
                let spent = spent.and_then(|text| text.split(' ').next()?.parse().ok());
                if let Some(spent) = spent {
                    times.insert((process, thread), spent);
                }
            }
        }
        Self(times)
    }

    /// Time spent since `earlier`. Threads that are gone are not counted, so whatever is measured
    /// has to live through the whole window.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let spent = self.0.iter().map(|(thread, &now)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        });
        Duration::from_nanos(spent.sum())
    }
}

/// Memory of some processes, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages counted for each.
    pub(crate) resident: u64,
    /// Shared pages divided among those who share them.
    pub(crate) proportional: u64,
}

impl Memory {
    /// Of `roots` and their descendants.
    pub(crate) fn of(roots: &[u32]) -> Self {
        let mut total = Self::default();
        for process in tree(roots) {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
            let text = text.unwrap_or_default();
            total.resident += kibibytes(&text, "Rss:") * 1024;
            total.proportional += kibibytes(&text, "Pss:") * 1024;
        }
        total
    }
}

fn kibibytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// User and kernel time of a process, its threads included, in the kernel's ticks.
pub(crate) fn user_and_kernel(process: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = after_name(&text)?.skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// CPU time of this process and of all its children, those that were waited for included, in ticks.
pub(crate) fn own_ticks() -> u64 {
    let mut total = 0;
    for process in tree(&[std::process::id()]) {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if let Some(fields) = after_name(&text) {
            let times = fields.skip(11).take(4);
            total += times
                .filter_map(|field| field.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    total
}

/// `roots` and all their descendants.
pub(crate) fn tree(roots: &[u32]) -> BTreeSet<u32> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for process in numbers_in("/proc") {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let parent = after_name(&text).and_then(|mut fields| fields.nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = BTreeSet::new();
    let mut pending = roots.to_vec();
    while let Some(process) = pending.pop() {
        if found.insert(process) {
            pending.extend(children.get(&process).into_iter().flatten());
        }
    }
    found
}

/// The fields of a stat line from the state on; a name may hold spaces and parentheses.
fn after_name(stat: &str) -> Option<std::str::SplitWhitespace<'_>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself_and_its_memory() {
        let own = std::process::id();
        assert!(tree(&[own]).contains(&own));
        let memory = Memory::of(&[own]);
        assert!(memory.resident >= memory.proportional);
        assert!(memory.proportional > 0);
        assert!(user_and_kernel(own).is_some());
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let mut fields = after_name("12 (a) b) S 7 12").expect("has a name");
        assert_eq!((fields.next(), fields.next()), (Some("S"), Some("7")));
    }
}
