//! Machines that are there already.

use insta::assert_snapshot;

use super::{config, report};
use crate::config::{Driver, Overrides};

#[test]
fn carriers_keep_their_order_and_all_have_the_hops() {
    let text = "[cluster.far]\ndriver = \"existing\"\ncarriers = [\"vsock:52:5000\", \"tcp:10.0.0.2:7000\"]\nvia = [\"exec:limactl shell colima\"]\n";
    let config = config(text).unwrap();
    let reach = config.clusters[0].0.reach.clone().unwrap();
    let written: Vec<_> = reach.carriers.iter().map(ToString::to_string).collect();
    assert_eq!(
        written,
        [
            "exec:limactl shell colima → vsock:52:5000",
            "exec:limactl shell colima → tcp:10.0.0.2:7000"
        ]
    );
    let flags = Overrides {
        carriers: vec!["unix:/run/k3s.sock".to_owned()],
        ..Overrides::default()
    };
    let config = config.with_overrides(None, &flags).unwrap();
    let reach = config.clusters[0].0.reach.clone().unwrap();
    assert_eq!(reach.carriers.len(), 1, "those of the file are replaced");
}

#[test]
fn a_carrier_alone_means_a_machine_that_is_there() {
    let (spec, _) = &config("[cluster.far]\ncarriers = [\"serial:/run/k3s.serial\"]\n")
        .unwrap()
        .clusters[0];
    assert_eq!(spec.driver, Driver::Existing);
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let texts = [
        "[cluster.far]\ndriver = \"existing\"\n",
        "[cluster.far]\ndriver = \"sandbox\"\ncarriers = [\"vsock:52:5000\"]\n",
        "[cluster.far]\ncarriers = [\"tcp:a:1\", \"vsock:2:5000\"]\n",
        "[cluster.far]\ncarriers = [\"tcp:a:1\"]\nvia = [\"limactl shell colima\"]\n",
        "[cluster.far]\ncarriers = [\"tcp:a:1\"]\nvia = [\"exec:limactl shell colima\", \"ssh:k3s\"]\n",
        "[cluster.far]\ncarriers = [\"tcp:a:1\"]\nguest-key = \"SHA256:x\"\n",
        "[cluster.far]\ncarriers = \"tcp:a:1\"\n",
    ];
    assert_snapshot!(texts.map(report).join("\n"));
}

#[test]
fn ssh_is_spoken_as_its_table_says() {
    let text = "[cluster.far]\ncarriers = [\"ssh:dev\", \"tcp:a:1\"]\nvia = [\"ssh:me@jump:2222\"]\n\
                [cluster.far.ssh]\nconfig = \"lima/ssh.config\"\naccept-new = true\n\
                socket = \"/run/a.sock\"\ncommand = \"sudo lkc-guest stdio\"\n";
    let config = config(text).unwrap();
    let reach = config.clusters[0].0.reach.clone().unwrap();
    let written: Vec<_> = reach.carriers.iter().map(ToString::to_string).collect();
    assert_eq!(
        written,
        ["ssh:me@jump:2222 → ssh:dev", "ssh:me@jump:2222 → tcp:a:1"]
    );
    for route in &reach.carriers {
        let ssh = &route.ssh;
        let path = ssh.config.as_ref().unwrap();
        assert!(
            path.is_absolute() && path.ends_with("lima/ssh.config"),
            "{path:?}"
        );
        assert!(ssh.accept_new && ssh.pinned.is_empty());
        assert_eq!(ssh.command.as_deref(), Some("sudo lkc-guest stdio"));
    }
    let flags = Overrides {
        ssh_config: Some("/other".into()),
        ..Overrides::default()
    };
    let config = config.with_overrides(None, &flags).unwrap();
    let reach = config.clusters[0].0.reach.clone().unwrap();
    assert_eq!(
        reach.carriers[0].ssh.config.as_deref(),
        Some("/other".as_ref())
    );
}

#[test]
fn mistakes_about_ssh_are_shown_where_they_are() {
    let texts = [
        "[cluster.far]\ncarriers = [\"ssh:\"]\n",
        "[cluster.far]\ncarriers = [\"ssh:-oProxyCommand=x\"]\n",
        "[cluster.far]\ncarriers = [\"ssh:a\"]\n[cluster.far.ssh]\naccept_new = true\n",
        "[cluster.far]\ncarriers = [\"ssh:a\"]\n[cluster.far.ssh]\naccept-new = \"yes\"\n",
        "[cluster.far]\ncarriers = [\"ssh:a\"]\n[cluster.far.ssh]\nhost-keys = [\"AAAA\"]\n",
        "[cluster.far]\ncarriers = [\"ssh:a\"]\n[cluster.far.ssh]\nsocket = \"agent.sock\"\n",
        "[cluster.far]\n[cluster.far.ssh]\naccept-new = true\n",
    ];
    assert_snapshot!(texts.map(report).join("\n"));
}
