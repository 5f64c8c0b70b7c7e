//! What a cluster came up with last time. Without a configuration file that is what `up` goes by,
//! so that `lkc-host up` continues what `lkc-host up --index 7` began.

use lkc_protocol::message::Cni;

use super::context::Context;
use crate::{
    config::{ClusterName, ClusterSpec, Encrypt, Overrides},
    error::{CommandError, Kind},
    paths::private::{ReadError, read_bounded},
};

/// Longest specification read, in bytes; one with a thousand forwards is under it.
const LONGEST: usize = 1024 * 1024;

/// The specification that `cluster` came up with, none when it never did.
pub(super) fn read(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Option<ClusterSpec>, CommandError> {
    let path = context.paths.cluster(cluster).spec();
    let unusable = |error: CommandError| {
        error
            .context(format!("cannot use {}", path.display()))
            .hint(format!(
                "`lkc-host delete {cluster}` removes it, with the cluster's data"
            ))
    };
    match read_bounded(&path, LONGEST) {
        Err(ReadError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(CommandError::new(Kind::HostIo, error))),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| unusable(CommandError::new(Kind::BadInput, error))),
    }
}

/// The flags, with what was decided last time where nothing is said. A new index decides the
/// address anew.
pub(super) fn complete(said: Overrides, spec: &ClusterSpec) -> Overrides {
    let same_place = said.index.is_none();
    let place = |text: String| Some(text).filter(|_| same_place);
    Overrides {
        index: said.index.or(Some(i64::from(spec.index))),
        address: said
            .address
            .or_else(|| place(format!("{}/{}", spec.address, spec.prefix))),
        mac: said.mac.or_else(|| place(spec.mac.to_string())),
        cni: said
            .cni
            .or_else(|| (spec.cni != Cni::Default).then(|| spec.cni.to_string())),
        encrypt: said
            .encrypt
            .or_else(|| (spec.encrypt == Encrypt::Always).then(|| spec.encrypt.to_string())),
        k3s_binary: said.k3s_binary.or_else(|| spec.k3s.binary.clone()),
        ..said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_what_was() {
        let paths = crate::paths::Paths::from_env(&|_| Some("/nowhere".into()), 0).unwrap();
        let config = crate::config::load(None, std::path::Path::new("/nowhere"), &paths).unwrap();
        let first = Overrides {
            index: Some(7),
            cni: Some("none".into()),
            ..Overrides::default()
        };
        let config = config.with_overrides(None, &first).unwrap();
        let (spec, _) = config.cluster(None).unwrap();
        let again = complete(Overrides::default(), spec);
        let same = config.with_overrides(None, &again).unwrap();
        assert_eq!(&same.cluster(None).unwrap().0, spec);
        let moved = complete(
            Overrides {
                index: Some(3),
                ..Overrides::default()
            },
            spec,
        );
        assert_eq!(
            (moved.index, moved.address, moved.mac),
            (Some(3), None, None)
        );
        assert_eq!(moved.cni.as_deref(), Some("none"));
    }
}
