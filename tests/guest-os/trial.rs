//! Changes that are taken back unless a host confirms them.

use std::time::{Duration, Instant};

use lkc_protocol::message::{
    ApplyNetwork, ConfirmNetwork, InterfaceConfig, NetworkMeans, NetworkPhase, RollBackNetwork,
    TryNetwork,
};
use lkc_tests::within;

use crate::{
    host::{Host, proof},
    machine::{Machine, PATIENCE},
    network::block_on,
    wire::{default_by, dual, of_card, single},
};

/// How long a change may be in force after its deadline.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn wanted(number: u8, network: ApplyNetwork) -> TryNetwork {
    TryNetwork {
        id: [number; 16],
        deadline_ms: 30_000,
        probe: true,
        plan_only: false,
        network,
    }
}

pub(crate) fn dual_wanted(number: u8) -> TryNetwork {
    wanted(number, dual())
}

/// Tries a change, reaches the machine under its new address and confirms it, as a host does.
pub(crate) async fn keep(machine: &Machine, wanted: TryNetwork) {
    let host = Host::local(machine).await;
    let tried = host.ask(&wanted).await.unwrap();
    host.close().await;
    assert!(tried.pending, "{tried:?}");
    let proof = tried
        .probes
        .iter()
        .find_map(|probe| proof(machine, probe).ok());
    let host = Host::local(machine).await;
    let id = wanted.id;
    let proof = proof.unwrap();
    host.ask(&ConfirmNetwork { id, proof }).await.unwrap();
    host.close().await;
}

/// A change that never gets as far as to wait: the second card's network has no DHCP.
fn endless() -> ApplyNetwork {
    let mut network = single();
    network.interfaces.push(InterfaceConfig {
        dhcp4: true,
        ..of_card(1)
    });
    network
}

/// A machine that is kept as `single` says.
fn settled(cards: usize) -> Option<Machine> {
    let machine = Machine::boot(cards)?;
    block_on(keep(&machine, wanted(1, single())));
    assert!(machine.answers("10.77.0.10"));
    Some(machine)
}

#[track_caller]
fn is_as_before(machine: &Machine) {
    let state = machine.run("ip -4 -brief addr; ip route; hostname; ls /run/systemd/network");
    assert!(machine.answers("10.77.0.10"), "{state}");
    assert!(!state.contains("192.100.0."), "{state}");
    assert!(!state.contains("k8snet"), "{state}");
    assert!(state.contains("00-lkc-nic0.network"), "{state}");
    assert!(!state.contains("nic1"), "{state}");
    assert!(
        machine
            .run("systemctl list-units --all 'lkc-rollback-*'")
            .contains("0 loaded")
    );
}

