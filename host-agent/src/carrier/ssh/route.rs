//! Which hosts a destination is reached through.

use std::path::Path;

use super::{
    error::SshError,
    expand::LocalUser,
    settings::{Settings, SettingsError, query},
    target::Target,
};

/// Most hosts of a chain, the destination included.
const MAX_HOPS: usize = 8;

/// The hosts to connect to, one through the other, the last of `targets` at the end. Only the first
/// may need a proxy command.
///
/// A chain reads as ssh reads it: the first of its hosts may have a chain of its own, the others
/// are reached from the one before them.
///
/// # Errors
/// A configuration that cannot be used, a chain that is too long or leads in a circle.
pub(super) async fn route(
    targets: &[Target],
    file: Option<&Path>,
    local: &LocalUser,
) -> Result<Vec<Settings>, SshError> {
    let mut hops = Vec::new();
    // Those whose settings are still to be read; the one nearest to the destination last.
    let mut ahead = targets.to_vec();
    while let Some(target) = ahead.pop() {
        let unusable = |source| SshError::Settings {
            target: target.clone(),
            source,
        };
        let mut settings = query(&target, file, local).await.map_err(unusable)?;
        let chain = std::mem::take(&mut settings.jump);
        if ahead.is_empty() {
            ahead = chain;
        }
        if !ahead.is_empty() {
            settings.proxy_command = None;
        }
        hops.push(settings);
        if hops.len() + ahead.len() > MAX_HOPS {
            return Err(unusable(SettingsError::Chain(MAX_HOPS)));
        }
    }
    hops.reverse();
    Ok(hops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::ssh::expand::tests::local;

    async fn hosts(config: &str, to: &str) -> Option<Result<Vec<Settings>, SshError>> {
        if std::process::Command::new("ssh")
            .arg("-V")
            .output()
            .is_err()
        {
            eprintln!("skipped: no ssh program");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        std::fs::write(&file, config).unwrap();
        let targets: Vec<_> = to.split(',').map(|to| to.parse().unwrap()).collect();
        Some(route(&targets, Some(&file), &local()).await)
    }

    fn names(hops: &[Settings]) -> Vec<&str> {
        hops.iter().map(|hop| hop.written.as_str()).collect()
    }

    #[tokio::test]
    async fn the_hosts_of_a_chain_come_in_order_and_the_first_may_have_its_own() {
        let config = "Host end\n ProxyJump a,b\nHost a\n ProxyJump before\n\
                      Host b\n ProxyJump ignored\nHost before\n ProxyCommand nc %h %p\n";
        let Some(hops) = hosts(config, "end").await else {
            return;
        };
        let hops = hops.unwrap();
        assert_eq!(names(&hops), ["before", "a", "b", "end"]);
        let proxies: Vec<_> = hops.iter().map(|hop| hop.proxy_command.is_some()).collect();
        assert_eq!(proxies, [true, false, false, false]);
    }

    #[tokio::test]
    async fn hosts_that_are_named_come_behind_the_chain_of_the_first() {
        let config = "Host end\n ProxyJump ignored\nHost a\n ProxyJump before\n";
        let Some(hops) = hosts(config, "a,end").await else {
            return;
        };
        assert_eq!(names(&hops.unwrap()), ["before", "a", "end"]);
    }

    #[tokio::test]
    async fn a_circle_ends() {
        let Some(hops) = hosts("Host a\n ProxyJump b\nHost b\n ProxyJump a\n", "a").await else {
            return;
        };
        let error = hops.unwrap_err();
        assert!(
            matches!(
                error,
                SshError::Settings {
                    source: SettingsError::Chain(MAX_HOPS),
                    ..
                }
            ),
            "{error}"
        );
    }
}
