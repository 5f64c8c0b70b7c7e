//! How k3s is run.

use super::super::{cluster::K3sSpec, draft::Draft, place::Placed, problem::Problem};

/// Entries of one list in `[k3s]`.
const MOST_ENTRIES: usize = 64;
/// Bytes of one setting.
const LONGEST_SETTING: usize = 1024;

/// Settings that follow from others here, with what to write instead.
const DECIDED_ELSEWHERE: [(&str, &str); 7] = [
    ("node-name", "the cluster's name decides it"),
    ("node-ip", "write address in [cluster.NAME]"),
    ("flannel-iface", "write interface in [cluster.NAME]"),
    ("tls-san", "write tls-san in [cluster.NAME.k3s]"),
    ("disable", "write disable in [cluster.NAME.k3s]"),
    ("server", "the first node of a cluster joins no server"),
    ("token", "the first node of a cluster makes its own token"),
];

pub(super) fn decide(draft: &Draft) -> Result<K3sSpec, Problem> {
    Ok(K3sSpec {
        binary: draft.k3s_binary.as_ref().map(|said| said.value.clone()),
        disable: checked(&draft.k3s_disable, component)?,
        tls_san: checked(&draft.k3s_tls_san, server_name)?,
        settings: checked(&draft.k3s_settings, setting)?,
    })
}

fn checked(
    said: &[Placed<String>],
    check: fn(&str) -> Result<(), String>,
) -> Result<Vec<String>, Problem> {
    if let Some(first_over) = said.get(MOST_ENTRIES) {
        return Err(Problem::at(
            &first_over.place,
            format!("more than {MOST_ENTRIES} entries"),
        ));
    }
    for said in said {
        check(&said.value).map_err(|message| Problem::at(&said.place, message))?;
    }
    Ok(said.iter().map(|said| said.value.clone()).collect())
}

fn component(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !name.is_empty() && name.len() <= 63 && name.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is not a component of k3s: they are named like traefik or local-storage"
        ))
    }
}

fn server_name(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-.*:".contains(&byte);
    if !name.is_empty() && name.len() <= 253 && name.bytes().all(legal) {
        Ok(())
    } else {
        Err(format!("`{name}` is neither a host name nor an IP address"))
    }
}

fn setting(text: &str) -> Result<(), String> {
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let named = key
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase());
    if !named || key.len() > 63 || !key.bytes().all(legal) {
        return Err(format!(
            "`{key}` is not a setting of k3s: they are its options without `--`"
        ));
    }
    if let Some((_, instead)) = DECIDED_ELSEWHERE
        .iter()
        .find(|(decided, _)| *decided == key)
    {
        return Err(format!("`{key}` cannot be set here: {instead}"));
    }
    if text.ends_with('=') && text.len() == key.len() + 1 {
        return Err(format!(
            "the setting `{key}` has no value: leave it out to keep k3s' own"
        ));
    }
    if text.len() > LONGEST_SETTING {
        return Err(format!(
            "the setting `{key}` is longer than {LONGEST_SETTING} bytes"
        ));
    }
    if text.contains(char::is_control) {
        return Err(format!("the setting `{key}` contains a control character"));
    }
    Ok(())
}