/// Waits until the last change is over, on new links.
async fn until_over(machine: &Machine) -> (NetworkPhase, String) {
    let end = Instant::now() + PATIENCE;
    loop {
        let host = Host::local(machine).await;
        let status = host.status().await;
        host.close().await;
        let waits = [
            NetworkPhase::Applying,
            NetworkPhase::Pending,
            NetworkPhase::RollingBack,
        ];
        if !waits.contains(&status.phase) {
            return (status.phase, status.detail);
        }
        assert!(Instant::now() < end, "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_change_is_confirmed_on_a_new_link_with_the_proof_and_outlives_a_reboot() {
    let Some(mut machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let planned = host
            .ask(&TryNetwork {
                plan_only: true,
                ..dual_wanted(1)
            })
            .await
            .unwrap();
        assert!(
            planned
                .steps
                .iter()
                .any(|step| step == "rename eth1 to k8snet"),
            "{planned:?}"
        );
        assert_eq!(host.status().await.phase, NetworkPhase::Idle);

        let tried = host.ask(&dual_wanted(1)).await.unwrap();
        assert!(tried.pending, "{tried:?}");
        let timer = machine.run("systemctl list-timers --no-pager --all 'lkc-rollback-*'");
        assert!(timer.contains("lkc-rollback-01010101"), "{timer}");
        let again = host.ask(&dual_wanted(1)).await.unwrap();
        assert!(again.pending && again.left_ms <= tried.left_ms, "{again:?}");
        let busy = host.ask(&dual_wanted(2)).await.unwrap_err();
        assert!(busy.contains("is pending"), "{busy}");

        let probe = tried
            .probes
            .iter()
            .find(|probe| probe.starts_with("192.100.0.10:"));
        let proof = proof(&machine, probe.unwrap()).unwrap();
        let id = [1; 16];
        let old = host
            .ask(&ConfirmNetwork {
                id,
                proof: proof.clone(),
            })
            .await
            .unwrap_err();
        assert!(old.contains("came up after it"), "{old}");
        host.close().await;
        let host = Host::remote(&machine, "192.100.0.10").await.unwrap();
        let unproven = host
            .ask(&ConfirmNetwork {
                id,
                proof: vec![0; 16],
            })
            .await
            .unwrap_err();
        assert!(unproven.contains("has not shown"), "{unproven}");
        let unknown = host
            .ask(&ConfirmNetwork {
                id: [9; 16],
                proof: proof.clone(),
            })
            .await
            .unwrap_err();
        assert!(unknown.contains("there is no change"), "{unknown}");
        for _ in 0..2 {
            host.ask(&ConfirmNetwork {
                id,
                proof: proof.clone(),
            })
            .await
            .unwrap();
        }
        let status = host.status().await;
        assert_eq!(status.phase, NetworkPhase::Committed);
        assert_eq!(status.means, NetworkMeans::Networkd);
        host.close().await;
    });
    machine.reset();
    block_on(async {
        assert!(
            machine
                .run("ip -brief addr show k8snet")
                .contains("192.100.0.10/24")
        );
        let host = Host::remote(&machine, "192.100.0.10").await.unwrap();
        let status = host.status().await;
        assert_eq!(
            (status.phase, status.confirmed),
            (NetworkPhase::Idle, Some(dual()))
        );
        assert_eq!(machine.run("hostname").trim(), "k3s-dev");
        assert!(!host.ask(&dual()).await.unwrap().changed);
        host.close().await;
    });
}

#[test]
fn a_wrong_gateway_is_taken_back_at_once() {
    let Some(machine) = settled(1) else {
        return;
    };
    let mut network = single();
    network.interfaces[0].routes = vec![default_by("10.77.0.250")];
    block_on(async {
        let host = Host::local(&machine).await;
        let error = host.ask(&wanted(2, network)).await.unwrap_err();
        assert!(
            error.contains("gateway 10.77.0.250 does not answer on eth0"),
            "{error}"
        );
        assert!(error.contains("verified to be as before"), "{error}");
        assert_eq!(host.status().await.phase, NetworkPhase::RolledBack);
        host.close().await;
    });
    is_as_before(&machine);
    let routes = machine.run("ip route");
    assert!(routes.contains("default via 10.77.0.1 "), "{routes}");
}

#[test]
fn an_address_of_another_host_is_an_error() {
    let Some(machine) = settled(2) else {
        return;
    };
    machine.host_takes(1, "192.100.0.10/24");
    block_on(async {
        let host = Host::local(&machine).await;
        let error = host.ask(&dual_wanted(2)).await.unwrap_err();
        assert!(
            error.contains("192.100.0.10/24 on eth1 is in use by another host"),
            "{error}"
        );
        host.close().await;
    });
    is_as_before(&machine);
}

#[test]
fn a_host_that_goes_away_leaves_nothing() {
    let Some(machine) = settled(2) else {
        return;
    };
    block_on(async {
        // Over the network that the change takes away.
        let host = Host::remote(&machine, "10.77.0.10").await.unwrap();
        let deadline = Duration::from_secs(6);
        let wanted = TryNetwork {
            deadline_ms: 6_000,
            ..dual_wanted(2)
        };
        let begun = Instant::now();
        let told = tokio::time::timeout(Duration::from_secs(4), host.ask(&wanted)).await;
        assert!(!matches!(told, Ok(Err(_))), "{told:?}");
        assert!(!machine.answers("10.77.0.10"));
        drop(host);
        let back = within(PATIENCE, || {
            machine.answers("10.77.0.10").then(|| begun.elapsed())
        });
        let back = back.unwrap();
        tell(&format!("back {back:?} after a change with {deadline:?}"));
        assert!(
            back > Duration::from_secs(5) && back < deadline + GRACE,
            "{back:?}"
        );
        let (phase, detail) = until_over(&machine).await;
        assert_eq!(phase, NetworkPhase::RolledBack, "{detail}");
        assert!(
            detail.starts_with("no host has confirmed it in time"),
            "{detail}"
        );
    });
    is_as_before(&machine);
}

#[test]
fn a_host_takes_its_change_back() {
    let Some(machine) = settled(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        host.ask(&dual_wanted(2)).await.unwrap();
        host.ask(&RollBackNetwork { id: [2; 16] }).await.unwrap();
        is_as_before(&machine);
        let late = host
            .ask(&ConfirmNetwork {
                id: [2; 16],
                proof: vec![],
            })
            .await
            .unwrap_err();
        assert!(
            late.contains("was taken back: the host asked for it"),
            "{late}"
        );
        host.close().await;
    });
}

