//! Every error of a configuration file as the user sees it: without colour, 80 columns wide.

use insta::assert_snapshot;

use super::report;

#[test]
fn syntax() {
    assert_snapshot!(report("[cluster.k3s-dev]\nindex =\n"), @r"
 × string values must be quoted, expected literal string
  ╭─[/p/lkc.toml:2:8]
1 │ [cluster.k3s-dev]
2 │ index =
  ·        ▲
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev]\naddress = \"192.100.0.10/24\nindex = 1\n"), @r#"
 × invalid basic string, expected `"`
  ╭─[/p/lkc.toml:2:27]
1 │ [cluster.k3s-dev]
2 │ address = "192.100.0.10/24
  ·                           ▲
3 │ index = 1
  ╰────
"#);
    assert_snapshot!(report("[cluster.k3s-dev\nindex = 1\n"), @r"
 × unclosed table, expected `]`
  ╭─[/p/lkc.toml:1:17]
1 │ [cluster.k3s-dev
  ·                 ▲
2 │ index = 1
  ╰────
");
    assert_snapshot!(report("[cluster.a]\nindex = 1\nindex = 2\n"), @r"
 × duplicate key
  ╭─[/p/lkc.toml:3:1]
2 │ index = 1
3 │ index = 2
  · ─────
  ╰────
");
    assert_snapshot!(report("[cluster.a]\nindex = \u{1b}[2J\n"), @r"
 × unexpected key or value, expected newline, `#`
  ╭─[/p/lkc.toml:2:10]
1 │ [cluster.a]
2 │ index = ?[2J
  ·          ▲
  ╰────
");
}

#[test]
fn unknown_keys() {
    assert_snapshot!(report("[cluster.k3s-dev]\nindx = 1\n"), @r"
 × unknown key `indx` in [cluster.k3s-dev]
  ╭─[/p/lkc.toml:2:1]
1 │ [cluster.k3s-dev]
2 │ indx = 1
  · ────
  ╰────
 help: did you mean `index`?
");
    assert_snapshot!(report("[cluster.k3s-dev.k3s]\ntls_san = []\n"), @r"
 × unknown key `tls_san` in [cluster.k3s-dev.k3s]
  ╭─[/p/lkc.toml:2:1]
1 │ [cluster.k3s-dev.k3s]
2 │ tls_san = []
  · ───────
  ╰────
 help: did you mean `tls-san`?
");
    assert_snapshot!(report("clusters = 3\n"), @r"
 × unknown key `clusters` in the file
  ╭─[/p/lkc.toml:1:1]
1 │ clusters = 3
  · ────────
  ╰────
 help: did you mean `cluster`?
");
    assert_snapshot!(report("[cluster.k3s-dev.ports]\npostgres = 5432\n"), @r"
 × unknown key `postgres` in [cluster.k3s-dev.ports]
  ╭─[/p/lkc.toml:2:1]
1 │ [cluster.k3s-dev.ports]
2 │ postgres = 5432
  · ────────
  ╰────
 help: [cluster.k3s-dev.ports] has the keys api, http, https, ssh, socks
");
    assert_snapshot!(report("[[cluster.a.forward]]\nport = 5432\n"), @r"
 × unknown key `port` in [[forward]]
  ╭─[/p/lkc.toml:2:1]
1 │ [[cluster.a.forward]]
2 │ port = 5432
  · ────
  ╰────
 help: [[forward]] has the keys name, host, guest, bind, protocol
");
}

#[test]
fn wrong_types() {
    assert_snapshot!(report("[cluster.k3s-dev]\nindex = \"1\"\n"), @r#"
 × expected a whole number, found a string
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.k3s-dev]
2 │ index = "1"
  ·         ───
  ╰────
"#);
    assert_snapshot!(report("[cluster.k3s-dev]\nnameservers = 1\n"), @r"
 × expected a list, found a whole number
  ╭─[/p/lkc.toml:2:15]
1 │ [cluster.k3s-dev]
2 │ nameservers = 1
  ·               ─
  ╰────
");
    assert_snapshot!(report("cluster = \"k3s-dev\"\n"), @r#"
 × expected a table, found a string
  ╭─[/p/lkc.toml:1:11]
1 │ cluster = "k3s-dev"
  ·           ─────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.k3s-dev]\nports = { api = true }\n"), @r"
 × expected a port or false
  ╭─[/p/lkc.toml:2:17]
1 │ [cluster.k3s-dev]
2 │ ports = { api = true }
  ·                 ────
  ╰────
 help: a listener is there by default: remove this line
");
    assert_snapshot!(report("[cluster.a.k3s.settings]\nkubelet-arg = { a = 1 }\n"), @r"
 × expected a string, a whole number, true, false or a list of them, found a
 │ table
  ╭─[/p/lkc.toml:2:15]
1 │ [cluster.a.k3s.settings]
2 │ kubelet-arg = { a = 1 }
  ·               ─────────
  ╰────
");
    assert_snapshot!(report("[cluster.a]\nmtu = 99999999999999999999\n"), @r"
 × this number is too large
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.a]
2 │ mtu = 99999999999999999999
  ·       ────────────────────
  ╰────
");
}

#[test]
fn ranges() {
    assert_snapshot!(report("[cluster.k3s-dev]\nindex = 90\n"), @r"
 × 90 is not an index: they go from 0 to 89
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.k3s-dev]
2 │ index = 90
  ·         ──
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev]\nindex = -1\n"), @r"
 × -1 is not an index: they go from 0 to 89
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.k3s-dev]
2 │ index = -1
  ·         ──
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev]\nmtu = 67\n"), @r"
 × an MTU is from 68 to 65535 bytes, not 67
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.k3s-dev]
2 │ mtu = 67
  ·       ──
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev]\naddress = \"fd00::1/64\"\nmtu = 1279\n"), @r#"
 × an MTU is from 1280 to 65535 bytes, not 1279
  ╭─[/p/lkc.toml:3:7]
2 │ address = "fd00::1/64"
3 │ mtu = 1279
  ·       ────
  ╰────
"#);
    assert_snapshot!(report("[cluster.k3s-dev.ports]\napi = 65536\n"), @r"
 × 65536 is not a port: they go from 1 to 65535
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.k3s-dev.ports]
2 │ api = 65536
  ·       ─────
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev.ports]\napi = 0\n"), @r"
 × 0 is not a port: they go from 1 to 65535
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.k3s-dev.ports]
2 │ api = 0
  ·       ─
  ╰────
");
    assert_snapshot!(report("[cluster.k3s-dev]\ntimeout = \"5\"\n"), @r#"
 × a duration is a number with a unit: 500ms, 90s, 5m, 1h or 1m30s
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.k3s-dev]
2 │ timeout = "5"
  ·           ───
  ╰────
"#);
}

#[test]
fn addresses() {
    assert_snapshot!(report("[cluster.a]\naddress = \"256.1.1.1/24\"\n"), @r#"
 × `256.1.1.1` is not an IP address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "256.1.1.1/24"
  ·           ──────────────
  ╰────
 help: an address looks like 192.100.0.10/24
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"192.100.0.10\"\n"), @r#"
 × `192.100.0.10` lacks the prefix length of its network
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "192.100.0.10"
  ·           ──────────────
  ╰────
 help: write 192.100.0.10/24
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"192.100.0.10/33\"\n"), @r#"
 × the prefix length of 192.100.0.10 must be from 8 to 30
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "192.100.0.10/33"
  ·           ─────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"192.100.0.0/24\"\n"), @r#"
 × 192.100.0.0/24 is the address of the network, not of a node
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "192.100.0.0/24"
  ·           ────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"192.100.0.255/24\"\n"), @r#"
 × 192.100.0.255/24 is the broadcast address of its network
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "192.100.0.255/24"
  ·           ──────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"127.0.0.1/8\"\n"), @r#"
 × 127.0.0.1 is a loopback address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "127.0.0.1/8"
  ·           ─────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"224.0.0.1/24\"\n"), @r#"
 × 224.0.0.1 is a multicast address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "224.0.0.1/24"
  ·           ──────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"0.0.0.0/8\"\n"), @r#"
 × 0.0.0.0 is the unspecified address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "0.0.0.0/8"
  ·           ───────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"fe80::1/64\"\n"), @r#"
 × fe80::1 is a link-local address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "fe80::1/64"
  ·           ────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"::ffff:192.100.0.10/120\"\n"), @r#"
 × ::ffff:192.100.0.10 is an IPv4 address in IPv6 form: write it as IPv4
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "::ffff:192.100.0.10/120"
  ·           ─────────────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\naddress = \"10.42.3.4/24\"\n"), @r#"
 × the network of 10.42.3.4/24 overlaps 10.42.0.0/16, which k3s uses for pods
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ address = "10.42.3.4/24"
  ·           ──────────────
  ╰────
 help: take another network, or set cluster-cidr in [k3s.settings]
