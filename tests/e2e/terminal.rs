//! What a person sees on a terminal.

use std::time::Duration;

use expectrl::{Eof, Expect, Session};
use lkc_tests::TestEnv;

use crate::PROGRAMS;

#[test]
fn up_shows_its_rungs_and_tidies_the_terminal() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    let command = env.lkc(["up"]).on_terminal();
    let mut terminal = Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(Duration::from_secs(60)));
    let shown = terminal.expect(Eof).unwrap();
    let text = String::from_utf8_lossy(shown.as_bytes()).into_owned();
    let screen = screen(&text);
    for line in [
        "✓ sandbox",
        "✓ agent",
        "✓ network",
        "✓ k3s",
        "✓ api",
        "✓ node",
    ] {
        assert_eq!(screen.matches(line).count(), 1, "{line} in\n{screen}");
    }
    assert!(screen.contains("Cluster k3s-dev is up after"), "{screen}");
    assert!(!screen.contains('⠋'), "{screen}");
    assert!(
        text.matches("\u{1b}[?25l").count() <= text.matches("\u{1b}[?25h").count(),
        "the cursor is shown again"
    );
}

#[test]
fn delete_asks_first() {
    let env = crate::env_with_cluster(&[]);
    let delete = |answer: &str| {
        let command = env.lkc(["delete"]).on_terminal();
        let mut terminal = Session::spawn(command).unwrap();
        terminal.set_expect_timeout(Some(Duration::from_secs(60)));
        terminal.expect("k3s-dev").unwrap();
        terminal.send_line(answer).unwrap();
        terminal.expect(Eof).unwrap();
    };
    delete("n");
    assert!(env.kubeconfig("k3s-dev").exists());
    delete("y");
    assert!(!env.cluster_dir("k3s-dev").exists());
}

/// Columns of a terminal that nobody has sized.
const WIDTH: usize = 80;

/// What is on the screen in the end: enough of a terminal for what progress bars write.
fn screen(text: &str) -> String {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                column = 0;
            }
            '\u{1b}' => {
                if characters.next() != Some('[') {
                    continue;
                }
                let mut parameters = String::new();
                let command = loop {
                    match characters.next() {
                        Some(byte @ '\u{20}'..='\u{3f}') => parameters.push(byte),
                        Some(command) => break command,
                        None => break ' ',
                    }
                };
                let count = parameters.parse().unwrap_or(1_usize);
                match command {
                    'A' => row = row.saturating_sub(count),
                    'B' => row += count,
                    'G' => column = count.saturating_sub(1),
                    'K' => lines[row].truncate(if parameters == "2" { 0 } else { column }),
                    'J' => lines.truncate(row + 1),
                    _ => {}
                }
            }
            _ => {
                if column == WIDTH {
                    (row, column) = (row + 1, 0);
                    lines.resize(lines.len().max(row + 1), Vec::new());
                }
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let lines = lines
        .iter()
        .map(|line| line.iter().collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