#[test]
fn an_agent_that_is_killed_while_it_applies_takes_the_change_back_when_it_is_there_again() {
    let Some(machine) = settled(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let asking = async { host.ask(&wanted(2, endless())).await };
        let killing = async {
            machine.until_run("ls /run/systemd/network", "00-lkc-nic1.network");
            machine.run("systemctl kill --signal=KILL lkc-guest lkc-steward");
        };
        let (told, ()) = tokio::join!(asking, killing);
        assert!(told.is_err(), "{told:?}");
        let (phase, detail) = until_over(&machine).await;
        assert_eq!(phase, NetworkPhase::RolledBack, "{detail}");
        assert!(
            detail.starts_with("the agent ended while it was made"),
            "{detail}"
        );
    });
    is_as_before(&machine);
}

/// The one that reads what hosts say may end without harm to what it has asked for.
#[test]
fn an_agent_that_is_killed_after_its_change_finds_it_waiting() {
    let Some(machine) = settled(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        assert!(host.ask(&dual_wanted(2)).await.unwrap().pending);
        machine.run("systemctl kill --signal=KILL lkc-guest");
        host.close().await;
        let host = Host::local(&machine).await;
        let status = host.status().await;
        assert_eq!(status.phase, NetworkPhase::Pending, "{}", status.detail);
        // The new one answers probes too, once it has heard of them.
        let probe = eventually_listening(&host).await;
        let proof = proof(&machine, &probe).unwrap();
        let id = [2; 16];
        host.ask(&ConfirmNetwork { id, proof }).await.unwrap();
        assert_eq!(host.status().await.phase, NetworkPhase::Committed);
        host.close().await;
    });
}

async fn eventually_listening(host: &Host) -> String {
    let listening = async {
        loop {
            if let Some(probe) = host.status().await.probes.into_iter().next() {
                return probe;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let listening = tokio::time::timeout(PATIENCE, listening).await;
    listening.expect("nobody answers probes")
}

#[test]
fn the_timer_takes_the_change_of_an_agent_back_that_does_not_come_again() {
    let Some(machine) = settled(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let wanted = TryNetwork {
            deadline_ms: 5_000,
            ..dual_wanted(2)
        };
        // Before the change: systemd does nothing else while it reads all its units again.
        for unit in ["lkc-guest", "lkc-steward"] {
            let file = format!("/run/systemd/system/{unit}.service.d/once.conf");
            machine.give(&file, "[Service]\nRestart=no\n");
        }
        machine.run("systemctl daemon-reload");
        let begun = Instant::now();
        host.ask(&wanted).await.unwrap();
        machine.run("systemctl kill --signal=KILL lkc-guest lkc-steward");
        host.close().await;
        let back = || {
            let routes = machine.run("ip route");
            routes
                .contains("default via 10.77.0.1 ")
                .then(|| begun.elapsed())
        };
        let back = within(PATIENCE, back).unwrap();
        tell(&format!(
            "back {back:?} after a change with 5 s, by the timer"
        ));
        assert!(back < Duration::from_millis(5_000) + GRACE, "{back:?}");
        machine.until_run("systemctl list-units --all 'lkc-rollback-*'", "0 loaded");
        machine.run("systemctl start lkc-guest");
        let (phase, detail) = until_over(&machine).await;
        assert_eq!(phase, NetworkPhase::RolledBack, "{detail}");
        assert!(detail.contains("the agent was not there"), "{detail}");
    });
    is_as_before(&machine);
}

#[test]
fn a_restart_of_the_machine_takes_the_change_back() {
    let Some(mut machine) = settled(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        assert!(host.ask(&dual_wanted(2)).await.unwrap().pending);
        assert!(machine.answers("192.100.0.10"));
    });
    machine.reset();
    is_as_before(&machine);
    block_on(async {
        let host = Host::local(&machine).await;
        let gone = host
            .ask(&ConfirmNetwork {
                id: [2; 16],
                proof: vec![],
            })
            .await
            .unwrap_err();
        assert!(gone.contains("a restart of the guest takes back"), "{gone}");
        host.close().await;
    });
}

/// A figure for whoever reads the output.
#[expect(clippy::print_stderr, reason = "it is no assertion and worth reading")]
pub(crate) fn tell(figure: &str) {
    eprintln!("figure: {figure}");
}
