//! Reverse forwards, in the file and on the command line.

use insta::assert_snapshot;

use super::{
    super::{ClusterSpec, Overrides, ReverseSpec},
    config, no_config, report,
};

fn reverse(text: &str) -> Vec<ReverseSpec> {
    let text = format!("[[cluster.a.reverse]]\n{text}");
    let config = config(&text).unwrap_or_else(|error| panic!("{error}"));
    config.clusters[0].0.reverse.clone()
}

fn shown(reverse: &ReverseSpec) -> String {
    format!(
        "{} {} {}",
        reverse.name,
        reverse.listens_on(),
        reverse.target
    )
}

#[test]
fn each_end_has_the_other_ones_port_unless_told_otherwise() {
    let table = [
        ("guest = 5000", "reverse-5000 127.0.0.1:5000 127.0.0.1:5000"),
        ("host = 5000", "reverse-5000 127.0.0.1:5000 127.0.0.1:5000"),
        (
            "guest = 5000\nhost = 5001\nname = \"registry\"",
            "registry 127.0.0.1:5000 127.0.0.1:5001",
        ),
        (
            "guest = 80\nhost = \"registry.lan:5000\"\nbind = \"0.0.0.0\"",
            "reverse-80 0.0.0.0:80 registry.lan:5000",
        ),
        (
            "guest = 80\nhost = \"[fd00::1]:5000\"\nbind = \"::1\"",
            "reverse-80 [::1]:80 [fd00::1]:5000",
        ),
        (
            "guest = 80\nhost = \"unix:/run/x.sock\"\nbind = \"node\"",
            "reverse-80 192.100.0.10:80 unix:/run/x.sock",
        ),
        (
            "guest = 80\nhost = \"unix:x.sock\"",
            "reverse-80 127.0.0.1:80 unix:/p/x.sock",
        ),
        (
            "guest = 80\nhost = \"unix:~/x.sock\"",
            "reverse-80 127.0.0.1:80 unix:/home/u/x.sock",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(shown(&reverse(text)[0]), expected, "{text}");
    }
}

#[test]
fn one_argument_says_all_of_it() {
    let table = [
        ("5000", "reverse-5000 127.0.0.1:5000 127.0.0.1:5000"),
        ("5000:5001", "reverse-5000 127.0.0.1:5000 127.0.0.1:5001"),
        (
            "5000:127.0.0.1:5001",
            "reverse-5000 127.0.0.1:5000 127.0.0.1:5001",
        ),
        (
            "registry=0.0.0.0:5000:[::1]:5001",
            "registry 0.0.0.0:5000 [::1]:5001",
        ),
        ("node:5000", "reverse-5000 192.100.0.10:5000 127.0.0.1:5000"),
        ("[::1]:5000:80", "reverse-5000 [::1]:5000 127.0.0.1:80"),
        ("x=5000:unix:/run/a=b:c", "x 127.0.0.1:5000 unix:/run/a=b:c"),
        (
            "5000:unix:/run/a=b",
            "reverse-5000 127.0.0.1:5000 unix:/run/a=b",
        ),
    ];
    for (text, expected) in table {
        let spec = flagged(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(shown(&spec.reverse[0]), expected, "{text}");
    }
}

fn flagged(text: &str) -> Result<ClusterSpec, String> {
    let overrides = Overrides {
        reverse: vec![text.to_owned()],
        ..Overrides::default()
    };
    let config = no_config().with_overrides(None, &overrides);
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.clusters[0].0.clone())
}

#[test]
fn an_argument_that_is_none_is_refused_with_a_reason() {
    let reasons: Vec<_> = [
        "",
        "0",
        "65536",
        "99999999999999999999",
        "-1",
        "abc",
        "5000:",
        "5000:x:y",
        ":5000",
        "::1:5000",
        "[::1]",
        "x=y=5000",
        "a/b=5000",
        "localhost:5000",
        "224.0.0.1:5000",
        "6443",
        "5000:unix:",
        "api=5000",
        "8080:127.0.0.1:8080",
    ]
    .iter()
    .map(|text| match flagged(text) {
        Ok(_) => format!("{text}: accepted"),
        Err(reason) => format!("{text}: {reason}"),
    })
    .collect();
    assert_snapshot!(reasons.join("\n"), @"
: --reverse: `` is not a reverse forward
0: --reverse: 0 is not a port: they go from 1 to 65535
65536: --reverse: 65536 is not a port: they go from 1 to 65535
99999999999999999999: --reverse: `99999999999999999999` is not a reverse forward
-1: --reverse: `-1` is not a reverse forward
abc: --reverse: `abc` is not a reverse forward
5000:: --reverse: `` is not a target on this host
5000:x:y: --reverse: `x:y` is not a target on this host
:5000: --reverse: `:5000` is not a reverse forward
::1:5000: --reverse: `::1:5000` is not a reverse forward
[::1]: --reverse: `[::1]` is not a reverse forward
x=y=5000: --reverse: `x=y=5000` is not a reverse forward
a/b=5000: --reverse: `a/b=5000` is not a reverse forward
localhost:5000: --reverse: `localhost` is not an IP address
224.0.0.1:5000: --reverse: 224.0.0.1 is a multicast address
6443: --reverse: port 6443 of the guest is for k3s: the Kubernetes API
5000:unix:: --reverse: this is not the path of a socket
api=5000: --reverse: a forward has the name `api` too
8080:127.0.0.1:8080: accepted
");
}

#[test]
fn a_flag_replaces_what_the_file_says_under_its_name() {
    let file = config(
        "[[cluster.a.reverse]]\nname = \"x\"\nguest = 1000\n[[cluster.a.reverse]]\nguest = 2000\n",
    )
    .unwrap();
    let overrides = Overrides {
        reverse: vec!["x=3000".to_owned()],
        ..Overrides::default()
    };
    let config = file.with_overrides(None, &overrides).unwrap();
    let shown: Vec<_> = config.clusters[0].0.reverse.iter().map(shown).collect();
    assert_eq!(
        shown,
        [
            "reverse-2000 127.0.0.1:2000 127.0.0.1:2000",
            "x 127.0.0.1:3000 127.0.0.1:3000"
        ]
    );
}

#[test]
fn mistakes_are_shown_where_they_are() {
    assert_snapshot!(report("[[cluster.a.reverse]]\nname = \"x\"\n"), @r#"
 × a reverse forward needs the port that the guest listens on
  ╭─[/p/lkc.toml:1:1]
1 │ [[cluster.a.reverse]]
  · ─────────────────────
2 │ name = "x"
  ╰────
 help: write guest = 5000, and host = 5000 if it differs
"#);
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 5000\nport = 1\n"), @"
 × unknown key `port` in [[reverse]]
  ╭─[/p/lkc.toml:3:1]
2 │ guest = 5000
3 │ port = 1
  · ────
  ╰────
 help: [[reverse]] has the keys name, guest, host, bind
");
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 5000\nhost = true\n"), @r#"
 × expected a port, "ADDRESS:PORT" or "unix:PATH", found true or false
  ╭─[/p/lkc.toml:3:8]
2 │ guest = 5000
3 │ host = true
  ·        ────
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 10250\n"), @"
 × port 10250 of the guest is for k3s: the kubelet
  ╭─[/p/lkc.toml:2:9]
1 │ [[cluster.a.reverse]]
2 │ guest = 10250
  ·         ─────
  ╰────
 help: write another port for `guest`
");
    assert_snapshot!(report("[cluster.a.k3s]\nsettings = { \"https-listen-port\" = 7443 }\n[[cluster.a.reverse]]\nguest = 7443\n"), @"
 × port 7443 of the guest is for k3s: `https-listen-port=7443`
  ╭─[/p/lkc.toml:4:9]
3 │ [[cluster.a.reverse]]
4 │ guest = 7443
  ·         ────
  ╰────
 help: write another port for `guest`
");
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 5000\nbind = \"localhost\"\n"), @r#"
 × `localhost` is not an IP address
  ╭─[/p/lkc.toml:3:8]
2 │ guest = 5000
3 │ bind = "localhost"
  ·        ───────────
  ╰────
 help: write an address of the guest, "node" for the node's, or "0.0.0.0" for
       all
"#);
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 5000\nhost = \"/run/x.sock\"\n"), @r#"
 × `/run/x.sock` is not a target on this host
  ╭─[/p/lkc.toml:3:8]
2 │ guest = 5000
3 │ host = "/run/x.sock"
  ·        ─────────────
  ╰────
 help: a target is a port, ADDRESS:PORT, [IPV6]:PORT or unix:PATH
"#);
    let long = "x".repeat(120);
    assert_snapshot!(report(&format!("[[cluster.a.reverse]]\nguest = 5000\nhost = \"unix:/{long}\"\n")), @r#"
 × the path of a unix socket has at most 103 bytes
  ╭─[/p/lkc.toml:3:8]
2 │ guest = 5000
3 │ host = "unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  ·        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.reverse]]\nguest = 5000\n\n[[cluster.a.reverse]]\nname = \"x\"\nguest = 5000\nbind = \"0.0.0.0\"\n"), @r#"
 × the reverse forwards `reverse-5000` and `x` have the same guest port 5000
  ╭─[/p/lkc.toml:2:9]
1 │ [[cluster.a.reverse]]
2 │ guest = 5000
  ·         ──┬─
  ·           ╰── the other one
3 │ 
  ╰────
  ╭─[/p/lkc.toml:6:9]
5 │ name = "x"
6 │ guest = 5000
  ·         ────
7 │ bind = "0.0.0.0"
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.reverse]]\nname = \"x\"\nguest = 5000\n\n[[cluster.a.reverse]]\nname = \"x\"\nguest = 5001\n"), @r#"
 × two reverse forwards have the name `x`
  ╭─[/p/lkc.toml:3:9]
