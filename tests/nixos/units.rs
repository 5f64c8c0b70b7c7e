//! The units that the module makes are the packaged ones, which the test machines run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{evaluated, root};

/// Each section's settings: a name and its values in their order.
type Unit = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[test]
fn the_module_and_the_packages_have_the_same_units() {
    let Some(made) = evaluated("guest.nix") else {
        return;
    };
    let made = made["units"].as_object().unwrap();
    let mut compared: Vec<_> = made.keys().cloned().collect();
    for (name, unit) in made {
        let mut ours = of_nix(unit);
        let mut packaged = read(&packaged_dir().join(name));
        if name.ends_with(".service") {
            let arguments = |unit: &mut Unit| {
                let line = unit.get_mut("Service").unwrap().remove("ExecStart");
                let line = line.unwrap().concat().replace('"', "");
                let (program, arguments) = line.split_once(' ').unwrap();
                assert!(program.ends_with("/bin/lkc-guest"), "{line}");
                arguments.to_owned()
            };
            assert_eq!(arguments(&mut ours), arguments(&mut packaged));
        }
        assert_eq!(ours, packaged, "{name}");
    }
    // No file is left out of the comparison; these have no settings.
    compared.extend(["sysusers.conf", "tmpfiles.conf", "udev.rules"].map(str::to_owned));
    compared.sort();
    assert_eq!(compared, names_in(&packaged_dir()));
}

#[test]
fn the_test_machine_runs_the_packaged_units() {
    let guest = root().join("tests/vm/guest");
    let own = names_in(&guest);
    for packaged in names_in(&packaged_dir()) {
        assert!(!own.contains(&packaged), "{packaged} has a copy");
    }
    let drop_in = read(&guest.join("lkc-guest.conf"));
    let said: Vec<_> = drop_in.values().flat_map(BTreeMap::keys).collect();
    assert_eq!(said, ["ExecStart", "StandardError", "RequiresMountsFor"]);
}

fn packaged_dir() -> PathBuf {
    root().join("guest-agent/systemd")
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> Unit {
    let mut unit = Unit::new();
    let mut section = String::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            name.strip_suffix(']').unwrap().clone_into(&mut section);
            continue;
        }
        let (name, value) = line.split_once('=').unwrap();
        let settings = unit.entry(section.clone()).or_default();
        let values = settings.entry(name.to_owned()).or_default();
        values.push(value.to_owned());
    }
    unit
}

fn of_nix(unit: &Value) -> Unit {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let values = |value: &Value| match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let settings = |section: &Value| {
        let settings = section.as_object().unwrap();
        settings
            .iter()
            .map(|(name, value)| (name.clone(), values(value)))
            .collect()
    };
    let sections = unit.as_object().unwrap();
    sections
        .iter()
        .map(|(name, section)| (name.clone(), settings(section)))
        .collect()
}