"#);
    assert_snapshot!(report("[cluster.a]\ngateway = \"192.100.1.1\"\n"), @r#"
 × the gateway 192.100.1.1 is outside of 192.100.0.10/24
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ gateway = "192.100.1.1"
  ·           ─────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ngateway = \"192.100.0.10\"\n"), @r#"
 × the gateway 192.100.0.10 is the node itself
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ gateway = "192.100.0.10"
  ·           ──────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ngateway = \"fd00::1\"\n"), @r#"
 × the gateway fd00::1 is outside of 192.100.0.10/24
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ gateway = "fd00::1"
  ·           ─────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ngateway = \"192.100.0.1/24\"\n"), @r#"
 × `192.100.0.1/24` is not an IP address
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a]
2 │ gateway = "192.100.0.1/24"
  ·           ────────────────
  ╰────
 help: a gateway has no prefix: 192.100.0.1
"#);
    assert_snapshot!(report("[cluster.a]\nnameservers = [\"1.1.1.1\", \"dns.example\"]\n"), @r#"
 × `dns.example` is not an IP address
  ╭─[/p/lkc.toml:2:27]
1 │ [cluster.a]
2 │ nameservers = ["1.1.1.1", "dns.example"]
  ·                           ─────────────
  ╰────
 help: a nameserver is named by its address: 1.1.1.1
"#);
}