2 │ name = "x"
3 │ guest = 5000
  ·         ──┬─
  ·           ╰── the other one
4 │ 
5 │ [[cluster.a.reverse]]
6 │ name = "x"
  ·        ───
7 │ guest = 5001
  ╰────
"#);
    assert_snapshot!(report("[[cluster.a.forward]]\nname = \"db\"\nhost = 5432\n\n[[cluster.a.reverse]]\nname = \"db\"\nguest = 5000\n"), @r#"
 × a forward has the name `db` too
  ╭─[/p/lkc.toml:3:8]
2 │ name = "db"
3 │ host = 5432
  ·        ──┬─
  ·          ╰── the forward
4 │ 
5 │ [[cluster.a.reverse]]
6 │ name = "db"
  ·        ────
7 │ guest = 5000
  ╰────
"#);
}

#[test]
fn connections_that_would_go_round_for_ever_are_refused() {
    let round = |forward: &str, reverse: &str| {
        config(&format!(
            "[[cluster.a.forward]]\n{forward}\n[[cluster.a.reverse]]\n{reverse}\n"
        ))
        .err()
        .map(|error| error.to_string())
    };
    assert_snapshot!(round("host = 5000", "guest = 5000").unwrap_or_default(), @"/p/lkc.toml:4:9: `reverse-5000` leads to the forward `port-5000`, which leads back to it");
    for (forward, reverse) in [
        ("host = 5000", "guest = 5000\nhost = \"localhost:5000\""),
        ("host = 5000", "guest = 5000\nbind = \"0.0.0.0\""),
        (
            "host = 5000\nguest = \"192.100.0.10:5000\"",
            "guest = 5000\nbind = \"node\"",
        ),
        ("host = 5000\nbind = [\"0.0.0.0\"]", "guest = 5000"),
    ] {
        assert!(round(forward, reverse).is_some(), "{forward} {reverse}");
    }
    for (forward, reverse) in [
        ("host = 5000", "guest = 5000\nhost = 5001"),
        ("host = 5000\nguest = 5001", "guest = 5000"),
        ("host = 5000", "guest = 5000\nhost = \"192.168.1.2:5000\""),
        ("host = 5000", "guest = 5000\nhost = \"unix:/run/5000\""),
        ("host = 5000", "guest = 5000\nbind = \"node\""),
    ] {
        assert_eq!(round(forward, reverse), None, "{forward} {reverse}");
    }
}

