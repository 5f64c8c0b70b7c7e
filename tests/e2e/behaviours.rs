//! What both ends of a forwarded connection see, beside what they see of a direct one.

use std::{net::SocketAddr, time::Duration};

use insta::{allow_duplicates, assert_snapshot};
use lkc_tests::{
    TestEnv, User,
    behaviours::{self, Behaviour, Difference, play},
    eventually,
};
use tokio::net::TcpListener;

use crate::{PROGRAMS, can_be, env_with_cluster};

/// How long an end waits for the other one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the server of a behaviour is, and how its clients come to it.
struct Way {
    listener: TcpListener,
    entry: SocketAddr,
    /// Leads to a port where nobody listens.
    nowhere: SocketAddr,
}

impl Way {
    async fn play(&self, behaviour: &Behaviour) -> behaviours::Record {
        let entry = if behaviour.is_refused() {
            self.nowhere
        } else {
            self.entry
        };
        play(behaviour, entry, &self.listener, PATIENCE).await
    }

    async fn direct() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            entry: listener.local_addr().unwrap(),
            nowhere: nobody.local_addr().unwrap(),
            listener,
        }
    }

    fn forwarded(env: &TestEnv) -> Self {
        let listener = env.listen_in("k3s-dev", "127.0.0.1:7000");
        listener.set_nonblocking(true).unwrap();
        let (port, nowhere) = (env.spare_port(0), env.spare_port(1));
        env.run(&[
            "forward",
            &format!("played={port}:7000"),
            &format!("nowhere={nowhere}:7001"),
        ])
        .succeeds();
        Self {
            listener: TcpListener::from_std(listener).unwrap(),
            entry: SocketAddr::from(([127, 0, 0, 1], port)),
            nowhere: SocketAddr::from(([127, 0, 0, 1], nowhere)),
        }
    }
}

/// As users have it: the guest hands its connected sockets over.
#[tokio::test]
async fn through_a_forward_both_ends_see_what_they_see_of_a_direct_connection() {
    if !can_be(User::Nobody) {
        return;
    }
    compare(&env_with_cluster(&[])).await;
}

/// Where every byte is on the link.
#[tokio::test]
async fn so_they_do_where_connections_are_streams_of_an_encrypted_link() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    env.configure(&env.cluster("k3s-dev", 0, &[], "encrypt = \"always\""));
    env.run(&["up"]).succeeds();
    compare(&env).await;
}

