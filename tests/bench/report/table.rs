//! Results as tables that read well in a terminal and as Markdown.

use std::fmt::Write;

use crate::{
    goals::judge,
    results::{Measured, Results, sum},
    statistics::Spread,
};

/// A column: its head, and a candidate's cell.
type Column = (&'static str, fn(&Results, &str) -> Option<String>);

const RATIOS: &[Column] = &[
    ("one stream ÷ direct", |results, name| {
        ratio(results, name, "direct", &["up", "down"])
    }),
    ("÷ socat-2", |results, name| {
        ratio(results, name, "socat-2", &["up", "down"])
    }),
    ("both ways ÷ direct", |results, name| {
        ratio(results, name, "direct", &["both"])
    }),
    ("16 streams ÷ direct", |results, name| {
        ratio(results, name, "direct", &["16-up", "16-down"])
    }),
    ("16 up ÷ socat-2", |results, name| {
        ratio(results, name, "socat-2", &["16-up"])
    }),
    ("CPU/GiB ÷ socat-2", |results, name| {
        ratio(results, name, "socat-2", &["cpu-up", "cpu-down"])
    }),
    ("round trip ÷ socat-2-tuned", |results, name| {
        ratio(results, name, "socat-2-tuned", &["ping-p50"])
    }),
    ("connections, 8 clients ÷ socat-2", |results, name| {
        ratio(results, name, "socat-2", &["connects-8"])
    }),
];

const BEFORE: &str = "lkc-unix-before";

/// What a change did, when another build was measured too.
const CHANGES: &[Column] = &[
    ("one stream", |results, name| {
        ratio(results, name, BEFORE, &["up", "down"])
    }),
    ("both ways", |results, name| {
        ratio(results, name, BEFORE, &["both"])
    }),
    ("16 streams", |results, name| {
        ratio(results, name, BEFORE, &["16-up", "16-down"])
    }),
    ("CPU/GiB", |results, name| {
        ratio(results, name, BEFORE, &["cpu-up", "cpu-down"])
    }),
    ("round trip", |results, name| {
        ratio(results, name, BEFORE, &["ping-p50"])
    }),
    ("beside bulk, p50", |results, name| {
        ratio(results, name, BEFORE, &["beside-up-p50", "beside-down-p50"])
    }),
    ("beside bulk, p99", |results, name| {
        ratio(results, name, BEFORE, &["beside-up-p99", "beside-down-p99"])
    }),
    ("connections, 8 clients", |results, name| {
        ratio(results, name, BEFORE, &["connects-8"])
    }),
    ("idle PSS", |results, name| {
        ratio(results, name, BEFORE, &["idle-pss"])
    }),
];

const THROUGHPUT: &[Column] = &[
    ("up", |results, name| figure(results, name, "up", 2)),
    ("down", |results, name| figure(results, name, "down", 2)),
    ("both at once", |results, name| {
        figure(results, name, "both", 2)
    }),
    ("16 up", |results, name| figure(results, name, "16-up", 2)),
    ("16 down", |results, name| {
        figure(results, name, "16-down", 2)
    }),
    ("CPU-s/GiB up", |results, name| {
        figure(results, name, "cpu-up", 2)
    }),
    ("CPU-s/GiB down", |results, name| {
        figure(results, name, "cpu-down", 2)
    }),
    ("CPU-s/GiB 16 up", |results, name| {
        figure(results, name, "cpu-16-up", 2)
    }),
];

const LATENCY: &[Column] = &[
    ("1 B idle", |results, name| pair(results, name, "ping")),
    ("16 KiB idle", |results, name| {
        pair(results, name, "ping-16k")
    }),
    ("1 B beside up", |results, name| {
        pair(results, name, "beside-up")
    }),
    ("16 KiB beside up", |results, name| {
        pair(results, name, "beside-up-16k")
    }),
    ("GiB/s of that up", |results, name| {
        figure(results, name, "beside-up", 2)
    }),
    ("1 B beside down", |results, name| {
        pair(results, name, "beside-down")
    }),
    ("16 KiB beside down", |results, name| {
        pair(results, name, "beside-down-16k")
    }),
    ("GiB/s of that down", |results, name| {
        figure(results, name, "beside-down", 2)
    }),
];

const CONNECTIONS: &[Column] = &[
    ("conn/s, 1 client", |results, name| {
        figure(results, name, "connects-1", 0)
    }),
    ("conn/s, 8 clients", |results, name| {
        figure(results, name, "connects-8", 0)
    }),
    ("1,000 idle, PSS MiB", |results, name| {
        figure(results, name, "idle-pss", 1)
    }),
    ("RSS MiB", |results, name| {
        figure(results, name, "idle-rss", 1)
    }),
    ("PSS before", |results, name| {
        figure(results, name, "idle-pss-before", 1)
    }),
    ("10,000 open, PSS MiB", |results, name| {
        figure(results, name, "open-pss", 1)
    }),
    ("up, beside unread ÷ without", |results, name| {
        quotient(results, name, "unread-up", "read-up")
    }),
    ("down, beside unread ÷ without", |results, name| {
        quotient(results, name, "unread-down", "read-down")
    }),
    ("1 B beside unread", |results, name| {
        pair(results, name, "unread")
    }),
];

const BEHAVIOURS: &[Column] = &[
    ("told from direct", |results, name| {
        figure(results, name, "told", 0)
    }),
    ("refusals after the connect", |results, name| {
        figure(results, name, "unavoidable", 0)
    }),
    ("of", |results, name| figure(results, name, "behaviours", 0)),
];

/// Everything: the machine, the goals, the tables, what failed.
pub(crate) fn page(results: &Results) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_page(results, &mut text);
    text
}

