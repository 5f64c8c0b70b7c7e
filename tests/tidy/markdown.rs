//! Tables of a Markdown page.

/// A table: its header and its rows, cells trimmed and without backticks.
pub(crate) struct Table {
    /// First row.
    pub(crate) header: Vec<String>,
    /// All further rows but the dashes.
    pub(crate) rows: Vec<Vec<String>>,
}

/// Every table of a page, in its order.
pub(crate) fn tables(page: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let is_header = is_row(line) && lines.peek().is_some_and(|next| is_rule(next));
        if !is_header {
            continue;
        }
        let mut rows = Vec::new();
        lines.next();
        while let Some(row) = lines.next_if(|next| is_row(next)) {
            rows.push(cells(row));
        }
        tables.push(Table {
            header: cells(line),
            rows,
        });
    }
    tables
}

fn is_row(line: &str) -> bool {
    line.trim_start().starts_with('|')
}

fn is_rule(line: &str) -> bool {
    is_row(line) && line.chars().all(|character| "|-: ".contains(character))
}

fn cells(row: &str) -> Vec<String> {
    row.trim()
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.replace('`', "").trim().to_owned())
        .collect()
}

#[test]
fn tables_are_found_with_their_cells() {
    let page = "text\n\n| n | `name` |\n|--:|---|\n| 1 | `Info` |\n| 2 | x |\n\nmore | text\n";
    let found = tables(page);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].header, ["n", "name"]);
    assert_eq!(found[0].rows, [["1", "Info"], ["2", "x"]]);
}
