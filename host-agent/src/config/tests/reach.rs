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