#[test]
fn names_and_words() {
    assert_snapshot!(report("[cluster.K3S]\n"), @r"
 × this cannot name a cluster
  ╭─[/p/lkc.toml:1:10]
1 │ [cluster.K3S]
  ·          ───
  ╰────
 help: a cluster name has at most 40 of a-z, 0-9 and -, begins with a letter
       and does not end with -
");
    assert_snapshot!(report("[cluster.\"a/../b\"]\n"), @r#"
 × this cannot name a cluster
  ╭─[/p/lkc.toml:1:10]
1 │ [cluster."a/../b"]
  ·          ────────
  ╰────
 help: a cluster name has at most 40 of a-z, 0-9 and -, begins with a letter
       and does not end with -
"#);
    assert_snapshot!(report("[cluster.a]\nmac = \"52:54:00:c8:32\"\n"), @r#"
 × a MAC address is six pairs of hexadecimal digits: 52:54:00:c8:32:0a
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.a]
2 │ mac = "52:54:00:c8:32"
  ·       ────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\nmac = \"53:54:00:c8:32:0a\"\n"), @r#"
 × this MAC address is not a unicast one
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.a]
2 │ mac = "53:54:00:c8:32:0a"
  ·       ───────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ninterface = \"../x\"\n"), @r#"
 × an interface name has 1 to 15 of a-z, A-Z, 0-9, -, _ and ., and begins
 │ with a letter or digit
  ╭─[/p/lkc.toml:2:13]
1 │ [cluster.a]
2 │ interface = "../x"
  ·             ──────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ninterface = \"eth0\\n[Network]\"\n"), @r#"
 × an interface name has 1 to 15 of a-z, A-Z, 0-9, -, _ and ., and begins
 │ with a letter or digit
  ╭─[/p/lkc.toml:2:13]
1 │ [cluster.a]
2 │ interface = "eth0\n[Network]"
  ·             ─────────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ninterface = \"lo\"\n"), @r#"
 × the interface lo is the loopback
  ╭─[/p/lkc.toml:2:13]
1 │ [cluster.a]
2 │ interface = "lo"
  ·             ────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ninterface = \"default\"\n"), @r#"
 × the kernel has all and default for settings of every interface
  ╭─[/p/lkc.toml:2:13]
1 │ [cluster.a]
2 │ interface = "default"
  ·             ─────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\ndriver = \"sandbx\"\n"), @r#"
 × `sandbx` is not among the choices: sandbox, existing, qemu
  ╭─[/p/lkc.toml:2:10]
1 │ [cluster.a]
2 │ driver = "sandbx"
  ·          ────────
  ╰────
 help: did you mean `sandbox`?
