//! Changes at random, valid, wrong and contradictory: the machine is never out of reach for longer
//! than the deadline of a change and a few seconds.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, NetworkPhase, TryNetwork};

use crate::{
    host::Host,
    machine::{Machine, dial},
    network::block_on,
    trial::{GRACE, keep, tell, wanted},
    wire::{default_by, of_card, single},
};

/// Deadline of each change.
const DEADLINE: Duration = Duration::from_secs(3);

/// Changes in the short form; LKC_GUEST_OS_PLANS has another number.
const SHORT: usize = 10;

/// xorshift: the same changes every time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.throw(of.len() as u64)).unwrap()]
    }

    fn some(&mut self, of: &[&str]) -> Vec<String> {
        let mut some = of.to_vec();
        some.retain(|_| self.throw(5) == 0);
        some.into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn no_random_change_makes_the_machine_unreachable() {
    let Some(machine) = Machine::boot(2) else {
        return;
    };
    let count = env::var("LKC_GUEST_OS_PLANS")
        .ok()
        .and_then(|text| text.parse().ok());
    let count = count.unwrap_or(SHORT);
    block_on(keep(&machine, wanted(1, single())));
    let watch = Watch::over(&machine);
    let (mut tried, mut refused) = (0, 0);
    block_on(async {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for number in 0..count {
            let network = random(&mut dice);
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64 + 1000).to_be_bytes());
            let change = TryNetwork {
                id,
                deadline_ms: u32::try_from(DEADLINE.as_millis()).unwrap(),
                ..wanted(0, network.clone())
            };
            let host = Host::local(&machine).await;
            let told = host.ask(&change).await;
            match told {
                Ok(told) if told.pending => tried += 1,
                _ => refused += 1,
            }
            let end = Instant::now() + DEADLINE + GRACE;
            loop {
                let status = host.status().await;
                let waits = [
                    NetworkPhase::Applying,
                    NetworkPhase::Pending,
                    NetworkPhase::RollingBack,
                ];
                if !waits.contains(&status.phase) {
                    assert_ne!(
                        status.phase,
                        NetworkPhase::HalfRolledBack,
                        "{network:#?} {status:?}"
                    );
                    break;
                }
                assert!(Instant::now() < end, "{network:#?} {status:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            host.close().await;
            assert!(machine.answers("10.77.0.10"), "after {network:#?}");
        }
    });
    let longest = watch.end();
    tell(&format!(
        "{count} random changes, {tried} in force until their deadline, {refused} refused or taken back at once; \
         longest time out of reach {} ms",
        longest.as_millis()
    ));
    assert!(longest < DEADLINE + GRACE, "{longest:?}");
}

fn random(dice: &mut Dice) -> ApplyNetwork {
    let interfaces = (0..2).filter_map(|card| {
        if dice.throw(4) == 0 {
            return None;
        }
        let addresses = [
            "10.77.0.10/24",
            "10.77.0.11/24",
            "10.77.0.1/24",
            "192.100.0.10/24",
            "192.100.0.10/16",
            "172.20.0.9/30",
            "fd00:77:0::10/64",
            "fd00:77:1::1/64",
            "10.42.0.1/16",
            "224.0.0.1/4",
        ];
        let gateways = [
            "10.77.0.1",
            "192.100.0.1",
            "10.77.0.250",
            "172.20.0.10",
            "fd00:77:1::1",
        ];
        let mut interface = InterfaceConfig {
            dhcp4: dice.throw(4) == 0,
            dhcp_use_routes: dice.throw(2) == 0,
            dhcp_use_dns: dice.throw(2) == 0,
            addresses: dice.some(&addresses[..8]),
            nameservers: dice.some(&["10.77.0.1", "192.100.0.1", "192.0.2.53"]),
            ..of_card(card)
        };
        if dice.throw(8) == 0 {
            interface.addresses.push(dice.one(&addresses).to_owned());
        }
        if dice.throw(3) == 0 {
            interface.routes.push(default_by(dice.one(&gateways)));
        }
        if dice.throw(3) == 0 {
            interface.set_name = Some(dice.one(&["lan", "k8snet", "eth0", "eth1"]).to_owned());
        }
        if dice.throw(3) == 0 {
            interface.mtu = Some([576, 1280, 1400, 9000][usize::try_from(dice.throw(4)).unwrap()]);
        }
        if dice.throw(8) == 0 {
            interface.match_mac = None;
            interface.match_name = Some(dice.one(&["eth*", "eth0", "en*", "k8snet"]).to_owned());
        }
        Some(interface)
    });
    let interfaces = interfaces.collect();
    ApplyNetwork {
        hostname: (dice.throw(3) == 0).then(|| "other".to_owned()),
        interfaces,
    }
}

/// Looks all the time whether the machine can be reached.
struct Watch {
    over: Arc<AtomicBool>,
    longest: thread::JoinHandle<Duration>,
}

impl Watch {
    fn over(machine: &Machine) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (namespace, ended) = (machine.outside(), Arc::clone(&over));
        let longest = thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !ended.load(Ordering::Relaxed) {
                if dial(&namespace, "10.77.0.10", 5000, Duration::from_millis(200)).is_ok() {
                    last = Instant::now();
                }
                longest = longest.max(last.elapsed());
                thread::park_timeout(Duration::from_millis(100));
            }
            longest
        });
        Self { over, longest }
    }

    fn end(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.longest.join().unwrap()
    }
}
