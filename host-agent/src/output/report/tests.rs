use super::*;

fn conflict() -> CommandError {
    let mut error = CommandError::new(
        Kind::Conflict,
        "port 6443 of 127.0.0.1 is taken by nginx\u{1b}[2J (pid 812)",
    )
    .context("the forward `api` cannot listen")
    .context("cannot bring k3s-dev up")
    .hint("move the cluster with `lkc-host up --index 1`")
    .hint("stop the other program");
    error.tail = vec!["first line".into(), "second \u{202e}line".into()];
    error
}

#[test]
fn an_error_says_what_why_and_what_to_do() {
    insta::assert_snapshot!(text(&conflict(), Paint::PLAIN), @r"
    error: cannot bring k3s-dev up
      because the forward `api` cannot listen
      because port 6443 of 127.0.0.1 is taken by nginx\u{1b}[2J (pid 812)

        first line
        second \u{202e}line

    hint: move the cluster with `lkc-host up --index 1`
    hint: stop the other program
    ");
}

#[test]
fn a_bare_error_is_one_line() {
    let error = CommandError::new(Kind::NotFound, "there is no cluster named k3s-x");
    insta::assert_snapshot!(text(&error, Paint::PLAIN), @"error: there is no cluster named k3s-x");
}

#[test]
fn programs_read_the_same() {
    let error = conflict();
    let document = ErrorDocument {
        error: ErrorObject::new(&error),
    };
    insta::assert_snapshot!(crate::output::json::line(&document).unwrap(), @r#"{"error":{"code":7,"kind":"conflict","message":"cannot bring k3s-dev up: the forward `api` cannot listen: port 6443 of 127.0.0.1 is taken by nginx\u001b[2J (pid 812)","hints":["move the cluster with `lkc-host up --index 1`","stop the other program"],"tail":["first line","second \u202eline"]}}"#);
}
