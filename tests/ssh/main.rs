//! The SSH carrier against servers of OpenSSH that the tests start themselves.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use lkc_host::carrier::ssh::{self, Destination, Options, SshError, SshStream, keyring};
use lkc_tests::{
    skipped,
    sshd::{SshWorld, Sshd},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinHandle,
    time::timeout,
};

mod channels;
mod ends;
mod hops;
mod host_keys;
mod logins;
mod speed;

/// Longest time that anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A folder for keys and servers; says so where there is no OpenSSH.
fn world() -> Option<SshWorld> {
    SshWorld::new().inspect_err(|missing| skipped(missing)).ok()
}

/// A server that one key opens, and a client configuration that leads to it as `dev`.
struct Simple {
    world: SshWorld,
    sshd: Sshd,
    options: Options,
}

/// `settings` are the server's.
fn simple(settings: &str) -> Option<Simple> {
    let world = world()?;
    let key = world.plain_key("id");
    let sshd = world.sshd("dev", &[&key], settings);
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let options = options(&world, &block);
    Some(Simple {
        world,
        sshd,
        options,
    })
}

fn options(world: &SshWorld, hosts: &str) -> Options {
    Options {
        config: Some(world.client_configuration(hosts)),
        known_hosts: Some(world.path("own/known_hosts")),
        ..Options::default()
    }
}

async fn connect(
    target: &str,
    options: &Options,
    destination: &Destination,
) -> Result<SshStream, SshError> {
    let targets = [target.parse().unwrap()];
    timeout(LIMIT, ssh::connect(&targets, options, destination))
        .await
        .expect("connecting has a deadline of its own")
}

/// The command that gives back what it gets.
fn cat() -> Destination {
    Destination::Command("cat".to_owned())
}

/// A socket that gives back what it gets, as long as the handle lives.
fn echo_socket(path: &Path) -> (PathBuf, JoinHandle<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    (path.to_owned(), serving)
}

/// Bytes pass both ways, more than a window of them, and come back as they were.
async fn echoes(stream: &mut SshStream) {
    let sent: Vec<u8> = (0..5_000_000_u32)
        .map(|number| ((number * 31) >> 3) as u8)
        .collect();
    let mut received = vec![0; sent.len()];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let both = async {
        let (written, read) =
            tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
    };
    timeout(LIMIT, both).await.expect("bytes pass");
    assert!(received == sent, "bytes changed on their way");
}

/// An error with its reasons, as it is printed.
fn chain(error: &SshError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(&format!(": {reason}"));
        source = reason.source();
    }
    text
}

/// Why there is no connection to `dev` for `cat`.
async fn refusal(options: &Options) -> SshError {
    connect("dev", options, &cat())
        .await
        .expect_err("it connects")
}
