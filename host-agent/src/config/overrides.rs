//! What the command line says of a cluster, over what the file says.

use std::path::PathBuf;

use super::{
    cluster::VmImage,
    decide::forward_argument,
    draft::{Base, Draft, DraftReach, DraftReverse, PortChoice, WELL_KNOWN},
    place::{Place, Placed},
    problem::Problem,
    suggest::nearest,
};

/// What the command line says of a cluster, as it was typed. It is validated by the same rules as
/// the file, and errors name the flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--index`.
    pub index: Option<i64>,
    /// `--driver`.
    pub driver: Option<String>,
    /// `--address`, with prefix.
    pub address: Option<String>,
    /// `--gateway`.
    pub gateway: Option<String>,
    /// `--mac`.
    pub mac: Option<String>,
    /// `--cni`.
    pub cni: Option<String>,
    /// `--encrypt`.
    pub encrypt: Option<String>,
    /// `--carrier`: in place of those of the file.
    pub carriers: Vec<String>,
    /// `--via`: in place of those of the file.
    pub via: Vec<String>,
    /// `--guest-key`.
    pub guest_key: Option<String>,
    /// `--ssh-config`, relative to the working directory.
    pub ssh_config: Option<PathBuf>,
    /// `--accept-new`.
    pub accept_new: bool,
    /// `--image`: a file, relative to the working directory, or an output of a flake.
    pub image: Option<String>,
    /// `--cpus`.
    pub cpus: Option<i64>,
    /// `--memory`, with unit.
    pub memory: Option<String>,
    /// `--disk`, with unit.
    pub disk: Option<String>,
    /// `--k3s`: the program, relative to the working directory.
    pub k3s_binary: Option<PathBuf>,
    /// `--k3s-setting`: `KEY=VALUE` or `KEY`, in k3s' own words; added to those of the file.
    pub k3s_settings: Vec<String>,
    /// `--port`: `NAME=PORT`, `NAME=on` or `NAME=off` for one of the well-known forwards.
    pub ports: Vec<String>,
    /// `--forward`: `[NAME=][ADDRESS:]HOST_PORT[:[GUEST_HOST:]GUEST_PORT][/PROTOCOL]` or
    /// `[NAME=]unix:PATH:[GUEST_HOST:]GUEST_PORT`, added to those of the file; one of the same name
    /// is replaced.
    pub forwards: Vec<String>,
    /// `--reverse`: `[NAME=][ADDRESS:]GUEST_PORT[:TARGET]`, added to those of the file; one of the
    /// same name is replaced. Sockets are relative to the working directory.
    pub reverse: Vec<String>,
}

impl Overrides {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn apply(&self, draft: &mut Draft, base: &Base<'_>) -> Result<(), Problem> {
        if let Some(index) = self.index {
            draft.index = Some(Placed::new(index, Place::Flag("--index")));
        }
        for (said, flag, field) in [
            (&self.driver, "--driver", &mut draft.driver),
            (&self.address, "--address", &mut draft.address),
            (&self.gateway, "--gateway", &mut draft.gateway),
            (&self.mac, "--mac", &mut draft.mac),
            (&self.cni, "--cni", &mut draft.cni),
            (&self.encrypt, "--encrypt", &mut draft.encrypt),
        ] {
            if let Some(text) = said {
                *field = Some(Placed::new(text.clone(), Place::Flag(flag)));
            }
        }
        self.apply_reach(&mut draft.reach, base);
        self.apply_vm(draft, base);
        if let Some(binary) = &self.k3s_binary {
            draft.k3s_binary = Some(Placed::new(base.resolve(binary), Place::Flag("--k3s")));
        }
        let settings = self.k3s_settings.iter();
        draft
            .k3s_settings
            .extend(settings.map(|text| Placed::new(text.clone(), Place::Flag("--k3s-setting"))));
        self.ports
            .iter()
            .try_for_each(|text| apply_port(text, draft))?;
        self.forwards
            .iter()
            .try_for_each(|text| apply_forward(text, draft, base))?;
        self.reverse
            .iter()
            .try_for_each(|text| apply_reverse(text, draft, base))
    }
}