#[test]
fn as_many_as_the_guest_takes_at_once() {
    let some = |count: u16| {
        let one = |number| format!("[[cluster.a.reverse]]\nguest = {}\n", 20_000 + number);
        config(&(0..count).map(one).collect::<String>())
    };
    assert_eq!(some(32).unwrap().clusters[0].0.reverse.len(), 32);
    assert_snapshot!(some(33).unwrap_err(), @"/p/lkc.toml:65:1: more than 32 reverse forwards");
}

#[test]
fn what_opens_this_host_to_more_than_the_guest_itself_is_warned_of() {
    let config = config(
        "[[cluster.a.reverse]]\nguest = 5000\nbind = \"0.0.0.0\"\n\
         [[cluster.a.reverse]]\nguest = 30000\nhost = \"unix:/run/x.sock\"\nbind = \"node\"\n",
    )
    .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(warnings.join("\n"), @"
cluster a: `reverse-5000` listens on every address of the guest: everyone who reaches one of them reaches 127.0.0.1:5000 of this host
cluster a: the guest port 30000 of `reverse-30000` is in the range of NodePort services, one of which may take its connections
");
}

#[test]
fn two_clusters_may_listen_on_the_same_port_of_their_guests() {
    config("[[cluster.a.reverse]]\nguest = 5000\n[cluster.b]\nindex = 1\n[[cluster.b.reverse]]\nguest = 5000\n").unwrap();
}

#[test]
fn a_specification_of_before_has_none() {
    let spec = no_config().clusters.remove(0).0;
    let mut json = serde_json::to_value(&spec).unwrap();
    json.as_object_mut().unwrap().remove("reverse");
    assert_eq!(serde_json::from_value::<ClusterSpec>(json).unwrap(), spec);
}
