use clap::{CommandFactory, Parser};

use super::*;

const COMMANDS: &[&str] = &[
    "up",
    "down",
    "restart",
    "delete",
    "status",
    "wait",
    "kubeconfig",
    "kubectl",
    "forward",
    "logs",
    "exec",
    "ssh",
    "doctor",
    "identity",
    "adopt",
    "daemon",
    "daemon run",
    "daemon status",
    "daemon stop",
    "daemon log",
    "network",
    "network diff",
    "network apply",
    "network confirm",
    "network rollback",
    "network status",
    "snapshot",
    "snapshot save",
    "snapshot restore",
    "snapshot list",
    "snapshot delete",
    "relay",
    "completions",
    "version",
];

fn output_of(line: &str) -> String {
    let args = line
        .split_whitespace()
        .map(std::ffi::OsString::from)
        .collect();
    let command = Cli::command().term_width(100);
    match command.try_get_matches_from(shield_kubectl(args)) {
        Ok(_) => panic!("`{line}` was accepted"),
        Err(error) => error.render().to_string(),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_its_help_here() {
    let mut known: Vec<_> = COMMANDS
        .iter()
        .filter(|name| !name.contains(' '))
        .copied()
        .collect();
    let mut defined: Vec<_> = Cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    known.sort_unstable();
    defined.sort_unstable();
    assert_eq!(known, defined);
}

#[test]
fn help_of_the_program() {
    insta::assert_snapshot!("help", output_of("lkc-host --help"));
    insta::assert_snapshot!("help_short", output_of("lkc-host -h"));
}

#[test]
fn help_of_each_command() {
    for name in COMMANDS {
        let file = format!("help_{}", name.replace(' ', "_"));
        insta::assert_snapshot!(file, output_of(&format!("lkc-host {name} --help")));
    }
}

#[test]
fn mistakes_get_an_answer() {
    let mistakes = [
        "lkc-host stauts",
        "lkc-host up --timeout 30",
        "lkc-host up --index 90",
        "lkc-host up --address 192.100.0.300",
        "lkc-host up --address 192.100.0.10/33",
        "lkc-host up --cni cilium",
        "lkc-host up --wait nodes",
        "lkc-host up --forward 5432:x",
        "lkc-host up K3S",
        "lkc-host up k3s-dev --all",
        "lkc-host wait --for deployment/",
        "lkc-host kubeconfig --use",
        "lkc-host kubeconfig --merge --unmerge",
        "lkc-host forward 99999",
        "lkc-host logs --source kernel",
        "lkc-host completions tcsh",
    ];
    let answers = mistakes.map(|line| format!("$ {line}\n{}", output_of(line)));
    insta::assert_snapshot!("mistakes", answers.join("\n"));
}

fn parse(line: &str) -> Command {
    let args = line
        .split_whitespace()
        .map(std::ffi::OsString::from)
        .collect();
    Cli::try_parse_from(shield_kubectl(args)).unwrap().command
}

#[test]
fn kubectl_gets_its_arguments_untouched() {
    let Command::Kubectl(kubectl) =
        parse("lkc-host -q kubectl --cluster b -o yaml --output=json -v 6 -- x")
    else {
        panic!("not kubectl");
    };
    assert_eq!(kubectl.cluster.unwrap().as_str(), "b");
    assert_eq!(
        kubectl.args,
        ["-o", "yaml", "--output=json", "-v", "6", "--", "x"]
    );
}

#[test]
fn wait_for_nothing_is_no_goal() {
    let Command::Up(up) = parse("lkc-host up --wait none --forward 1 --forward 2:3") else {
        panic!("not up");
    };
    assert_eq!(up.wait, Some(WaitFor::Nothing));
    assert_eq!(up.forward.len(), 2);
    assert_eq!(up.timeout, None);
}

#[test]
fn clusters_and_forwards_are_told_apart() {
    let Command::Forward(forward) = parse("lkc-host forward k3s-capi 5432 1:2") else {
        panic!("not forward");
    };
    assert!(matches!(forward.items[0], ClusterOrForward::Cluster(_)));
    assert!(matches!(
        forward.items[1..],
        [ClusterOrForward::Forward(_), ClusterOrForward::Forward(_)]
    ));
}
