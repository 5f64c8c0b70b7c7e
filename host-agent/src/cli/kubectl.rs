//! Keeps kubectl's arguments out of the parser: `kubectl -o yaml` is not our `--output`.

use std::ffi::{OsStr, OsString};

/// Options of ours in front of the command that take a value in the next argument.
const WITH_VALUE: &[&str] = &["--config", "--output", "-o"];

/// Puts `--` between our arguments and kubectl's, so that the parser passes the latter on untouched.
/// Ours are those before `kubectl`, a `--cluster NAME` right behind it, and a lone `--help`.
#[must_use]
pub fn shield(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(command) = position_of_command(&args).filter(|&at| args[at] == "kubectl") else {
        return args;
    };
    let mut split = command + 1;
    match args.get(split).and_then(|arg| arg.to_str()) {
        Some("--cluster") => split = (split + 2).min(args.len()),
        Some(arg) if arg.starts_with("--cluster=") => split += 1,
        _ => {}
    }
    let rest: Vec<&OsStr> = args[split..].iter().map(OsString::as_os_str).collect();
    let ours = match rest.as_slice() {
        [] => true,
        [first, ..] if *first == "--" => true,
        [only] => *only == "--help" || *only == "-h",
        _ => false,
    };
    if !ours {
        args.insert(split, "--".into());
    }
    args
}

fn position_of_command(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy();
        if WITH_VALUE.contains(&text.as_ref()) {
            at += 2;
        } else if text.starts_with('-') {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, shielded: &str) {
        let args = line.split_whitespace().map(OsString::from).collect();
        let result: Vec<_> = shield(args)
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        assert_eq!(result.join(" "), shielded);
    }

    #[test]
    fn arguments_of_kubectl_are_set_apart() {
        check(
            "lkc-host kubectl -o yaml get pods",
            "lkc-host kubectl -- -o yaml get pods",
        );
        check(
            "lkc-host kubectl get -v=6 --cluster x",
            "lkc-host kubectl -- get -v=6 --cluster x",
        );
        check(
            "lkc-host -q -o json kubectl --cluster a -n b get",
            "lkc-host -q -o json kubectl --cluster a -- -n b get",
        );
        check(
            "lkc-host kubectl --cluster=a get --help",
            "lkc-host kubectl --cluster=a -- get --help",
        );
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in [
            "lkc-host",
            "lkc-host up kubectl",
            "lkc-host kubectl",
            "lkc-host kubectl --help",
            "lkc-host kubectl -- get",
            "lkc-host --config kubectl up",
        ] {
            check(line, line);
        }
    }
}