"#);
    assert_snapshot!(report("[cluster.a]\ncni = \"cilium\"\n"), @r#"
 × `cilium` is not among the choices: default, none
  ╭─[/p/lkc.toml:2:7]
1 │ [cluster.a]
2 │ cni = "cilium"
  ·       ────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a]\nwait = \"NotReady\"\n"), @r#"
 × `NotReady` is neither a rung (agent, network, k3s, api, registered, node,
 │ system) nor an object like deployment/kube-system/coredns, crd/NAME or
 │ pods/NAMESPACE?SELECTOR
  ╭─[/p/lkc.toml:2:8]
1 │ [cluster.a]
2 │ wait = "NotReady"
  ·        ──────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a.k3s.settings]\nnode-ip = \"1.2.3.4\"\n"), @r#"
 × `node-ip` cannot be set here: write address in [cluster.NAME]
  ╭─[/p/lkc.toml:2:11]
1 │ [cluster.a.k3s.settings]
2 │ node-ip = "1.2.3.4"
  ·           ─────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a.k3s.settings]\n\"--debug\" = true\n"), @r#"
 × `--debug` is not a setting of k3s: they are its options without `--`
  ╭─[/p/lkc.toml:2:13]
1 │ [cluster.a.k3s.settings]
2 │ "--debug" = true
  ·             ────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a.k3s.settings]\ncluster-cidr = \"\"\n"), @r#"
 × the setting `cluster-cidr` has no value: leave it out to keep k3s' own
  ╭─[/p/lkc.toml:2:16]
1 │ [cluster.a.k3s.settings]
2 │ cluster-cidr = ""
  ·                ──
  ╰────
"#);
    assert_snapshot!(report("[cluster.a.k3s.settings]\ndebug = \"a\\nserver: x\"\n"), @r#"
 × the setting `debug` contains a control character
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.a.k3s.settings]
2 │ debug = "a\nserver: x"
  ·         ──────────────
  ╰────
