use std::path::PathBuf;

use tempfile::TempDir;
use tokio::{net::UnixListener, task::JoinHandle};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// A monitor that takes one connection, reads the question and does `then` with it.
struct Monitor {
    _dir: TempDir,
    path: PathBuf,
    question: JoinHandle<(String, UnixStream)>,
}

impl Monitor {
    fn that_says(answer: &'static [u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let question = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = String::new();
            while !question.ends_with('\n') {
                question.push(char::from(stream.read_u8().await.unwrap()));
            }
            let _ = stream.write_all(answer).await;
            (question, stream)
        });
        Self {
            _dir: dir,
            path,
            question,
        }
    }

    async fn connect(self, port: u32) -> Result<(ConnectedCarrier, UnixStream), ConnectFailure> {
        let connected = timeout(LIMIT, connect(&self.path, port)).await.unwrap()?;
        let (question, stream) = timeout(LIMIT, self.question).await.unwrap().unwrap();
        assert_eq!(question, format!("CONNECT {port}\n"));
        Ok((connected, stream))
    }

    /// The same, for a monitor that lets go of the connection once it has answered.
    async fn connect_and_leave(self) -> ConnectFailure {
        let Self {
            path,
            question,
            _dir,
        } = self;
        let leaving = async { drop(question.await.unwrap()) };
        let (connected, ()) = tokio::join!(timeout(LIMIT, connect(&path, 5000)), leaving);
        connected.unwrap().unwrap_err()
    }
}

#[tokio::test]
async fn what_follows_the_answer_is_the_guests() {
    for answer in [
        &b"OK 1073741824\nhello"[..],
        b"OK\nhello",
        b"OK 5000\r\nhello",
    ] {
        let monitor = Monitor::that_says(answer);
        let (mut connected, mut far) = monitor.connect(5000).await.unwrap();
        assert!(matches!(
            connected.locality,
            lkc_protocol::link::Locality::Local
        ));
        let mut greeting = [0; 5];
        connected.stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"hello");
        connected.stream.write_all(b"there").await.unwrap();
        far.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"there");
    }
}

#[tokio::test]
async fn an_end_without_an_answer_is_a_guest_that_does_not_listen_yet() {
    let failure = Monitor::that_says(b"").connect_and_leave().await;
    assert!(failure.is_absent(), "{failure:?}");
    assert_eq!(
        failure.to_string(),
        "nobody listens on that port in the guest"
    );
}

#[tokio::test]
async fn every_other_answer_is_refused_and_shown() {
    for (answer, shown) in [
        (&b"ERR no such port\n"[..], "ERR no such port"),
        (b"OKAY\n", "OKAY"),
        (b"OK 12a\n", "OK 12a"),
        (b"OK \n", "OK"),
        (b"\x1b[31mOK\n", "\\u{1b}[31mOK"),
        (
            b"HTTP/1.1 400 Bad Request, and much more than a line that is an answer\n",
            "HTTP/1.1 400 Bad Request, and mu",
        ),
    ] {
        let monitor = Monitor::that_says(answer);
        let failure = monitor.connect(5000).await.unwrap_err();
        assert!(!failure.is_absent());
        assert_eq!(
            failure.to_string(),
            format!("the virtual machine monitor answered `{shown}` and not OK")
        );
    }
    let failure = Monitor::that_says(b"OK 50").connect_and_leave().await;
    assert!(
        matches!(&failure, ConnectFailure::Answer(said) if said == "OK 50"),
        "an answer cut short: {failure:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_never_answers_is_given_up_on() {
    let monitor = Monitor::that_says(b"");
    let path = monitor.path.clone();
    let failure = connect(&path, 5000).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "the virtual machine monitor said nothing within 8 s"
    );
}

#[tokio::test]
async fn a_monitor_that_is_not_there_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let failure = connect(&dir.path().join("vm.vsock"), 5000)
        .await
        .unwrap_err();
    assert!(failure.is_absent());
}
