//! A machine whose clock no host sets, since nobody has allowed that. One that is set is in
//! `tests/vm`: a machine in namespaces has this computer's.

use std::time::{SystemTime, UNIX_EPOCH};

use lkc_protocol::message::{Info, SetTime, Usage};

use crate::{host::Host, machine::Machine, network::block_on};

const BOUND_MS: u32 = 60_000;

#[test]
fn a_clock_is_not_set_unless_that_is_allowed() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let told = host.ask(&Info {}).await.unwrap();
        assert!(told.clock_unix_ms.abs_diff(now_ms()) < u64::from(BOUND_MS));
        for hours in [-8, 8] {
            let wrong = now_ms().checked_add_signed(hours * 3_600_000).unwrap();
            let wanted = SetTime {
                clock_unix_ms: wrong,
                bound_ms: BOUND_MS,
            };
            let refused = host.ask(&wanted).await.unwrap_err();
            assert!(refused.contains("keeps its own clock"), "{refused}");
            assert!(refused.contains("set-clock.conf"), "{refused}");
        }
        let right = SetTime {
            clock_unix_ms: now_ms(),
            bound_ms: BOUND_MS,
        };
        assert!(!host.ask(&right).await.unwrap().changed);
        let told = host.ask(&Info {}).await.unwrap();
        assert!(told.clock_unix_ms.abs_diff(now_ms()) < u64::from(BOUND_MS));
        host.close().await;
    });
}

#[test]
fn an_agent_without_privileges_tells_what_is_in_use() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let usage = host.ask(&Usage {}).await.unwrap();
        assert!(usage.memory_kib > usage.memory_available_kib, "{usage:?}");
        assert!(usage.processors > 0, "{usage:?}");
        assert_eq!(usage.load_percent.len(), 3, "{usage:?}");
        assert_eq!(usage.disks[0].path, "/", "{usage:?}");
        assert!(usage.disks[0].size_kib > 0, "{usage:?}");
        host.close().await;
    });
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}
