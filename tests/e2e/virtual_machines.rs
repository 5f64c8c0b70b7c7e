//! What is said where a virtual machine cannot be made. Those that can are tests of their own, in
//! `vm`.

use std::{fs, os::unix::fs::PermissionsExt};

use lkc_tests::TestEnv;

use crate::{PROGRAMS, env_with_cluster};

fn env() -> TestEnv {
    let env = TestEnv::new(PROGRAMS);
    let mut cluster = env.cluster("k3s-dev", 0, &[], "driver = \"qemu\"");
    cluster.push_str("[cluster.k3s-dev.vm]\nimage = \"nixos.qcow2\"\n");
    env.configure(&cluster);
    env
}

#[test]
fn an_image_that_is_missing_is_named_with_what_makes_it() {
    let env = env();
    let missing = env.run(&["up"]).exits(10);
    let image = env.work().join("nixos.qcow2");
    missing.explains(&format!("the disk image {} is not there", image.display()));
    missing.explains("nix build");
    env.run(&["status"]).succeeds();
}

#[test]
fn a_host_without_qemu_is_told_what_to_install() {
    let env = env();
    fs::write(env.work().join("nixos.qcow2"), "an image").unwrap();
    let programs = env.root().join("bin");
    let up = env.lkc(["up"]).env("PATH", &programs).run().exits(11);
    up.explains("is not installed");
    up.explains("apt install qemu-system");
    // It is as if it had never been asked for.
    env.run(&["delete", "--yes"]).succeeds();
}

/// With a stand-in for nix: there may be none, and nothing to build with it.
#[test]
fn an_output_of_a_flake_is_built_and_its_image_found() {
    let env = env();
    let programs = env.root().join("bin");
    let nix = programs.join("nix");
    fs::write(
        &nix,
        "#!/bin/sh\n\
         while [ \"$1\" != --out-link ]; do shift; done\n\
         link=$2; shift 3\n\
         [ \"$1\" = \"${HOME%/home}/project/.#k3s-image\" ] || exit 3\n\
         /bin/mkdir -p \"$HOME/store/nix-support\"\n\
         echo an image > \"$HOME/store/nixos.qcow2\"\n\
         /bin/ln -sfn \"$HOME/store\" \"$link\"\n",
    )
    .unwrap();
    fs::set_permissions(&nix, fs::Permissions::from_mode(0o755)).unwrap();
    let up = env
        .lkc(["up", "--image", ".#k3s-image"])
        .env("PATH", &programs)
        .run();
    up.exits(11).explains("qemu-system");
    let spec = fs::read_to_string(env.cluster_dir("k3s-dev").join("cluster.json")).unwrap();
    let image = env.home().join("store/nixos.qcow2");
    assert!(spec.contains(&image.display().to_string()), "{spec}");

    env.lkc(["up", "--image", ".#another"])
        .env("PATH", &programs)
        .run()
        .exits(11)
        .explains("nix build failed");
}

#[test]
fn a_sandbox_has_no_snapshots_and_no_processors_of_its_own() {
    let env = env_with_cluster(&[]);
    env.run(&["snapshot", "list"])
        .exits(10)
        .explains("machines of the driver sandbox have no snapshots");
    env.run(&["up", "--cpus", "2"])
        .exits(10)
        .explains("the driver sandbox has no virtual machine");
    env.run(&["down"]).succeeds();
    env.run(&["snapshot", "save", "before"])
        .exits(7)
        .explains("does not run");
}
