//! What `up` says at its end: how to reach the cluster and what to type next.

use std::{os::unix::ffi::OsStrExt as _, path::Path, time::Duration};

use lkc_protocol::message::{Cni, Rung};

use super::{Paint, reverse::reverse_line, steps::reached, steps::seconds};
use crate::{
    config::{ClusterName, Driver, ForwardSpec},
    control::{ClusterStatus, Done, ForwardState, ForwardStatus},
    sanitize,
};

/// How an `up` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The goal is met.
    Reached,
    /// Nobody wanted to wait.
    NotAwaited,
}

/// The closing words of `up` and `restart`.
#[must_use]
pub fn closing(status: &ClusterStatus, done: &Done, how: Closing, paint: Paint) -> String {
    let mut lines = vec![headline(status, done, how)];
    if let Some(k3s) = status.k3s.as_ref().filter(|k3s| k3s.simulated) {
        let version = sanitize::line(&k3s.version);
        lines.push(format!(
            "{} k3s is simulated ({version}): its API answers, but no container runs.",
            paint.yellow("note:")
        ));
        let mend = match status.machine.driver {
            Driver::Sandbox => "A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.",
            Driver::Existing | Driver::Qemu => "That is what its machine has.",
        };
        lines.push(format!("      {mend}"));
    }
    lines.push(String::new());
    match (&status.kubeconfig, &status.kubeconfig_error) {
        (_, Some(error)) => lines.push(format!(
            "  kubeconfig  {} {}",
            paint.red("not written:"),
            sanitize::line(error)
        )),
        (Some(path), None) => lines.push(format!(
            "  kubeconfig  {}",
            sanitize::line(&path.to_string_lossy())
        )),
        (None, None) => lines.push("  kubeconfig  not written yet".to_owned()),
    }
    lines.extend(
        status
            .forwards
            .iter()
            .map(|forward| forward_line(forward, paint)),
    );
    let reverse = status.reverse.iter();
    lines.extend(reverse.map(|reverse| reverse_line(reverse, paint)));
    lines.push(String::new());
    lines.extend(next(status, how));
    lines.join("\n")
}

/// What to do with a cluster that has no pod network.
#[must_use]
pub fn next_without_cni(name: &ClusterName) -> Vec<String> {
    vec![
        "No pod network (cni: none): the node becomes Ready once you install one, for example Cilium:".to_owned(),
        format!("  export KUBECONFIG=$(lkc-host kubeconfig {name} --path)"),
        "  cilium install --set k8sServiceHost=127.0.0.1 --set k8sServicePort=6443".to_owned(),
        format!("  lkc-host wait {name} --for node"),
        "(127.0.0.1:6443 is the API as the node itself sees it, whatever the port on this host.)".to_owned(),
    ]
}

fn headline(status: &ClusterStatus, done: &Done, how: Closing) -> String {
    let name = &status.name;
    let elapsed = seconds(Duration::from_millis(done.elapsed_ms));
    let reached = reached(status);
    match how {
        Closing::NotAwaited if reached < Some(Rung::Api) => {
            format!("Cluster {name} is coming up.")
        }
        Closing::Reached if reached < Some(Rung::Api) => {
            let rung = reached.map_or("its machine", Rung::as_str);
            format!("Cluster {name} has come as far as {rung} after {elapsed}.")
        }
        Closing::Reached | Closing::NotAwaited if !done.changed => {
            format!("Cluster {name} is up already; nothing to do.")
        }
        Closing::Reached | Closing::NotAwaited => {
            format!("Cluster {name} is up after {elapsed}.")
        }
    }
}

fn forward_line(forward: &ForwardStatus, paint: Paint) -> String {
    let name = sanitize::line(&forward.name);
    let target = sanitize::line(&forward.target);
    let Some(listen) = forward
        .listen
        .first()
        .map(|address| sanitize::line(address))
    else {
        return format!("  {name:<10}  {}", paint.yellow("closed"));
    };
    let scheme = match forward.name.as_str() {
        ForwardSpec::API | "https" => "https://",
        "http" => "http://",
        _ => "",
    };
    match forward.state {
        ForwardState::Listening => format!("  {name:<10}  {scheme}{listen} → {target}"),
        ForwardState::Closed => format!("  {name:<10}  {} {listen}", paint.yellow("closed:")),
        ForwardState::Failed => {
            let error = sanitize::line(forward.last_error.as_deref().unwrap_or("not bound"));
            format!("  {name:<10}  {} {listen}: {error}", paint.red("failed:"))
        }
    }
}

fn next(status: &ClusterStatus, how: Closing) -> Vec<String> {
    let name = &status.name;
    if how == Closing::NotAwaited && reached(status) < Some(Rung::Api) {
        return vec![
            format!("Next: lkc-host wait {name}"),
            format!("      lkc-host status {name}"),
        ];
    }
    if status.cni == Cni::None && reached(status) < Some(Rung::Node) {
        return next_without_cni(name);
    }
    let mut lines = vec![format!("Next: {}", kubectl_command(name))];
    if let Some(path) = &status.kubeconfig {
        lines.push(format!("      export KUBECONFIG={}", shell_word(path)));
    }
    lines
}

/// The default cluster needs no name.
fn kubectl_command(name: &ClusterName) -> String {
    if name.as_str() == ClusterName::DEFAULT {
        "lkc-host kubectl get nodes".to_owned()
    } else {
        format!("lkc-host kubectl --cluster {name} get nodes")
    }
}

/// A path that a shell takes as one word, and a terminal as text.
fn shell_word(path: &Path) -> String {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+@:,%=".contains(character);
    match path.to_str() {
        Some(text) if text.chars().all(plain) => text.to_owned(),
        Some(text) if sanitize::is_harmless(text) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => {
            let bytes = path.as_os_str().as_bytes().iter();
            let escaped = bytes.map(|&byte| match byte {
                b' '..=b'~' if !b"'\\".contains(&byte) => char::from(byte).to_string(),
                _ => format!("\\{byte:03o}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests;