fn write_page(results: &Results, text: &mut String) -> std::fmt::Result {
    let machine = &results.machine;
    writeln!(
        text,
        "{}, {} cores, {} GiB, Linux {}, {}; {} build.",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.date,
        machine.build
    )?;
    writeln!(
        text,
        "Meanwhile others used {:.2} cores; {:.2} were withheld by the hypervisor.",
        machine.cores_used_by_others, machine.cores_stolen
    )?;
    writeln!(
        text,
        "{}{} rounds, seed {}. Medians, least–most in brackets; ratios are of the same round. Memory is that of the \
         processes, not of the kernel's sockets.",
        if results.quick {
            "Quick form: one round of what takes long, no 10,000 streams. "
        } else {
            ""
        },
        results.rounds,
        results.seed
    )?;
    writeln!(text, "\n## Goals\n")?;
    text.push_str(&goals(results));
    let tables = [
        ("Ratios", RATIOS),
        (
            "Throughput (GiB/s) and CPU of the tunnel's processes",
            THROUGHPUT,
        ),
        ("Round trips (µs, p50 / p99)", LATENCY),
        (
            "Connections, memory, four unread streams each way",
            CONNECTIONS,
        ),
        (
            "TCP behaviours that both ends can tell from a direct connection",
            BEHAVIOURS,
        ),
    ];
    for (title, columns) in tables {
        writeln!(text, "\n## {title}\n")?;
        text.push_str(&table(results, columns));
    }
    if results.spread(BEFORE, "up").is_some() {
        writeln!(text, "\n## Against {BEFORE}\n")?;
        text.push_str(&table(results, CHANGES));
    }
    for one in &results.candidates {
        if let Some(why) = &one.not_measured {
            writeln!(text, "\n{}: not measured: {why}", one.name)?;
        }
        if !one.told.is_empty() {
            writeln!(text, "\n{}: told: {}", one.name, one.told.join(", "))?;
        }
        for failure in &one.failures {
            writeln!(text, "\n{}: {failure}", one.name)?;
        }
    }
    Ok(())
}

fn goals(results: &Results) -> String {
    let mut rows = vec![
        ["goal", "wanted", "measured", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for judged in judge(results) {
        let mark = match judged.reached {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "?",
        };
        let measured = judged.spread.map(|spread| cell(spread, 2));
        rows.push(vec![
            judged.what.to_owned(),
            judged.goal,
            measured.unwrap_or_else(|| "not measured".to_owned()),
            mark.to_owned(),
        ]);
    }
    aligned(&rows)
}

fn table(results: &Results, columns: &[Column]) -> String {
    let mut head = vec!["candidate".to_owned()];
    head.extend(columns.iter().map(|(title, _)| (*title).to_owned()));
    let mut rows = vec![head];
    let measured = |one: &&Measured| one.rounds.iter().any(|round| !round.is_empty());
    for one in results.candidates.iter().filter(measured) {
        let mut row = vec![one.name.to_owned()];
        row.extend(
            columns
                .iter()
                .map(|(_, value)| value(results, one.name).unwrap_or_else(|| "–".to_owned())),
        );
        rows.push(row);
    }
    aligned(&rows)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut lines = rows.iter().map(|row| line(row));
    let head = lines.next().unwrap_or_default();
    let body: String = lines.collect();
    format!("{head}{}{body}", line(&rule))
}

fn figure(results: &Results, name: &str, figure: &str, digits: usize) -> Option<String> {
    Some(cell(results.spread(name, figure)?, digits))
}

fn ratio(results: &Results, name: &str, reference: &str, figures: &[&str]) -> Option<String> {
    let spread = results.ratio(name, reference, |round| sum(round, figures))?;
    Some(cell(spread, 2))
}

fn quotient(results: &Results, name: &str, part: &str, whole: &str) -> Option<String> {
    let spread = results.spread_of(name, |round| Some(round.get(part)? / round.get(whole)?))?;
    Some(cell(spread, 2))
}

/// Median and least–most of p50, and the median of p99.
fn pair(results: &Results, name: &str, figure: &str) -> Option<String> {
    let p50 = results.spread(name, &format!("{figure}-p50"))?;
    let p99 = results.spread(name, &format!("{figure}-p99"))?;
    Some(format!("{} / {}", cell(p50, 0), cell(p99, 0)))
}

fn cell(spread: Spread, digits: usize) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    if (most - least).abs() < f64::EPSILON {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}
