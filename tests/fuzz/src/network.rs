//! The network that a host asks for, in the vocabulary of network-config v2, against the links that
//! exist: refused, or planned in steps that touch nothing else.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use lkc_guest::network::{
    address::{Cidr, MacAddr},
    config::{NetworkConfig, Route},
    observed::{KernelRoute, ObservedAddress, ObservedLink, ObservedNetwork, Origin, Readiness},
    plan::{Action, Means, plan, restore},
};
use lkc_protocol::{
    codec,
    message::{ApplyNetwork, InterfaceConfig, RouteConfig},
};

/// What is asked for and what is there.
pub fn check(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else {
        return;
    };
    let wire = input.asked();
    assert_eq!(
        codec::decode::<ApplyNetwork>(&codec::encode(&wire)).as_ref(),
        Ok(&wire)
    );
    let config = match NetworkConfig::parse(&wire) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    check_plan(&config, &input.observed());
}

fn check_plan(config: &NetworkConfig, network: &ObservedNetwork) {
    let planned = match plan(config, network, Means::Netlink) {
        Ok(planned) => planned,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(planned.links.len(), config.interfaces.len());
    let links: BTreeSet<u32> = planned.links.iter().copied().collect();
    assert_eq!(
        links.len(),
        planned.links.len(),
        "a link for two interfaces"
    );
    for action in &planned.actions {
        if let Some(index) = link_of(action) {
            let link = network.link(index).expect("a link that exists");
            assert!(!link.loopback, "{action} on the loopback");
            assert!(
                links.contains(&index),
                "{action} on a link that nobody named"
            );
        }
        assert!(!action.to_string().is_empty());
    }
    let most = 64 + 4 * (64 + 256 + 16) * (network.links.len() + 1);
    assert!(
        planned.actions.len() < most,
        "{} steps",
        planned.actions.len()
    );
    let back = restore(network, network, &planned.links);
    assert_eq!(back, Ok(Vec::new()), "nothing has changed");
}

fn link_of(action: &Action) -> Option<u32> {
    match action {
        Action::SetHostname { .. } => None,
        Action::SetDown { link }
        | Action::Rename { link, .. }
        | Action::SetMtu { link, .. }
        | Action::SetUp { link }
        | Action::AddAddress { link, .. }
        | Action::RemoveAddress { link, .. }
        | Action::RemoveRoute { link, .. }
        | Action::AddRoute { link, .. }
        | Action::ReplaceRoute { link, .. } => Some(link.index),
    }
}

#[derive(Debug, Arbitrary)]
struct Input {
    hostname: Option<Word>,
    interfaces: Vec<Interface>,
    links: Vec<Link>,
}

#[derive(Debug, Arbitrary)]
struct Interface {
    id: Word,
    match_mac: Option<Word>,
    match_name: Option<Word>,
    match_driver: Option<Word>,
    set_name: Option<Word>,
    flags: [bool; 4],
    addresses: Vec<Word>,
    routes: Vec<(Word, Option<Word>, Option<u32>)>,
    nameservers: Vec<Word>,
    search: Vec<Word>,
    mtu: Option<u16>,
}

/// A text that may fit, or any.
#[derive(Debug, Arbitrary)]
enum Word {
    Known(u8),
    Numbered(u8, u8),
    Any(String),
}

#[derive(Debug, Arbitrary)]
struct Link {
    name: u8,
    mac: Option<u8>,
    permanent_mac: Option<u8>,
    driver: Option<bool>,
    loopback: bool,
    up: bool,
    carrier: bool,
    mtu: u16,
    addresses: Vec<Address>,
    routes: Vec<LinkRoute>,
}

#[derive(Debug, Arbitrary)]
struct Address {
    network: u8,
    host: u8,
    v6: bool,
    prefix: u8,
    flags: [bool; 3],
    readiness: u8,
}

#[derive(Debug, Arbitrary)]
struct LinkRoute {
    to: Option<(u8, u8)>,
    via: Option<(u8, u8)>,
    v6: bool,
    metric: u8,
    origin: u8,
}

const WORDS: &[&str] = &[
    "eth0",
    "eth1",
    "ens3",
    "e*",
    "eth?",
    "[a-z]*",
    "virtio_net",
    "veth",
    "lo",
    "default",
    "0.0.0.0/0",
    "::/0",
    "192.100.0.1",
    "fd00::1",
    "fe80::1",
    "52:54:00:c8:32:00",
    "52:54:00:C8:32:01",
    "k3s-dev",
    "cluster.local",
    ".",
    "127.0.0.1/8",
    "10.1.0.255/24",
    "10.1.0.0/31",
    "::ffff:10.1.0.1/120",
    "1.1.1.1",
    "lkc-swap0",
];

impl Word {
    fn to_text(&self) -> String {
        match self {
            Self::Known(at) => WORDS[usize::from(*at) % WORDS.len()].to_owned(),
            Self::Numbered(kind, number) => {
                let (net, host) = (number >> 4 & 3, number & 15);
                match kind % 6 {
                    0 => format!("10.1.{net}.{host}/24"),
                    1 => format!("fd00:{net}::{host:x}/64"),
                    2 => format!("10.1.{net}.{host}"),
                    3 => format!("10.{host}.0.0/16"),
                    4 => format!("eth{}", number & 7),
                    _ => mac(number & 7).to_string(),
                }
            }
            Self::Any(text) => text.clone(),
        }
    }
}

fn texts(words: &[Word]) -> Vec<String> {
    words.iter().map(Word::to_text).collect()
}

fn mac(number: u8) -> MacAddr {
    MacAddr::from_bytes(&[0x52, 0x54, 0, 0xc8, 0x32, number]).expect("six bytes")
}

fn cidr(v6: bool, network: u8, host: u8, prefix: u8) -> Cidr {
    let text = if v6 {
        format!("fd00:{}::{host:x}/{}", network & 3, prefix % 129)
    } else {
        format!("10.1.{}.{host}/{}", network & 3, prefix % 33)
    };
    text.parse().expect("an address with its prefix")
}

impl Input {
    fn asked(&self) -> ApplyNetwork {
        ApplyNetwork {
            hostname: self.hostname.as_ref().map(Word::to_text),
            interfaces: self.interfaces.iter().map(Interface::to_wire).collect(),
        }
    }

    /// Links with numbers and names of their own, addresses and routes in order and once each, as
    /// the kernel has them unless somebody appends an IPv6 route that another link has already.
    fn observed(&self) -> ObservedNetwork {
        let mut links: Vec<ObservedLink> = Vec::new();
        for (index, link) in (1..).zip(&self.links) {
            let mut link = link.to_observed(index);
            let taken = links.iter().flat_map(|other| &other.routes);
            let mut taken: Vec<KernelRoute> = taken.copied().collect();
            link.routes.retain(|one| {
                let is_new = taken.iter().all(|other| !other.same_key(&one.route));
                taken.push(*one);
                is_new
            });
            if links.iter().all(|other| other.name != link.name) {
                links.push(link);
            }
        }
        ObservedNetwork {
            hostname: "nixos".to_owned(),
            links,
        }
    }
}

impl Interface {
    fn to_wire(&self) -> InterfaceConfig {
        let text = |word: &Option<Word>| word.as_ref().map(Word::to_text);
        let [dhcp4, dhcp6, dhcp_use_routes, dhcp_use_dns] = self.flags;
        let routes = self.routes.iter();
        InterfaceConfig {
            id: self.id.to_text(),
            match_mac: text(&self.match_mac),
            match_name: text(&self.match_name),
            match_driver: text(&self.match_driver),
            set_name: text(&self.set_name),
            dhcp4,
            dhcp6,
            dhcp_use_routes,
            dhcp_use_dns,
            addresses: texts(&self.addresses),
            routes: routes
                .map(|(to, via, metric)| RouteConfig {
                    to: to.to_text(),
                    via: text(via),
                    metric: *metric,
                })
                .collect(),
            nameservers: texts(&self.nameservers),
            search: texts(&self.search),
            mtu: self.mtu.map(u32::from),
        }
    }
}

impl Link {
    fn to_observed(&self, index: u32) -> ObservedLink {
        let mut addresses: Vec<_> = self.addresses.iter().map(Address::to_observed).collect();
        addresses.sort();
        addresses.dedup_by_key(|one| one.address.ip());
        let mut routes: Vec<_> = self.routes.iter().map(LinkRoute::to_observed).collect();
        routes.sort();
        ObservedLink {
            index,
            name: format!("eth{}", self.name & 7),
            mac: self.mac.map(|number| mac(number & 7)),
            permanent_mac: self.permanent_mac.map(|number| mac(number & 7)),
            driver: self
                .driver
                .map(|virtio| if virtio { "virtio_net" } else { "veth" }.to_owned()),
            loopback: self.loopback,
            up: self.up,
            carrier: self.carrier,
            mtu: u32::from(self.mtu),
            addresses,
            routes,
        }
    }
}

impl Address {
    fn to_observed(&self) -> ObservedAddress {
        let [global, lasting, peer] = self.flags;
        let states = [Readiness::Ready, Readiness::Tentative, Readiness::Duplicate];
        ObservedAddress {
            address: cidr(self.v6, self.network, self.host, self.prefix),
            global,
            lasting,
            peer,
            readiness: states[usize::from(self.readiness) % states.len()],
        }
    }
}

impl LinkRoute {
    fn to_observed(&self) -> KernelRoute {
        let everything = if self.v6 { "::/0" } else { "0.0.0.0/0" };
        let to = match self.to {
            Some((network, prefix)) => cidr(self.v6, network, 0, prefix).network(),
            None => everything.parse().expect("a destination"),
        };
        let via = self
            .via
            .map(|(network, host)| cidr(self.v6, network, host, 0).ip());
        let metric = u32::from(self.metric);
        let origins = [
            Origin::Kernel,
            Origin::RouterAdvertisement,
            Origin::Boot,
            Origin::Static,
            Origin::Dhcp,
            Origin::Other(12),
        ];
        KernelRoute {
            origin: origins[usize::from(self.origin) % origins.len()],
            ..KernelRoute::asked(Route { to, via, metric })
        }
    }
}
