//! A guest, the relay in front of it, and the carrier that leads over both.

use std::any::Any;

use lkc_host::carrier::{Route, ssh::Options};
use lkc_tests::{
    carriers::{End, Relay, guest::Guest, peers},
    sshd::SshWorld,
};

use crate::PROGRAMS;

/// A carrier with a relay on it.
pub(crate) struct Arrangement {
    /// Before the guest, whose folder it listens in.
    pub(crate) relay: Relay,
    pub(crate) guest: Guest,
    pub(crate) route: Route,
    /// Whether its links go on in plain.
    pub(crate) is_plain: bool,
    /// What else stands on the way.
    _kept: Vec<Box<dyn Any + Send>>,
}

impl Arrangement {
    /// A unix socket that is forwarded.
    pub(crate) fn unix() -> Self {
        let (guest, relay) = before_the_socket();
        let carrier = format!("unix:{}", guest.path("relay.sock").display());
        Self::new(guest, relay, &carrier)
    }

    pub(crate) fn tcp() -> Self {
        let guest = Guest::start(PROGRAMS);
        let (relay, near) = Relay::tcp(End::Tcp(guest.tcp));
        Self::new(guest, relay, &format!("tcp:{near}"))
    }

    /// The relay is a part of the hypervisor.
    pub(crate) fn hybrid() -> Self {
        let (guest, relay) = before_the_socket();
        peers::monitor(&guest.path("vm.vsock"), guest.path("relay.sock"));
        let carrier = format!("hybrid:{}:5000", guest.path("vm.vsock").display());
        Self {
            is_plain: true,
            ..Self::new(guest, relay, &carrier)
        }
    }

    pub(crate) fn exec() -> Self {
        let (guest, relay) = before_the_socket();
        let carrier = format!(
            "exec:{} stdio --socket {}",
            guest.path("lkc-guest").display(),
            guest.path("relay.sock").display()
        );
        Self::new(guest, relay, &carrier)
    }

    /// The relay carries what SSH has encrypted.
    pub(crate) fn ssh(world: SshWorld) -> Self {
        let guest = Guest::start(PROGRAMS);
        let key = world.plain_key("id");
        let sshd = world.sshd("dev", &[&key], "");
        let (relay, near) = Relay::tcp(End::Tcp(([127, 0, 0, 1], sshd.port).into()));
        let known = sshd
            .known_hosts()
            .replace(&sshd.port.to_string(), &near.port().to_string());
        world.write("known_hosts", &known);
        let block = format!(
            "Host dev\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n",
            near.port(),
            key.display()
        );
        let options = Options {
            config: Some(world.client_configuration(&block)),
            known_hosts: Some(world.path("own_known_hosts")),
            socket: Some(guest.path("agent.sock")),
            ..Options::default()
        };
        let mut arrangement = Self::new(guest, relay, "ssh:dev");
        arrangement.route.ssh = options;
        arrangement._kept = vec![Box::new(sshd), Box::new(world)];
        arrangement
    }

    /// The relay is before the monitor's socket: with a connection of it ends the guest's line.
    pub(crate) fn serial() -> Self {
        let guest = Guest::start(PROGRAMS);
        let monitor = guest.path("serial.sock");
        peers::serial(&monitor, guest.path("lkc.agent.0"));
        let relay = Relay::unix(&guest.path("relay.sock"), End::Unix(monitor));
        let carrier = format!("serial:{}", guest.path("relay.sock").display());
        Self::new(guest, relay, &carrier)
    }

    fn new(guest: Guest, relay: Relay, carrier: &str) -> Self {
        Self {
            relay,
            guest,
            route: Route {
                via: Vec::new(),
                carrier: carrier.parse().unwrap(),
                ssh: Options::default(),
            },
            is_plain: false,
            _kept: Vec::new(),
        }
    }
}

fn before_the_socket() -> (Guest, Relay) {
    let guest = Guest::start(PROGRAMS);
    let relay = Relay::unix(
        &guest.path("relay.sock"),
        End::Unix(guest.path("agent.sock")),
    );
    (guest, relay)
}
