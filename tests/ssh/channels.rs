//! What is reached behind the login: the agent's socket, or a command that speaks for it.

use lkc_host::carrier::ssh::AGENT_SOCKET;

use super::*;

fn agent(socket: PathBuf, command: &str) -> Destination {
    Destination::Agent {
        socket,
        command: command.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_socket_is_reached_without_a_command() {
    let Some(simple) = simple("") else { return };
    let (socket, serving) = echo_socket(&simple.world.path("agent.sock"));
    let destination = agent(socket, "false");
    let mut stream = connect("dev", &simple.options, &destination).await.unwrap();
    echoes(&mut stream).await;
    drop(stream);
    simple.sshd.has_no_sessions();
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_neither_the_socket_nor_the_command_is_there_both_are_said() {
    let Some(simple) = simple("") else { return };
    let socket = simple.world.path("nobody.sock");
    let destination = agent(socket.clone(), "lkc-no-such-command stdio");
    let mut stream = connect("dev", &simple.options, &destination).await.unwrap();
    let read = timeout(LIMIT, stream.read_u8()).await.expect("it ends");
    let text = read.unwrap_err().to_string();
    let said = format!("the server does not lead to {} (", socket.display());
    assert!(text.starts_with(&said), "{text}");
    assert!(
        text.contains("the command ended with status 127: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_leads_to_no_sockets_runs_the_command() {
    let Some(simple) = simple("AllowStreamLocalForwarding no\nMaxSessions 1\n") else {
        return;
    };
    let destination = agent(AGENT_SOCKET.into(), "cat");
    echoes(&mut connect("dev", &simple.options, &destination).await.unwrap()).await;
    simple.sshd.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_is_enough() {
    let Some(simple) = simple("MaxSessions 1\n") else {
        return;
    };
    echoes(&mut connect("dev", &simple.options, &cat()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_nothing_is_named() {
    let Some(simple) = simple("MaxSessions 0\n") else {
        return;
    };
    let error = connect("dev", &simple.options, &cat()).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("does not run `cat`: "), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_of_a_login_script_comes_before_the_bytes_and_its_complaints_apart() {
    let noisy = "ForceCommand sh -c 'echo Welcome; echo nvm is old >&2; exec cat'\n";
    let Some(simple) = simple(noisy) else { return };
    let mut stream = connect("dev", &simple.options, &cat()).await.unwrap();
    let mut welcome = [0; 8];
    timeout(LIMIT, stream.read_exact(&mut welcome))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&welcome, b"Welcome\n");
    echoes(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_there_says_so_when_it_ends() {
    let Some(simple) = simple("") else { return };
    let command = Destination::Command("lkc-no-such-command stdio".to_owned());
    let mut stream = connect("dev", &simple.options, &command).await.unwrap();
    let mut sink = Vec::new();
    let error = timeout(LIMIT, stream.read_to_end(&mut sink))
        .await
        .unwrap()
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the command ended with status 127: "),
        "{text}"
    );
    assert!(text.contains("lkc-no-such-command"), "{text}");
}
