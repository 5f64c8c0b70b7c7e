//! What a cluster came up with last time. Without a configuration file that is what `up` goes by,
//! so that `lkc-host up` continues what `lkc-host up --index 7` began.

use lkc_protocol::message::Cni;

use super::context::Context;
use crate::{
    carrier::ssh,
    config::{ClusterName, ClusterSpec, Encrypt, Overrides, Reach},
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
    let said = complete_vm(said, spec);
    let same_place = said.index.is_none();
    let place = |text: String| Some(text).filter(|_| same_place);
    // A way is one thing: hops of then are not put in front of a carrier of now.
    let (carriers, via) = match &spec.reach {
        Some(reach) if said.carriers.is_empty() => way_of(reach, &said.via),
        _ => (said.carriers, said.via),
    };
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
        guest_key: said.guest_key.or_else(|| {
            let key = spec.reach.as_ref()?.guest_key?;
            Some(key.to_string())
        }),
        ssh_config: said.ssh_config.or_else(|| ssh_of(spec)?.config.clone()),
        accept_new: said.accept_new || ssh_of(spec).is_some_and(|ssh| ssh.accept_new),
        carriers,
        via,
        ..said
    }
}

/// How SSH was spoken; the same for every carrier.
fn ssh_of(spec: &ClusterSpec) -> Option<&ssh::Options> {
    let reach = spec.reach.as_ref()?;
    reach.carriers.first().map(|route| &route.ssh)
}

/// The carriers as flags, and their hops, unless others are said.
fn way_of(reach: &Reach, said: &[String]) -> (Vec<String>, Vec<String>) {
    let carriers = reach.carriers.iter().map(|route| route.carrier.to_string());
    let via = match reach.carriers.first() {
        Some(route) if said.is_empty() => route.via.iter().map(ToString::to_string).collect(),
        _ => said.to_vec(),
    };
    (carriers.collect(), via)
}

/// What a virtual machine is made of, unless it becomes something else.
fn complete_vm(said: Overrides, spec: &ClusterSpec) -> Overrides {
    let stays = said
        .driver
        .as_ref()
        .is_none_or(|driver| *driver == spec.driver.to_string())
        && said.carriers.is_empty();
    let Some(vm) = spec.vm.as_ref().filter(|_| stays) else {
        return said;
    };
    let mib = |mib: u32| format!("{mib}MiB");
    Overrides {
        image: said.image.or_else(|| Some(vm.image.to_string())),
        cpus: said.cpus.or(Some(i64::from(vm.cpus))),
        memory: said.memory.or_else(|| Some(mib(vm.memory_mib))),
        disk: said.disk.or_else(|| vm.disk_mib.map(mib)),
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

    #[test]
    fn the_way_to_a_machine_is_remembered_until_another_is_said() {
        let paths = crate::paths::Paths::from_env(&|_| Some("/nowhere".into()), 0).unwrap();
        let config = crate::config::load(None, std::path::Path::new("/nowhere"), &paths).unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let first = Overrides {
            carriers: texts(&["tcp:10.0.0.2:7000", "vsock:52:5000"]),
            via: texts(&["exec:limactl shell colima"]),
            ..Overrides::default()
        };
        let config = config.with_overrides(None, &first).unwrap();
        let (spec, _) = config.cluster(None).unwrap();
        assert_eq!(spec.driver, crate::config::Driver::Existing);
        let again = complete(Overrides::default(), spec);
        assert_eq!((&again.carriers, &again.via), (&first.carriers, &first.via));
        let direct = Overrides {
            carriers: texts(&["unix:/a.sock"]),
            ..Overrides::default()
        };
        let direct = complete(direct, spec);
        assert_eq!((direct.carriers.len(), direct.via.len()), (1, 0));
    }
}
