//! A steward that rests: nobody misses it, and it is there whenever root is needed.

use std::time::Instant;

use futures::FutureExt as _;
use lkc_protocol::{
    link::Stream,
    message::{Change, NetworkPhase, Rung, RungState, Snapshot, Watch},
};

use crate::{
    host::Host, k3s::configuration, machine::Machine, network::block_on, trial, wire::single,
};

const IS_ACTIVE: &str = "systemctl is-active lkc-steward";

/// A machine whose k3s runs and whose steward rests, and what its host is told from then on.
async fn resting(machine: &Machine) -> (Host, Stream) {
    let host = Host::local(machine).await;
    host.ask(&configuration("10.77.0.10", &[])).await.unwrap();
    host.until(Rung::Node, |rung| rung.state == RungState::Ready)
        .await;
    machine.until_run(IS_ACTIVE, "inactive");
    let mut told = host.begin(&Watch {}).await;
    let now = told.receive::<Snapshot>().await.unwrap().unwrap();
    for rung in [Rung::Network, Rung::K3s, Rung::Api, Rung::Node] {
        let status = now.rungs.iter().find(|status| status.rung == rung);
        let state = status.map(|status| status.state);
        assert_eq!(state, Some(RungState::Ready), "{rung}");
    }
    (host, told)
}

/// The rungs that have not stayed ready.
fn trembled(told: &mut Stream) -> Vec<Rung> {
    let mut trembled = Vec::new();
    while let Some(change) = told.receive::<Change>().now_or_never() {
        let rungs = change.unwrap().unwrap().rungs;
        let shaken = rungs.iter().filter(|rung| rung.state != RungState::Ready);
        trembled.extend(shaken.map(|rung| rung.rung));
    }
    trembled
}

#[test]
fn what_a_host_asks_wakes_it_and_shakes_nothing() {
    let Some(mut machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        trial::keep(&machine, trial::dual_wanted(1)).await;
        // Not confirmed: the next steward of this boot leaves it as it is.
        let host = Host::local(&machine).await;
        host.ask(&single()).await.unwrap();
        host.close().await;
        let (host, mut told) = resting(&machine).await;
        let addresses = "ip -brief addr show scope global";
        let before = machine.run(addresses);

        let asked = Instant::now();
        let status = host.status().await;
        let woken = asked.elapsed();
        host.status().await;
        let awake = asked.elapsed() - woken;
        trial::tell(&format!(
            "how the network stands, of a steward that rests: {} ms; awake: {} ms",
            woken.as_millis(),
            awake.as_millis()
        ));
        assert_eq!(status.phase, NetworkPhase::Committed);
        assert_eq!(machine.run(IS_ACTIVE).trim(), "active");
        assert!(!host.ask(&single()).await.unwrap().changed);
        machine.until_run(IS_ACTIVE, "inactive");
        assert_eq!(trembled(&mut told), [], "{}", machine.story());
        assert_eq!(machine.run(addresses), before);

        // An agent that comes anew hears how the network stands.
        host.close().await;
        machine.run("systemctl restart lkc-guest");
        let host = Host::local(&machine).await;
        for rung in [Rung::Network, Rung::Node] {
            host.until(rung, |rung| rung.state == RungState::Ready)
                .await;
        }
        assert_eq!(machine.run(addresses), before);
        host.close().await;
        machine.reboot();
        machine.until_run("ip -brief addr", "192.100.0.10/24");
    });
}

#[test]
fn what_happens_to_k3s_wakes_it() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        host.ask(&single()).await.unwrap();
        host.close().await;
        let (host, mut told) = resting(&machine).await;
        machine.run("touch /etc/rancher/k3s/k3s.yaml");
        machine.until_run(
            "journalctl -u lkc-steward | grep -c 'lkc-steward runs'",
            "2",
        );
        machine.until_run(IS_ACTIVE, "inactive");
        assert_eq!(trembled(&mut told), [], "{}", machine.story());

        machine.run("systemctl kill --signal=KILL k3s");
        host.until(Rung::K3s, |rung| rung.state != RungState::Ready)
            .await;
        host.until(Rung::Node, |rung| rung.state == RungState::Ready)
            .await;
        host.close().await;
    });
}