impl Overrides {
    fn apply_reach(&self, reach: &mut DraftReach, base: &Base<'_>) {
        for (said, flag, field) in [
            (&self.carriers, "--carrier", &mut reach.carriers),
            (&self.via, "--via", &mut reach.via),
        ] {
            if !said.is_empty() {
                *field = said
                    .iter()
                    .map(|text| Placed::new(text.clone(), Place::Flag(flag)))
                    .collect();
            }
        }
        let ssh = &mut reach.ssh;
        if let Some(config) = &self.ssh_config {
            ssh.config = Some(base.resolve(config));
            ssh.place = Some(Place::Flag("--ssh-config"));
        }
        if self.accept_new {
            ssh.accept_new = true;
            ssh.place = Some(Place::Flag("--accept-new"));
        }
        if let Some(key) = &self.guest_key {
            reach.guest_key = Some(Placed::new(key.clone(), Place::Flag("--guest-key")));
        }
    }

    fn apply_vm(&self, draft: &mut Draft, base: &Base<'_>) {
        let vm = &mut draft.vm;
        if let Some(text) = &self.image {
            let image = VmImage::named(text, |path| base.resolve(path));
            vm.image = Some(Placed::new(image, Place::Flag("--image")));
        }
        if let Some(cpus) = self.cpus {
            vm.cpus = Some(Placed::new(cpus, Place::Flag("--cpus")));
        }
        for (said, flag, field) in [
            (&self.memory, "--memory", &mut vm.memory),
            (&self.disk, "--disk", &mut vm.disk),
        ] {
            if let Some(text) = said {
                *field = Some(Placed::new(text.clone(), Place::Flag(flag)));
            }
        }
    }
}

fn apply_port(text: &str, draft: &mut Draft) -> Result<(), Problem> {
    let place = Place::Flag("--port");
    let names = WELL_KNOWN.map(|known| known.name);
    let Some((name, choice)) = text.split_once('=') else {
        return Err(
            Problem::at(&place, format!("`{text}` is not NAME=PORT or NAME=off"))
                .help(format!("the names are {}", names.join(", "))),
        );
    };
    let Some(position) = names.iter().position(|known| *known == name) else {
        let problem = Problem::at(&place, format!("no port has the name `{name}`"));
        return Err(match nearest(name, names) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem.help(format!(
                "the names are {}; for others use --forward",
                names.join(", ")
            )),
        });
    };
    let choice =
        match choice {
            "off" => PortChoice::Off,
            "on" => PortChoice::Usual,
            number => PortChoice::Port(number.parse().map_err(|_| {
                Problem::at(&place, format!("`{number}` is neither a port nor off"))
            })?),
        };
    draft.ports[position] = Some(Placed::new(choice, place));
    Ok(())
}

fn apply_forward(text: &str, draft: &mut Draft, base: &Base<'_>) -> Result<(), Problem> {
    let forward = forward_argument(text, &Place::Flag("--forward"), base)?;
    if let Some(name) = &forward.name {
        let same = |earlier: &Placed<String>| {
            earlier.value == name.value && matches!(earlier.place, Place::File(_))
        };
        draft
            .forwards
            .retain(|earlier| !earlier.name.as_ref().is_some_and(same));
    }
    draft.forwards.push(forward);
    Ok(())
}

fn apply_reverse(text: &str, draft: &mut Draft, base: &Base<'_>) -> Result<(), Problem> {
    let reverse = DraftReverse::argument(text, &Place::Flag("--reverse"), base)?;
    if let Some(name) = &reverse.name {
        let same = |earlier: &Placed<String>| {
            earlier.value == name.value && matches!(earlier.place, Place::File(_))
        };
        draft
            .reverse
            .retain(|earlier| !earlier.name.as_ref().is_some_and(same));
    }
    draft.reverse.push(reverse);
    Ok(())
}