"#);
    assert_snapshot!(report("[cluster.a.k3s]\ndisable = [\"Traefik!\"]\n"), @r#"
 × `Traefik!` is not a component of k3s: they are named like traefik or
 │ local-storage
  ╭─[/p/lkc.toml:2:12]
1 │ [cluster.a.k3s]
2 │ disable = ["Traefik!"]
  ·            ──────────
  ╰────
"#);
    assert_snapshot!(report("default = \"k3s-dve\"\n[cluster.k3s-dev]\n"), @r#"
 × `default` names `k3s-dve`, which is no cluster here
  ╭─[/p/lkc.toml:1:11]
1 │ default = "k3s-dve"
  ·           ─────────
2 │ [cluster.k3s-dev]
  ╰────
 help: did you mean `k3s-dev`?
"#);
}

#[test]
fn forwards_on_sockets() {
    for (text, expected) in [
        (
            "host = \"pg.sock\"\nguest = 1",
            "`pg.sock` is nowhere to listen",
        ),
        (
            "host = \"unix:pg.sock\"",
            "a forward on a unix socket needs a target",
        ),
        (
            "host = \"unix:.s.PGSQL.1\"\nguest = 1",
            "a forward on this socket needs a name",
        ),
        (
            "host = \"unix:api\"\nguest = 1",
            "the forward `api` is one of TCP on a port",
        ),
        (
            "host = \"unix:pg\"\nguest = 1\nprotocol = \"udp\"",
            "a forward of udp cannot listen on a unix socket",
        ),
        (
            "host = \"unix:pg\"\nguest = 1\nbind = [\"::1\"]",
            "a unix socket has no address",
        ),
        (
            "host = \"unix:/run/pg\"\nguest = 1\n[[cluster.a.forward]]\nname = \"other\"\nhost = \"unix:/run/pg\"\nguest = 2",
            "the forwards `pg` and `other` have the same socket /run/pg",
        ),
        (
            "host = \"unix:/run/pg\"\nguest = 1\n[cluster.b]\nindex = 1\n[[cluster.b.forward]]\nhost = \"unix:/run/pg\"\nguest = 2",
            "the clusters b and a have the same socket /run/pg, by their forwards `pg` and `pg`",
        ),
    ] {
        let ports = "[cluster.a.ports]\napi = false\n";
        let report = report(&format!("{ports}[[cluster.a.forward]]\n{text}\n"));
        assert!(unbroken(&report).contains(expected), "{report}");
    }
    let long = "x".repeat(200);
    let report = report(&format!(
        "[[cluster.a.forward]]\nhost = \"unix:/{long}\"\nguest = 1\n"
    ));
    let expected = "is too long for a socket's path";
    assert!(unbroken(&report).contains(expected), "{report}");
}

/// A report without the breaks of its lines.
fn unbroken(report: &str) -> String {
    let words = report.split_whitespace().filter(|word| *word != "│");
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn forwards_of_socks() {
    assert_snapshot!(report("[[cluster.a.forward]]\nprotocol = \"socks\"\nhost = 1080\nguest = 80\n"), @r"
     × a forward of SOCKS has no target: its clients name theirs
      ╭─[/p/lkc.toml:4:9]
    3 │ host = 1080
    4 │ guest = 80
      ·         ──
      ╰────
     help: remove `guest`
    ");
    assert_snapshot!(report("[[cluster.a.forward]]\nprotocol = \"socks\"\n"), @r#"
     × a forward of SOCKS needs a port of the host
      ╭─[/p/lkc.toml:1:1]
    1 │ [[cluster.a.forward]]
      · ─────────────────────
    2 │ protocol = "socks"
      ╰────
     help: write host = 1080
    "#);
    assert_snapshot!(report("[[cluster.a.forward]]\nprotocol = \"sock\"\nhost = 1080\n"), @r#"
     × `sock` is not among the choices: tcp, udp, socks
      ╭─[/p/lkc.toml:2:12]
    1 │ [[cluster.a.forward]]
    2 │ protocol = "sock"
      ·            ──────
    3 │ host = 1080
      ╰────
     help: did you mean `socks`?
    "#);
    assert_snapshot!(report("[cluster.a.ports]\nsocks = 5432\n[[cluster.a.forward]]\nhost = 5432\n"), @r"
     × the forwards `socks` and `port-5432` have the same host port 5432
      ╭─[/p/lkc.toml:2:9]
    1 │ [cluster.a.ports]
    2 │ socks = 5432
      ·         ──┬─
      ·           ╰── the other one
    3 │ [[cluster.a.forward]]
    4 │ host = 5432
      ·        ────
      ╰────
    ");
    assert_snapshot!(report("[cluster.a.ports]\napi = false\n[[cluster.a.forward]]\nname = \"api\"\nhost = 6443\nprotocol = \"udp\"\n"), @r#"
     × the forward `api` is one of TCP on a port
      ╭─[/p/lkc.toml:6:12]
    5 │ host = 6443
    6 │ protocol = "udp"
      ·            ─────
      ╰────
    "#);
}

#[test]
fn forwards() {
    assert_snapshot!(report("[[cluster.a.forward]]\nname = \"x\"\n"), @r#"
 × a forward needs the port of the host or of the guest
  ╭─[/p/lkc.toml:1:1]
1 │ [[cluster.a.forward]]
  · ─────────────────────
2 │ name = "x"
  ╰────
 help: write host = 5432, and guest = 5432 if it differs
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nname = \"X Y\"\nhost = 1234\n"), @r#"
 × `X Y` cannot name a forward
  ╭─[/p/lkc.toml:2:8]
1 │ [[cluster.a.forward]]
2 │ name = "X Y"
  ·        ─────
3 │ host = 1234
  ╰────
 help: a name has at most 40 of a-z, 0-9 and -, and begins with a letter
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nhost = 5432\nguest = \"::1:80\"\n"), @r#"
 × `::1:80` is not a target in the guest
  ╭─[/p/lkc.toml:3:9]
2 │ host = 5432
3 │ guest = "::1:80"
  ·         ────────
  ╰────
 help: a target is a port, ADDRESS:PORT or [IPV6]:PORT
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nhost = 5432\nbind = [\"localhost\"]\n"), @r#"
 × `localhost` is not an IP address
  ╭─[/p/lkc.toml:3:9]
2 │ host = 5432
3 │ bind = ["localhost"]
  ·         ───────────
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nhost = 5432\nbind = []\n"), @r"
 × a forward without an address listens nowhere
  ╭─[/p/lkc.toml:1:1]
1 │ [[cluster.a.forward]]
  · ─────────────────────
2 │ host = 5432
  ╰────
 help: remove `bind`, or name an address
");
    assert_snapshot!(report("[[cluster.a.forward]]\nname = \"db\"\nhost = 5432\n\n[[cluster.a.forward]]\nname = \"db\"\nhost = 5433\n"), @r#"
 × two forwards have the name `db`
  ╭─[/p/lkc.toml:3:8]
2 │ name = "db"
3 │ host = 5432
  ·        ──┬─
  ·          ╰── the other one
4 │ 
5 │ [[cluster.a.forward]]
6 │ name = "db"
  ·        ────
7 │ host = 5433
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nname = \"api\"\nhost = 5432\n"), @r#"
 × two forwards have the name `api`
  ╭─[/p/lkc.toml:1:11]
1 │ [[cluster.a.forward]]
  ·           ┬
  ·           ╰── the other one
2 │ name = "api"
  ·        ─────
3 │ host = 5432
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nhost = 8080\nguest = 80\n"), @r"
 × the forwards `http` and `port-8080` have the same host port 8080
  ╭─[/p/lkc.toml:1:11]
1 │ [[cluster.a.forward]]
  ·           ┬
  ·           ╰── the other one
2 │ host = 8080
  ·        ────
3 │ guest = 80
  ╰────
");
}

#[test]
fn collisions() {
    assert_snapshot!(report("[cluster.a]\n\n[cluster.b]\n"), @r"
 × the clusters b and a have the same index 0
  ╭─[/p/lkc.toml:1:10]
1 │ [cluster.a]
  ·          ┬
  ·          ╰── a
2 │ 
3 │ [cluster.b]
  ·          ┬
  ·          ╰── b
  ╰────
 help: write `index = 1` in [cluster.b]
");
    assert_snapshot!(report("[cluster.a]\nindex = 2\n\n[cluster.b]\nindex = 2\n"), @r"
 × the clusters b and a have the same index 2
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.a]
2 │ index = 2
  ·         ┬
  ·         ╰── a
3 │ 
4 │ [cluster.b]
5 │ index = 2
  ·         ┬
  ·         ╰── b
  ╰────
 help: write `index = 0` in [cluster.b]
");
    assert_snapshot!(report("[cluster.a]\nindex = 1\n\n[cluster.b]\nindex = 2\naddress = \"192.100.0.11/24\"\n"), @r#"
 × the clusters b and a have the same address 192.100.0.11
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.a]
2 │ index = 1
  ·         ┬
  ·         ╰── a
3 │ 
  ╰────
  ╭─[/p/lkc.toml:6:11]
5 │ index = 2
6 │ address = "192.100.0.11/24"
  ·           ────────┬────────
  ·                   ╰── b
  ╰────
 help: write another `address` in [cluster.b]
"#);
    assert_snapshot!(report("[cluster.a]\nindex = 1\naddress = \"10.0.0.7/24\"\n\n[cluster.b]\nindex = 2\naddress = \"10.1.0.7/24\"\n"), @r#"
 × the clusters b and a have the same MAC address 52:54:00:c8:32:07
  ╭─[/p/lkc.toml:3:11]
2 │ index = 1
3 │ address = "10.0.0.7/24"
  ·           ──────┬──────
  ·                 ╰── a
4 │ 
5 │ [cluster.b]
6 │ index = 2
7 │ address = "10.1.0.7/24"
  ·           ──────┬──────
  ·                 ╰── b
  ╰────
 help: write another `mac` in [cluster.b]
"#);
    assert_snapshot!(report("[cluster.a]\nindex = 1\nports = { api = 6445 }\n\n[cluster.b]\nindex = 2\n"), @r"
 × the clusters b and a have the same host port 6445, by their forwards `api`
 │ and `api`
  ╭─[/p/lkc.toml:3:17]
2 │ index = 1
3 │ ports = { api = 6445 }
  ·                 ──┬─
  ·                   ╰── a
4 │ 
5 │ [cluster.b]
6 │ index = 2
  ·         ┬
  ·         ╰── b
  ╰────
 help: write another port for `api` in [cluster.b.ports]
");
    assert_snapshot!(report("[cluster.a]\nindex = 1\n\n[cluster.b]\nindex = 2\n[[cluster.b.forward]]\nname = \"db\"\nhost = 6444\nbind = [\"0.0.0.0\"]\n"), @r#"
 × the clusters b and a have the same host port 6444, by their forwards `db`
 │ and `api`
  ╭─[/p/lkc.toml:2:9]
1 │ [cluster.a]
2 │ index = 1
  ·         ┬
  ·         ╰── a
3 │ 
  ╰────
  ╭─[/p/lkc.toml:8:8]
7 │ name = "db"
8 │ host = 6444
  ·        ──┬─
  ·          ╰── b
9 │ bind = ["0.0.0.0"]
  ╰────
 help: write another `host` for `db` in [[cluster.b.forward]]
"#);
}
