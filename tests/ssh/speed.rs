//! How fast the carrier is beside OpenSSH's own client, over the same server in the same run.
//!
//! With `LKC_SSH_MEBIBYTES=256` and `--release` on a quiet machine it is a measurement; otherwise it
//! shows that both ways carry everything.

use std::{process::Stdio, time::Instant};

use tokio::{net::UnixStream, process::Command};

use super::*;

/// Bytes of one measurement each way, unless the environment says how many.
const BYTES: u64 = 4 << 20;

/// The least part of the ssh program's speed that an optimised carrier has.
const LEAST: f64 = 0.5;

fn bytes() -> u64 {
    let said = std::env::var("LKC_SSH_MEBIBYTES").ok();
    said.map_or(BYTES, |mebibytes| mebibytes.parse::<u64>().unwrap() << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_the_ssh_program() {
    let Some(simple) = simple("") else { return };
    let (socket, serving) = measuring_socket(&simple.world.path("m.sock"));
    let forwarded = simple.world.path("forwarded.sock");
    let mut ssh = Command::new("ssh")
        .args(["-N", "-o", "ExitOnForwardFailure=yes", "-F"])
        .arg(simple.options.config.as_ref().unwrap())
        .arg("-L")
        .arg(format!("{}:{}", forwarded.display(), socket.display()))
        .arg("dev")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    lkc_tests::eventually("ssh forwards", LIMIT, || forwarded.exists().then_some(()));
    for round in 1..=3 {
        let theirs = measure(UnixStream::connect(&forwarded).await.unwrap()).await;
        let destination = Destination::Unix(socket.clone());
        let ours = measure(connect("dev", &simple.options, &destination).await.unwrap()).await;
        let raw = measure(UnixStream::connect(&socket).await.unwrap()).await;
        let ratios = (ours.0 / theirs.0, ours.1 / theirs.1);
        println!(
            "round {round}, MiB/s down and up: ours {ours:?}, ssh -L {theirs:?}, raw {raw:?}; \
             ours to ssh -L {:.2} down, {:.2} up",
            ratios.0, ratios.1
        );
        if !cfg!(debug_assertions) && bytes() > BYTES {
            assert!(ratios.0 > LEAST && ratios.1 > LEAST, "{ratios:?}");
        }
    }
    ssh.kill().await.unwrap();
    serving.abort();
}

/// Down, then up, in MiB/s.
async fn measure(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) -> (f64, f64) {
    let mebibytes = bytes() as f64 / f64::from(1 << 20);
    let mut buffer = vec![0; 64 * 1024];
    stream.write_all(b"d").await.unwrap();
    let since = Instant::now();
    let mut left = bytes();
    while left > 0 {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "it ended {left} bytes too early");
        left -= count as u64;
    }
    let down = mebibytes / since.elapsed().as_secs_f64();
    stream.write_all(b"u").await.unwrap();
    let since = Instant::now();
    for _ in 0..bytes() / buffer.len() as u64 {
        stream.write_all(&buffer).await.unwrap();
    }
    stream.read_u8().await.unwrap();
    let up = mebibytes / since.elapsed().as_secs_f64();
    (down.round(), up.round())
}

/// A socket that sends after `d`, and after `u` takes and says when it has everything.
fn measuring_socket(path: &Path) -> (PathBuf, JoinHandle<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(order) = stream.read_u8().await {
                    let mut left = bytes();
                    if order == b'd' {
                        while left > 0 && stream.write_all(&buffer).await.is_ok() {
                            left -= buffer.len() as u64;
                        }
                        continue;
                    }
                    while left > 0 {
                        match stream.read(&mut buffer).await {
                            Ok(count @ 1..) => left -= count as u64,
                            _ => return,
                        }
                    }
                    let _ = stream.write_u8(0).await;
                }
            });
        }
    });
    (path.to_owned(), serving)
}
