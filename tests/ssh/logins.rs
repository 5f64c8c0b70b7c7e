//! Who is let in, and what is said when nobody is.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_log_in() {
    let Some(world) = world() else { return };
    let keys = [
        world.plain_key("ed25519"),
        world.key("ecdsa", &["-t", "ecdsa", "-N", ""]),
        world.key("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
        world.key("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]),
    ];
    let all: Vec<_> = keys.iter().map(PathBuf::as_path).collect();
    let sshd = world.sshd("dev", &all, "");
    world.write("known_hosts", &sshd.known_hosts());
    for key in keys {
        let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
        let mut stream = connect("dev", &options(&world, &block), &cat())
            .await
            .unwrap_or_else(|error| panic!("{}: {}", key.display(), chain(&error)));
        echoes(&mut stream).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_logs_in_with_ed25519_and_rsa() {
    let Some(world) = world() else { return };
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
    ] {
        let key = world.key(name, arguments);
        let agent = world.agent(&format!("{name}.sock"));
        agent.add(&key);
        std::fs::remove_file(&key).unwrap();
        let sshd = world.sshd(&format!("dev-{name}"), &[&key], "");
        world.write("known_hosts", &sshd.known_hosts());
        let block = sshd.host_block("dev", &format!("IdentityAgent {}", agent.socket.display()));
        let connected = connect("dev", &options(&world, &block), &cat()).await;
        echoes(&mut connected.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_offers_named_keys_first_and_only_them_on_request() {
    let Some(world) = world() else { return };
    let agent = world.agent("agent.sock");
    // More than a server has patience for.
    for number in 0..8 {
        agent.add(&world.plain_key(&format!("other{number}")));
    }
    let key = world.plain_key("wanted");
    agent.add(&key);
    let sshd = world.sshd("dev", &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = |more: &str| {
        let agent = format!("IdentityAgent {}\n  {more}", agent.socket.display());
        options(&world, &sshd.host_block("dev", &agent))
    };
    let hung_up = refusal(&block("")).await;
    assert!(
        chain(&hung_up).contains("hung up after"),
        "{}",
        chain(&hung_up)
    );
    assert!(
        hung_up.hints()[0].contains("IdentitiesOnly yes"),
        "{:?}",
        hung_up.hints()
    );
    let named = format!("IdentityFile {}.pub\n  IdentitiesOnly yes", key.display());
    connect("dev", &block(&named), &cat()).await.unwrap();
    let first = format!("IdentityFile {}.pub", key.display());
    connect("dev", &block(&first), &cat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_under_a_passphrase_says_how_to_hand_it_to_an_agent() {
    let Some(world) = world() else { return };
    let key = world.key("locked", &["-t", "ed25519", "-N", "secret"]);
    let sshd = world.sshd("dev", &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let error = refusal(&options(&world, &block)).await;
    assert!(
        chain(&error).ends_with(&format!(
            "cannot log in to {}@127.0.0.1:{}: the server takes the key {}, which is under a \
             passphrase, and no agent has it",
            user(),
            sshd.port,
            key.display()
        )),
        "{}",
        chain(&error)
    );
    let hints = error.hints();
    assert_eq!(hints[0], format!("run `ssh-add {}`", key.display()));
    assert!(hints[1].starts_with("without an agent, "), "{hints:?}");
    assert_eq!(error.kind(), lkc_host::error::Kind::Authentication);
    assert!(keyring().wanted().contains(&key), "{:?}", keyring());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_opened_logs_in_until_it_is_another() {
    let Some(world) = world() else { return };
    for (name, arguments) in [
        ("openssh", &["-t", "ed25519", "-N", "my secret"][..]),
        ("rsa", &["-t", "rsa", "-b", "2048", "-N", "my secret"]),
        (
            "pkcs8",
            &["-t", "ecdsa", "-b", "384", "-m", "PKCS8", "-N", "my secret"],
        ),
    ] {
        let key = world.key(name, arguments);
        let sshd = world.sshd(&format!("dev-{name}"), &[&key], "");
        world.write("known_hosts", &sshd.known_hosts());
        let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
        let options = options(&world, &block);
        refusal(&options).await;
        assert!(keyring().wanted().contains(&key), "{name}");
        let wrong = keyring().unlock(&key, "my").unwrap_err();
        assert!(
            wrong
                .to_string()
                .ends_with("does not open with that passphrase")
        );
        keyring().unlock(&key, "my secret").unwrap();
        assert!(!keyring().wanted().contains(&key), "{name}");
        let connected = connect("dev", &options, &cat()).await;
        echoes(&mut connected.unwrap_or_else(|error| panic!("{name}: {}", chain(&error)))).await;

        std::fs::remove_file(&key).unwrap();
        std::fs::remove_file(key.with_extension("pub")).unwrap();
        let _ = world.key(name, &["-t", "ed25519", "-N", "another"]);
        refusal(&options).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_told_what_was_tried() {
    let Some(world) = world() else { return };
    let (known, stranger) = (world.plain_key("known"), world.plain_key("stranger"));
    let sshd = world.sshd("dev", &[&known], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", stranger.display()));
    let error = refusal(&options(&world, &block)).await;
    assert!(
        chain(&error).ends_with(&format!(
            "the server takes none of our keys: {}",
            stranger.display()
        )),
        "{}",
        chain(&error)
    );
    let no_key = refusal(&options(&world, &sshd.host_block("dev", ""))).await;
    assert!(
        chain(&no_key).ends_with("there is no key to log in with: no agent"),
        "{}",
        chain(&no_key)
    );
    let gone = format!("IdentityAgent {}", world.path("no.sock").display());
    let no_agent = refusal(&options(&world, &sshd.host_block("dev", &gone))).await;
    assert!(
        chain(&no_agent).contains("no.sock does not answer"),
        "{}",
        chain(&no_agent)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_keys_is_told_apart() {
    let Some(simple) = simple("PubkeyAuthentication no\nPasswordAuthentication yes\n") else {
        return;
    };
    let error = refusal(&simple.options).await;
    assert!(
        chain(&error).ends_with("the server wants password, and lkc logs in by key"),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banner_is_shown_and_disturbs_nothing() {
    let Some(world) = world() else { return };
    let banner = world.write("banner", "Authorised \u{1b}[31musers\nonly\n");
    let key = world.plain_key("id");
    let sshd = world.sshd("dev", &[&key], &format!("Banner {}\n", banner.display()));
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let mut stream = connect("dev", &options(&world, &block), &cat())
        .await
        .unwrap();
    let [banner] = stream.banners() else {
        panic!("not one banner: {:?}", stream.banners());
    };
    assert!(
        banner.starts_with("Authorised ") && banner.ends_with("users only"),
        "{banner}"
    );
    assert!(!banner.contains('\u{1b}'), "{banner:?}");
    echoes(&mut stream).await;
}

/// Who runs the test.
fn user() -> String {
    let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap();
    account.unwrap().name
}
