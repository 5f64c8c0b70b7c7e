//! Hosts in front of hosts.

use super::*;

/// Two servers, each with a key of its own; `dev` is reached through `jump`.
fn chain_of_two(jump_settings: &str, more: &str) -> Option<(SshWorld, Sshd, Sshd, Options)> {
    let world = world()?;
    let (outer, inner) = (world.plain_key("outer"), world.plain_key("inner"));
    let jump = world.sshd("jump", &[&outer], jump_settings);
    let dev = world.sshd("dev", &[&inner], "");
    world.write("known_hosts", &(jump.known_hosts() + &dev.known_hosts()));
    let hosts = [
        jump.host_block("jump", &format!("IdentityFile {}", outer.display())),
        dev.host_block(
            "dev",
            &format!("IdentityFile {}\n  {more}", inner.display()),
        ),
    ];
    let options = options(&world, &hosts.concat());
    Some((world, jump, dev, options))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_host_leads_on_and_both_are_logged_in_to() {
    let Some((_world, jump, dev, options)) = chain_of_two("", "ProxyJump jump") else {
        return;
    };
    let mut stream = connect("dev", &options, &cat()).await.unwrap();
    echoes(&mut stream).await;
    assert!(jump.log().contains("Accepted publickey"), "{}", jump.log());
    assert!(dev.log().contains("Accepted publickey"), "{}", dev.log());
    drop(stream);
    dev.has_no_sessions();
    jump.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_every_hop_is_checked() {
    let Some((world, jump, dev, options)) = chain_of_two("", "ProxyJump jump") else {
        return;
    };
    for (known, stranger) in [(&jump, &dev), (&dev, &jump)] {
        world.write("known_hosts", &known.known_hosts());
        let error = refusal(&options).await;
        let text = chain(&error);
        assert!(
            text.contains(&format!("127.0.0.1:{} is not trusted", stranger.port)),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_host_that_may_not_lead_on_is_named() {
    let Some((_world, jump, dev, options)) =
        chain_of_two("AllowTcpForwarding no\n", "ProxyJump jump")
    else {
        return;
    };
    let error = refusal(&options).await;
    let text = chain(&error);
    assert!(
        text.contains(&format!(
            "127.0.0.1:{} does not lead on to 127.0.0.1:{}",
            jump.port, dev.port
        )),
        "{text}"
    );
    assert!(
        error.hints()[0].contains("AllowTcpForwarding yes"),
        "{:?}",
        error.hints()
    );
    jump.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_there_is_told_apart_from_a_jump_that_forbids() {
    let Some((_world, _jump, dev, options)) = chain_of_two("", "ProxyJump jump") else {
        return;
    };
    drop(dev);
    let error = refusal(&options).await;
    assert!(
        matches!(
            error,
            SshError::NoWay {
                forbidden: false,
                ..
            }
        ),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_command_carries_the_connection() {
    let Some(world) = world() else { return };
    let key = world.plain_key("id");
    let sshd = world.sshd("dev", &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    // A server on the command's own input and output: no network at all.
    let program = lkc_tests::sshd::sshd_program().unwrap();
    let proxy = format!(
        "IdentityFile {}\n  ProxyCommand {} -i -f {}",
        key.display(),
        program.display(),
        sshd.configuration.display()
    );
    let options = options(&world, &sshd.host_block("dev", &proxy));
    let mut stream = connect("dev", &options, &cat()).await.unwrap();
    echoes(&mut stream).await;
    assert!(!sshd.log().contains("Connection from"), "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_command_that_ends_says_why() {
    let Some(world) = world() else { return };
    let block = "Host dev\n  ProxyCommand sh -c 'echo no such tunnel >&2; exit 3'\n";
    let error = refusal(&options(&world, block)).await;
    assert!(
        chain(&error).contains("no such tunnel"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_and_sockets_behind_a_host_are_reached() {
    let Some(simple) = simple("") else { return };
    let (socket, serving) = echo_socket(&simple.world.path("echo.sock"));
    let to_socket = Destination::Unix(socket);
    echoes(&mut connect("dev", &simple.options, &to_socket).await.unwrap()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echoing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let to_port = Destination::Tcp("127.0.0.1".to_owned(), port);
    echoes(&mut connect("dev", &simple.options, &to_port).await.unwrap()).await;
    timeout(LIMIT, echoing).await.unwrap().unwrap();
    serving.abort();
}
