use super::*;
use crate::output::sample;

fn lines(status: &ClusterStatus, goals: &[&str], width: usize) -> String {
    let goals: Vec<Goal> = goals.iter().map(|goal| goal.parse().unwrap()).collect();
    let waited = Some(Duration::from_millis(12_340));
    rows(status, &goals)
        .iter()
        .map(|row| row.line(Paint::PLAIN, width, "⠋", waited) + "\n")
        .collect()
}

#[test]
fn a_cluster_that_is_up() {
    insta::assert_snapshot!(lines(&sample::up(), &["node"], 80), @"
    ✓ sandbox    started                                     0.2 s
    ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
    ✓ network    192.100.0.10/24 on eth0                     0.3 s
    ✓ k3s        running (simulated; no containers)          0.4 s
    ✓ api        /readyz ok                                  0.9 s
    ✓ node       k3s-dev Ready                               1.4 s
    ");
}

#[test]
fn a_cluster_on_its_way() {
    insta::assert_snapshot!(lines(&sample::starting(), &["node"], 80), @"
    ✓ sandbox    started                                     0.2 s
    ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
    ✓ network    192.100.0.10/24 on eth0                     0.3 s
    ✓ k3s        running (simulated; no containers)          0.4 s
    ⠋ api        /readyz answers 500: etcd failed           12.3 s
    · node       waits for the rung below
    ");
}

#[test]
fn a_cluster_that_failed() {
    insta::assert_snapshot!(lines(&sample::failed(), &["node"], 80), @r"
    ✓ sandbox    started                                     0.2 s
    ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
    ✓ network    192.100.0.10/24 on eth0                     0.3 s
    ✗ k3s        exited 3 times in 10 s, last with code 1\u{1b}[2J
    ? api        /readyz answers 500: etcd failed
    ? node       waits for the rung below
    ");
}

#[test]
fn only_the_rungs_up_to_the_goal() {
    let names = |goals: &[&str]| {
        let goals: Vec<Goal> = goals.iter().map(|goal| goal.parse().unwrap()).collect();
        rows(&sample::up(), &goals)
            .into_iter()
            .map(|row| row.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(names(&["agent"]), "sandbox agent");
    assert_eq!(
        names(&["api", "deployment/a/b"]),
        "sandbox agent network k3s api"
    );
    assert_eq!(
        names(&["registered"]),
        "sandbox agent network k3s api registered"
    );
    assert_eq!(
        names(&["agent", "system"]),
        "sandbox agent network k3s api node system"
    );
}

#[test]
fn the_line_of_the_node_says_that_it_is_not_registered_yet() {
    let mut status = sample::up();
    for step in &mut status.steps {
        if step.rung == Some(Rung::Registered) {
            step.state = RungState::Progressing;
            step.detail = "no node object named k3s-dev yet".into();
        }
        if step.rung >= Some(Rung::Node) {
            step.state = RungState::Pending;
        }
    }
    let node = rows(&status, &["node".parse().unwrap()]).pop().unwrap();
    assert_eq!(
        (node.name.as_str(), node.detail.as_str()),
        ("node", "no node object named k3s-dev yet")
    );
    assert_eq!(node.state, RungState::Progressing);
}

#[test]
fn narrow_terminals_cut_details_and_never_wrap() {
    let text = lines(&sample::starting(), &["node"], 44);
    assert!(
        text.lines().all(|line| line.chars().count() <= 44),
        "{text}"
    );
    insta::assert_snapshot!(text, @"
    ✓ sandbox    started                 0.2 s
    ✓ agent      lkc-guest 0.1.0, li…    0.3 s
    ✓ network    192.100.0.10/24 on …    0.3 s
    ✓ k3s        running (simulated;…    0.4 s
    ⠋ api        /readyz answers 500…   12.3 s
    · node       waits for the rung …
    ");
}

#[test]
fn goals_beyond_the_ladder_have_lines_too() {
    let row = Row::of_goal(
        "deployment/kube-system/coredns",
        false,
        "0 of 1\u{7} available",
    );
    let waited = Some(Duration::from_secs(75));
    insta::assert_snapshot!(row.line(Paint::PLAIN, 100, "…", waited), @r"  … deployment/kube-system/coredns 0 of 1\u{7} available                    1 m 15 s");
}

#[test]
fn colour_adds_nothing_but_colour() {
    let strip = |text: &str| {
        let mut plain = String::new();
        let mut parts = text.split("\x1b[");
        plain.push_str(parts.next().unwrap());
        parts.for_each(|part| plain.push_str(part.split_once('m').unwrap().1));
        plain
    };
    for row in rows(&sample::failed(), &["system".parse().unwrap()]) {
        let coloured = row.line(Paint::new(true), 80, "⠋", None);
        assert_ne!(coloured, strip(&coloured));
        assert_eq!(strip(&coloured), row.line(Paint::PLAIN, 80, "⠋", None));
    }
}