async fn compare(env: &TestEnv) {
    let (direct, forwarded) = (Way::direct().await, Way::forwarded(env));
    let (mut table, mut told, mut unavoidable) = (Vec::new(), Vec::new(), Vec::new());
    for behaviour in behaviours::all() {
        let name = behaviour.name();
        let (expected, seen) = (
            direct.play(&behaviour).await,
            forwarded.play(&behaviour).await,
        );
        match seen.differs_from(&expected) {
            Difference::None => {}
            Difference::Unavoidable => unavoidable.push(format!("{name}: {seen}")),
            Difference::Told => told.push(format!(
                "{name}\n     directly: {expected}\n  forwarded: {seen}"
            )),
        }
        if !name.starts_with("64 KiB") {
            table.push(format!("{name}: {expected}"));
        }
    }
    assert!(told.is_empty(), "both ends can tell:\n{}", told.join("\n"));
    // The same by either way.
    allow_duplicates! {
    assert_snapshot!(unavoidable.join("\n"), @"
    nobody listens: client: read nothing, then reset; server: –
    nobody listens, and the client has ended: client: read nothing, then reset; server: –
    ");
    assert_snapshot!(table.join("\n"), @"
    the client ends first and is answered: client: read 300 (4d4f), then end; server: read 300 (c6e7), then end
    the server ends first and is answered: client: read 300 (4d4f), then end; server: read 300 (c6e7), then end
    the client ends first, its data under way, and is sent much: client: read 49152 (0ce6), then end; server: read 49152 (9ae9), then end
    the server ends first, its data under way, and is sent much: client: read 49152 (0ce6), then end; server: read 49152 (9ae9), then end
    the client ends and goes on reading what came before: client: read 300 (4d4f), then more, read 49452 (8b29), then end; server: read nothing, then end
    the server ends and goes on reading what came before: client: read nothing, then end; server: read 300 (c6e7), then more, read 49452 (cc97), then end
    the client closes at once: client: –; server: read nothing, then end
    the server closes at once: client: read nothing, then end; server: –
    the client ends with no byte sent: client: read nothing, then end; server: read nothing, then end
    the server ends with no byte sent: client: read nothing, then end; server: read nothing, then end
    the client sends and closes: client: –; server: read 49152 (9ae9), then end
    the server sends and closes: client: read 49152 (0ce6), then end; server: –
    the client closes and is written to: client: –; server: read nothing, then end, pending failure: broken pipe, read nothing, then end, write failed: broken pipe
    the server closes and is written to: client: read nothing, then end, pending failure: broken pipe, read nothing, then end, write failed: broken pipe; server: –
    the client closes after both ended: client: read nothing, then end; server: read nothing, then end
    the server closes after both ended: client: read nothing, then end; server: read nothing, then end
    the client sends much to a slow reader and closes: client: –; server: read 16777216 (3dca), then end
    the server sends much to a slow reader and closes: client: read 16777216 (d5f2), then end; server: –
    the client sends much to a slow reader, ends, and is answered: client: read 300 (4d4f), then end; server: read 16777216 (3dca), then more, read nothing, then end
    the server sends much to a slow reader, ends, and is answered: client: read 16777216 (d5f2), then more, read nothing, then end; server: read 300 (c6e7), then end
    the client resets at once: client: –; server: read nothing, then reset
    the server resets at once: client: read nothing, then reset; server: –
    the client sends and resets at once: client: –; server: read 300 (c6e7), then reset
    the server sends and resets at once: client: read 300 (4d4f), then reset; server: –
    the client sends, ends and resets at once: client: –; server: read 300 (c6e7), then end
    the server sends, ends and resets at once: client: read 300 (4d4f), then end; server: –
    the client resets an idle connection: client: –; server: read 300 (c6e7), then more, pending failure: reset, read nothing, then end
    the server resets an idle connection: client: read 300 (4d4f), then more, pending failure: reset, read nothing, then end; server: –
    the client resets after a read: client: read 300 (4d4f), then more; server: read nothing, then reset, write failed: broken pipe
    the server resets after a read: client: read nothing, then reset, write failed: broken pipe; server: read 300 (c6e7), then more
    the client resets with unread data, by closing: client: –; server: read nothing, then reset, write failed: broken pipe
    the server resets with unread data, by closing: client: read nothing, then reset, write failed: broken pipe; server: –
    the client resets after its answer was read: client: read 300 (4d4f), then more; server: read 300 (c6e7), then more, read nothing, then reset
    the server resets after its answer was read: client: read 300 (4d4f), then more, read nothing, then reset; server: read 300 (c6e7), then more
    the client resets while it is written to: client: –; server: write failed: reset, write failed: broken pipe, read nothing, then end
    the server resets while it is written to: client: write failed: reset, write failed: broken pipe, read nothing, then end; server: –
    the client closes with unread data while it is written to: client: –; server: write failed: reset, write failed: broken pipe, read nothing, then end
    the server closes with unread data while it is written to: client: write failed: reset, write failed: broken pipe, read nothing, then end; server: –
    the client resets in answer to an end: client: read 300 (4d4f), then end; server: read nothing, then reset
    the server resets in answer to an end: client: read nothing, then reset; server: read 300 (c6e7), then end
    the client resets in the middle of what it reads: client: read 49152 (0ce6), then more; server: write failed: reset, read nothing, then end
    the server resets in the middle of what it reads: client: write failed: reset, read nothing, then end; server: read 49152 (9ae9), then more
    the client resets, which the first write shows: client: –; server: read 300 (c6e7), then more, write failed: reset, write failed: broken pipe, read nothing, then end
    the server resets, which the first write shows: client: read 300 (4d4f), then more, write failed: reset, write failed: broken pipe, read nothing, then end; server: –
    the client sends and resets before that is read: client: read 300 (4d4f), then more; server: read 49152 (9ae9), then reset
    the server sends and resets before that is read: client: read 49152 (0ce6), then reset; server: read 300 (c6e7), then more
    the client answers and closes with unread data: client: –; server: read 300 (c6e7), then reset
    the server answers and closes with unread data: client: read 300 (4d4f), then reset; server: –
    the client sends, ends and resets before that is read: client: read 300 (4d4f), then more; server: read 300 (c6e7), then end, pending failure: broken pipe
    the server sends, ends and resets before that is read: client: read 300 (4d4f), then end, pending failure: broken pipe; server: read 300 (c6e7), then more
    the client resets when nothing it writes is read any more: client: read 300 (4d4f), then more; server: pending failure: reset
    the server resets when nothing it writes is read any more: client: pending failure: reset; server: read 300 (c6e7), then more
    the client closes with unread data when nothing it writes is read any more: client: –; server: pending failure: reset
    the server closes with unread data when nothing it writes is read any more: client: pending failure: reset; server: –
    the client ends, and resets once that is read: client: –; server: read nothing, then end, pending failure: broken pipe, write failed: broken pipe, read nothing, then end
    the server ends, and resets once that is read: client: read nothing, then end, pending failure: broken pipe, write failed: broken pipe, read nothing, then end; server: –
    the client ends, reads some, and resets: client: read 300 (4d4f), then more; server: read nothing, then end, write failed: broken pipe, write failed: broken pipe
    the server ends, reads some, and resets: client: read nothing, then end, write failed: broken pipe, write failed: broken pipe; server: read 300 (c6e7), then more
    the client resets after the other end's end and a part of the answer: client: read 300 (4d4f), then end; server: read 300 (c6e7), then more, pending failure: reset, read nothing, then end
    the server resets after the other end's end and a part of the answer: client: read 300 (4d4f), then more, pending failure: reset, read nothing, then end; server: read 300 (c6e7), then end
    both end at once with no byte sent: client: read nothing, then end; server: read nothing, then end
    both send and end at once: client: read 49152 (0ce6), then end; server: read 49152 (9ae9), then end
    both close at once: client: –; server: –
    both reset at once: client: read 300 (4d4f), then more; server: read 300 (c6e7), then more
    much both ways at once: client: read 4194304 (2e72), then end; server: read 4194304 (8961), then end
    much up, then much down: client: read 4194304 (2e72), then end; server: read 4194304 (8961), then end
    requests and answers in turn: client: read 300 (4d4f), then more, read 49152 (6c2e), then more, read 1 (a643), then more, read nothing, then end; server: read 1 (a643), then more, read 300 (6afe), then more, read 1 (2643), then more, read nothing, then end
    writes of no byte: client: read 300 (4d4f), then end; server: read 300 (c6e7), then end
    the client resets before it is accepted: client: –; server: read nothing, then reset
    the client closes before it is accepted: client: –; server: read nothing, then end
    the client sends and closes before it is accepted: client: –; server: read 300 (c6e7), then end
    the client sends and resets before it is accepted: client: –; server: read 300 (c6e7), then reset
    nobody listens: client: connect refused; server: –
    nobody listens, and the client has ended: client: connect refused; server: –
    ");
    }
    eventually("no connection is open", PATIENCE, || {
        let forwards = env.status("k3s-dev")["forwards"].clone();
        let open = |forward: &serde_json::Value| forward["open"] != 0;
        (!forwards.as_array().unwrap().iter().any(open)).then_some(())
    });
}
