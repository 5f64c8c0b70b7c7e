//! Several carriers to one machine: one that hangs, and works again later.

use lkc_tests::{
    carriers::{End, Fault, PATIENCE, Relay, Way},
    eventually,
};

use crate::existing::Far;

const HANGS: Fault = Fault::Hold(Way::There, 0);

/// A way to the agent that the test can stop, and the carrier that leads over it.
fn relay(far: &Far, name: &str) -> (Relay, String) {
    let near = far.env.work().join(name);
    let relay = Relay::unix(&near, End::Unix(far.env.work().join("agent.sock")));
    (relay, format!("unix:{}", near.display()))
}

/// Waits for a link over `carrier` that came after the `links`th one.
fn linked(far: &Far, carrier: &str, relay: &Relay, links: u64) {
    eventually("there is a link over it", PATIENCE, || {
        let status = far.env.status("k3s-far");
        let link = &status["link"];
        let stands = link["state"] == "up" && link["carrier"] == carrier;
        (stands && relay.accepted() > links).then_some(())
    });
}

#[test]
fn one_that_hangs_loses_its_turn_and_gets_it_back() {
    let far = Far::new();
    let (first, first_carrier) = relay(&far, "first.sock");
    let (second, second_carrier) = relay(&far, "second.sock");
    first.set(HANGS);
    far.configure(&far.key, &[&first_carrier, &second_carrier]);
    far.env
        .run(&["up", "k3s-far", "--wait", "agent", "--timeout", "40s"])
        .succeeds();
    linked(&far, &second_carrier, &second, 0);
    assert_eq!(first.accepted(), 1, "it had its turn");
    // It is not waited for again, nor dialled, while the other one is there at once.
    for links in 1..=3 {
        second.cut();
        linked(&far, &second_carrier, &second, links);
    }
    assert_eq!(first.accepted(), 1, "it has lost its turn");
    // Now it works and the other one hangs.
    first.set(Fault::None);
    second.set(HANGS);
    second.cut();
    linked(&far, &first_carrier, &first, 1);
    far.env.run(&["delete", "k3s-far", "--yes"]).succeeds();
}
