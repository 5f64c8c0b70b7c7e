use lkc_protocol::message::RungState;

use super::*;
use crate::{control::Phase, output::sample};

const DONE: Done = Done {
    changed: true,
    elapsed_ms: 1_410,
};

fn text(status: &ClusterStatus, done: &Done, how: Closing) -> String {
    closing(status, done, how, Paint::PLAIN)
}

#[test]
fn a_cluster_that_came_up() {
    insta::assert_snapshot!(text(&sample::up(), &DONE, Closing::Reached), @"
    Cluster k3s-dev is up after 1.4 s.
    note: k3s is simulated (v1.33.1+k3s1): its API answers, but no container runs.
          A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.

      kubeconfig  /home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig
      api         https://127.0.0.1:6443 → 127.0.0.1:6443
      http        http://127.0.0.1:8080 → 127.0.0.1:80
      port-5432   127.0.0.1:5432 → 127.0.0.1:5432

    Next: lkc-host kubectl get nodes
          export KUBECONFIG=/home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig
    ");
}

#[test]
fn a_cluster_that_was_up_says_so() {
    let mut status = sample::up();
    status.k3s.as_mut().unwrap().simulated = false;
    status.name = "k3s-capi".parse().unwrap();
    status.kubeconfig = Some("/home/my user/kubeconfig".into());
    let done = Done {
        changed: false,
        elapsed_ms: 3,
    };
    insta::assert_snapshot!(text(&status, &done, Closing::Reached), @"
    Cluster k3s-capi is up already; nothing to do.

      kubeconfig  /home/my user/kubeconfig
      api         https://127.0.0.1:6443 → 127.0.0.1:6443
      http        http://127.0.0.1:8080 → 127.0.0.1:80
      port-5432   127.0.0.1:5432 → 127.0.0.1:5432

    Next: lkc-host kubectl --cluster k3s-capi get nodes
          export KUBECONFIG='/home/my user/kubeconfig'
    ");
}

#[test]
fn a_path_that_acts_on_a_terminal_is_written_as_a_shell_reads_it() {
    let mut status = sample::up();
    status.kubeconfig = Some("/home/it's\u{7f}\\\u{1b}[2J/ä".into());
    let text = text(&status, &DONE, Closing::Reached);
    assert!(text.lines().all(sanitize::is_harmless), "{text:?}");
    let word = text.split_once("KUBECONFIG=").unwrap().1;
    assert_eq!(word, r"$'/home/it\047s\177\134\033[2J/\303\244'");
    assert_eq!(shell_word(Path::new("/ä b/it's")), r"'/ä b/it'\''s'");
}

#[test]
fn a_cluster_without_pod_network_gets_the_next_step() {
    let mut status = sample::starting();
    status.cni = Cni::None;
    status.phase = Phase::Up;
    for step in &mut status.steps {
        if step.rung == Some(Rung::Api) {
            step.state = RungState::Ready;
        }
    }
    insta::assert_snapshot!(text(&status, &DONE, Closing::Reached), @"
    Cluster k3s-dev is up after 1.4 s.
    note: k3s is simulated (v1.33.1+k3s1): its API answers, but no container runs.
          A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.

      kubeconfig  not written yet
      api         https://127.0.0.1:6443 → 127.0.0.1:6443
      http        http://127.0.0.1:8080 → 127.0.0.1:80
      port-5432   127.0.0.1:5432 → 127.0.0.1:5432

    No pod network (cni: none): the node becomes Ready once you install one, for example Cilium:
      export KUBECONFIG=$(lkc-host kubeconfig k3s-dev --path)
      cilium install --set k8sServiceHost=127.0.0.1 --set k8sServicePort=6443
      lkc-host wait k3s-dev --for node
    (127.0.0.1:6443 is the API as the node itself sees it, whatever the port on this host.)
    ");
}

#[test]
fn nobody_waited() {
    insta::assert_snapshot!(text(&sample::starting(), &DONE, Closing::NotAwaited), @"
    Cluster k3s-dev is coming up.
    note: k3s is simulated (v1.33.1+k3s1): its API answers, but no container runs.
          A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.

      kubeconfig  not written yet
      api         https://127.0.0.1:6443 → 127.0.0.1:6443
      http        http://127.0.0.1:8080 → 127.0.0.1:80
      port-5432   127.0.0.1:5432 → 127.0.0.1:5432

    Next: lkc-host wait k3s-dev
          lkc-host status k3s-dev
    ");
}

#[test]
fn what_went_wrong_beside_the_goal_is_said() {
    let mut status = sample::up();
    status.k3s = None;
    status.kubeconfig_error = Some("the client certificate is no PEM \u{1b}[0m".into());
    status.forwards[0].state = ForwardState::Failed;
    status.forwards[0].last_error = Some("host: address in use".into());
    status.forwards[1].listen.clear();
    status.forwards[2].state = ForwardState::Closed;
    insta::assert_snapshot!(text(&status, &DONE, Closing::Reached), @r"
    Cluster k3s-dev is up after 1.4 s.

      kubeconfig  not written: the client certificate is no PEM \u{1b}[0m
      api         failed: 127.0.0.1:6443: host: address in use
      http        closed
      port-5432   closed: 127.0.0.1:5432

    Next: lkc-host kubectl get nodes
          export KUBECONFIG=/home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig
    ");
}
