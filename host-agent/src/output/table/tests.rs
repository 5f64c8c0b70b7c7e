use super::*;
use crate::{control::ClockStatus, output::sample};

#[test]
fn every_cluster_is_a_line() {
    let mut other = sample::starting();
    (other.name, other.index) = ("k3s-capi".parse().unwrap(), 1);
    let mut third = sample::failed();
    (third.name, third.index) = ("broken".parse().unwrap(), 2);
    let mut fourth = sample::down();
    (fourth.name, fourth.index) = ("asleep".parse().unwrap(), 3);
    let table = cluster_table(&[sample::up(), other, third, fourth], Paint::PLAIN);
    insta::assert_snapshot!(table, @r"
    CLUSTER   INDEX  PHASE     READY    API                     DETAIL
    k3s-dev   0      up        system   https://127.0.0.1:6443  simulated k3s
    k3s-capi  1      starting  k3s      https://127.0.0.1:6443  api progressing: /readyz answers 500: etcd failed
    broken    2      failed    network  https://127.0.0.1:6443  k3s failed: exited 3 times in 10 s, last with code 1\u{1b}[…
    asleep    3      down      -        -
    ");
}

#[test]
fn one_cluster_in_full() {
    insta::assert_snapshot!(cluster_view(&sample::asked(), Paint::PLAIN, 100), @"
    k3s-dev  up
      index       0
      machine     sandbox (user namespace), pid 4242
      link        up, unix:/run/user/1000/lkc/k3s-dev/agent.sock
      agent       lkc-guest 0.1.0
      node        k3s-dev, NixOS 26.05 (Yarara), Linux 6.18.2, up 3 d 4 h
      in use      memory 503 MiB of 1.9 GiB, load 0.52 1.58 0.05 on 2 CPUs, / 7.9 GiB of 19.5 GiB
      k3s         v1.33.1+k3s1, simulated: no container runs
      kubeconfig  /home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig
      api         this cluster answers on this host (3 ms)

    Steps
      ✓ sandbox    started                                     0.2 s
      ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
      ✓ network    192.100.0.10/24 on eth0                     0.3 s
      ✓ k3s        running (simulated; no containers)          0.4 s
      ✓ api        /readyz ok                                  0.9 s
      ✓ node       k3s-dev Ready                               1.4 s
      ✓ system     3 of 3 available                            2.0 s

    FORWARD    PROTOCOL  LISTENS ON                 GUEST           STATE      OPEN  PARKED  TOTAL  REFUSED  FAILED  DROPPED  SENT     RECEIVED  LAST ERROR
    api        tcp       127.0.0.1:6443,[::1]:6443  127.0.0.1:6443  listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    http       tcp       127.0.0.1:8080,[::1]:8080  127.0.0.1:80    listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    port-5432  tcp       127.0.0.1:5432,[::1]:5432  127.0.0.1:5432  listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    ");
}

#[test]
fn an_api_that_does_not_answer_is_told_with_the_layer() {
    let mut cluster = sample::up();
    let probe = cluster.forwards[0].probe.as_mut().unwrap();
    (probe.ok, probe.latency_ms) = (false, None);
    probe.detail = "carrier: parked: there is no link to the guest".into();
    let view = cluster_view(&cluster, Paint::PLAIN, 100);
    let line = "  api         does not answer on this host: carrier: parked: there is no link to the guest\n";
    assert!(view.contains(line), "{view}");
}

#[test]
fn a_failed_cluster_shows_its_log() {
    insta::assert_snapshot!(cluster_view(&sample::failed(), Paint::PLAIN, 100), @r#"
    k3s-dev  failed
      index       0
      machine     sandbox (user namespace), pid 4242
      link        up, unix:/run/user/1000/lkc/k3s-dev/agent.sock
      agent       lkc-guest 0.1.0
      k3s         v1.33.1+k3s1, simulated: no container runs
      kubeconfig  not written yet
      api         this cluster answers on this host (3 ms)

    Steps
      ✓ sandbox    started                                     0.2 s
      ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
      ✓ network    192.100.0.10/24 on eth0                     0.3 s
      ✗ k3s        exited 3 times in 10 s, last with code 1\u{1b}[2J
      ? api        /readyz answers 500: etcd failed
      ? node       waits for the rung below
      ? system     waits for the rung below
            level=fatal msg="no \u{1b}[31mspace"
            exit status 1

    FORWARD    PROTOCOL  LISTENS ON                 GUEST           STATE      OPEN  PARKED  TOTAL  REFUSED  FAILED  DROPPED  SENT     RECEIVED  LAST ERROR
    api        tcp       127.0.0.1:6443,[::1]:6443  127.0.0.1:6443  listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    http       tcp       127.0.0.1:8080,[::1]:8080  127.0.0.1:80    listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    port-5432  tcp       127.0.0.1:5432,[::1]:5432  127.0.0.1:5432  listening  1     0       7      1        1       0        2.0 KiB  5.0 MiB   target: connection refused
    "#);
}

#[test]
fn a_cluster_that_is_down() {
    insta::assert_snapshot!(cluster_view(&sample::down(), Paint::PLAIN, 100), @"
    k3s-dev  down
      index       0
      machine     sandbox, not running
      link        down
      kubeconfig  /home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig

    Steps
      · sandbox
      · agent
      · network
      · k3s
      · api
      · node
      · system
    ");
}

#[test]
fn a_clock_that_is_wrong_is_said() {
    let shown = |skew: i64, clock: Option<ClockStatus>| {
        let mut cluster = sample::asked();
        if let Some(node) = &mut cluster.node {
            (node.clock_skew_ms, node.clock) = (skew, clock);
        }
        let view = cluster_view(&cluster, Paint::PLAIN, 100);
        let line = view.lines().find(|line| line.starts_with("  clock"));
        line.unwrap_or("nothing").to_owned()
    };
    let was = |off_ms, why_not: Option<&str>| {
        Some(ClockStatus {
            off_ms,
            why_not: why_not.map(str::to_owned),
        })
    };
    let kept = Some("the guest keeps its own\u{7} clock");
    let lines = [
        shown(-8 * 3_600_000, None),
        shown(2_300, None),
        shown(-2_000, None),
        shown(i64::MIN, None),
        shown(-3_600_100, was(-3_600_000, kept)),
        shown(0, was(-3_600_000, kept)),
        shown(3, was(-8 * 3_600_000, None)),
        shown(-60_000, was(-8 * 3_600_000, None)),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
      clock       8 h 0 min behind this host's: certificates made since then are not valid there yet
      clock       2.3 s ahead of this host's: what it signs is not valid here yet
    nothing
      clock       106751991167 d 7 h behind this host's: certificates made since then are not valid there yet
      clock       1 h 0 min behind this host's: certificates made since then are not valid there yet; not set: the guest keeps its own\u{7} clock
    nothing
      clock       right; it was 8 h 0 min behind this host's, and was set
      clock       1 min 0 s behind this host's: certificates made since then are not valid there yet
    ");
}
