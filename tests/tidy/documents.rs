//! Tables in documents that must say what the code says.

use std::collections::BTreeSet;

use crate::finding::none_expected;
use crate::markdown::{Table, tables};
use crate::repository::read;

/// A number and what it stands for.
type Entry = (u64, String);

#[test]
fn every_message_number_is_in_the_protocol_document() {
    let code = registered_messages(&read("protocol/src/message.rs"));
    assert!(
        code.len() > 10,
        "no registry found in protocol/src/message.rs: {code:?}"
    );
    compare("protocol/src/message.rs", "message", &code);
}

#[test]
fn every_frame_kind_is_in_the_protocol_document() {
    let code = numbered_items(&read("protocol/src/frame.rs"), "kinds");
    assert!(
        code.len() >= 10,
        "no `kinds!` table in protocol/src/frame.rs: {code:?}"
    );
    compare("protocol/src/frame.rs", "frame", &code);
}

#[test]
fn every_error_code_is_in_the_protocol_document() {
    let source = read("protocol/src/error.rs");
    let page = read("protocol/PROTOCOL.md");
    let documented: Vec<BTreeSet<Entry>> = tables(&page)
        .iter()
        .map(|table| entries(table).collect())
        .collect();
    let mut blocks = source.split("\ncodes! {").skip(1).peekable();
    assert!(
        blocks.peek().is_some(),
        "no `codes!` table in protocol/src/error.rs"
    );
    for block in blocks {
        let code: BTreeSet<Entry> = numbered_lines(block.split("\n}").next().unwrap_or_default());
        let name = block
            .lines()
            .find_map(|line| line.trim().strip_prefix("pub enum "));
        let name = name.unwrap_or_default().trim_end_matches(" {");
        let nothing = BTreeSet::new();
        let nearest = documented
            .iter()
            .max_by_key(|table| table.intersection(&code).count())
            .unwrap_or(&nothing);
        none_expected(
            &format!("PROTOCOL.md has a table of {name}: number, name, sentence"),
            "a number is never reused and never changes its name: correct the side that is wrong",
            &differences(
                "protocol/PROTOCOL.md",
                nearest,
                "protocol/src/error.rs",
                &code,
            ),
        );
    }
}

#[test]
fn every_exit_code_is_in_the_readme_and_in_the_manual() {
    let source = read("host-agent/src/error.rs");
    let mut code: BTreeSet<u64> = arms(&source).map(|(_, number)| number).collect();
    assert!(
        code.len() > 10,
        "no exit codes found in host-agent/src/error.rs: {code:?}"
    );
    code.insert(0);
    code.extend(SIGNALS);
    let mend = "correct the README's table whose first column is `exit code`, the list in \
                host-agent/src/cli.rs, or `Kind` in host-agent/src/error.rs";
    let manual = manual_codes(&read("host-agent/src/cli.rs"));
    none_expected(
        "`lkc-host --help` lists each code that lkc-host can end with",
        mend,
        &differences("the manual", &manual, "host-agent/src/error.rs", &code),
    );
    let readme = readme_codes(&read("README.md"));
    none_expected(
        "the README's table of exit codes has each code that lkc-host can end with",
        mend,
        &differences("README.md", &readme, "host-agent/src/error.rs", &code),
    );
}

/// 128 and the signal that ended it: interrupt, broken pipe, termination.
const SIGNALS: [u64; 3] = [130, 141, 143];

/// First cells of the table of exit codes.
fn readme_codes(readme: &str) -> BTreeSet<u64> {
    let is_one = |table: &Table| {
        table.header.first().is_some_and(|cell| {
            let cell = cell.to_lowercase();
            cell.contains("exit") || cell == "code"
        })
    };
    let tables = tables(readme);
    let rows = tables
        .iter()
        .filter(|table| is_one(table))
        .flat_map(|table| &table.rows);
    rows.filter_map(|row| row.first())
        .flat_map(|cell| {
            cell.split(['/', ',', ' '])
                .filter_map(|part| part.parse().ok())
        })
        .collect()
}

/// The columns below `Exit codes:`, which are two or more spaces apart.
fn manual_codes(source: &str) -> BTreeSet<u64> {
    let Some((_, list)) = source.split_once("\nExit codes:\n") else {
        return BTreeSet::new();
    };
    let list = list.split('"').next().unwrap_or_default();
    list.lines()
        .flat_map(|line| line.split("  "))
        .filter_map(|column| column.trim().split(' ').next()?.parse().ok())
        .collect()
}

/// Compares with the tables of PROTOCOL.md that hold any of these names.
fn compare(path: &str, what: &str, code: &BTreeSet<Entry>) {
    let page = read("protocol/PROTOCOL.md");
    let is_one = |table: &Table| {
        entries(table).any(|(_, name)| code.iter().any(|(_, other)| *other == name))
    };
    let document: BTreeSet<Entry> = tables(&page)
        .iter()
        .filter(|table| is_one(table))
        .flat_map(entries)
        .collect();
    none_expected(
        &format!("PROTOCOL.md has each {what} number once, with the name that the code gives it"),
        "a number is never reused and never changes its name: correct the side that is wrong",
        &differences("protocol/PROTOCOL.md", &document, path, code),
    );
}

/// Rows that begin with a number and a name.
fn entries(table: &Table) -> impl Iterator<Item = Entry> {
    table
        .rows
        .iter()
        .filter_map(|row| Some((number(row.first()?)?, row.get(1)?.clone())))
}

/// `NUMBER Name` and `NUMBER Name -> NUMBER Name` lines of the registry.
fn registered_messages(source: &str) -> BTreeSet<Entry> {
    let Some((_, registry)) = source.split_once("\nregistry! {") else {
        return BTreeSet::new();
    };
    let registry = registry.split("\n}").next().unwrap_or_default();
    registry
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
        .flat_map(|line| line.split("->"))
        .filter_map(|pair| {
            let mut words = pair.split_whitespace();
            Some((number(words.next()?)?, words.next()?.to_owned()))
        })
        .collect()
}

/// The items of the table that this macro makes.
fn numbered_items(source: &str, table: &str) -> BTreeSet<Entry> {
    let Some((_, items)) = source.split_once(&format!("\n{table}! {{")) else {
        return BTreeSet::new();
    };
    numbered_lines(items.split("\n}").next().unwrap_or_default())
}

/// `Name = NUMBER,` and `Name = NUMBER => "sentence",` lines.
fn numbered_lines(items: &str) -> BTreeSet<Entry> {
    items
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "))
        .filter_map(|(name, value)| Some((number(value.split(' ').next()?)?, name.to_owned())))
        .collect()
}

/// `Self::Name => NUMBER,` lines.
fn arms(source: &str) -> impl Iterator<Item = (&str, u64)> {
    source.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_prefix("Self::")?.split_once(" => ")?;
        Some((name, number(value.trim_end_matches(','))?))
    })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn differences<T: Ord + std::fmt::Debug>(
    left: &str,
    left_set: &BTreeSet<T>,
    right: &str,
    right_set: &BTreeSet<T>,
) -> Vec<String> {
    let only_left = left_set
        .difference(right_set)
        .map(|item| format!("only in {left}: {item:?}"));
    let only_right = right_set
        .difference(left_set)
        .map(|item| format!("only in {right}: {item:?}"));
    only_left.chain(only_right).collect()
}
