use std::path::PathBuf;

use super::*;

fn vm() -> VmSpec {
    VmSpec {
        image: "/img/k3s.qcow2".into(),
        cpus: 2,
        memory_mib: 2048,
        disk_mib: None,
        firmware: None,
        network: VmNetwork {
            address: "192.100.0.10".parse().unwrap(),
            prefix: 24,
            gateway: Some("192.100.0.1".parse().unwrap()),
            nameserver: Some("192.100.0.2".parse().unwrap()),
        },
    }
}

fn command_line(
    architecture: Architecture,
    accelerator: Accelerator,
    channel: &Channel,
    disk: &str,
) -> Vec<String> {
    let vm = vm();
    let sockets = Sockets::of(Path::new("/run/u"));
    let credentials = [Credential {
        name: "lkc.identity",
        path: PathBuf::from("/run/u/credential-lkc.identity"),
    }];
    let firmware = Path::new("/fw/edk2.fd");
    let wanted = Wanted {
        name: "k3s-dev",
        mac: [0x52, 0x54, 0, 0xc8, 0x32, 0x0a],
        vm: &vm,
        architecture,
        accelerator,
        channel,
        sockets: &sockets,
        disk: Path::new(disk),
        console: Path::new("/s/console.log"),
        firmware: (!architecture.has_firmware()).then_some(firmware),
        credentials: &credentials,
    };
    wanted
        .arguments()
        .into_iter()
        .map(|argument| argument.into_string().unwrap())
        .collect()
}

fn user_channel() -> Channel {
    Channel::User {
        program: "/usr/bin/vhost-device-vsock".into(),
    }
}

#[test]
fn a_machine_with_a_device_process() {
    let line = command_line(
        Architecture::X86_64,
        Accelerator::Emulation,
        &user_channel(),
        "/s/disk.qcow2",
    );
    let text = line.join(" ").replace(" -", "\n-");
    insta::assert_snapshot!(text, @r"
-name lkc-k3s-dev
-nodefaults
-no-user-config
-display none
-accel tcg
-cpu max
-M q35,memory-backend=memory
-object memory-backend-memfd,id=memory,size=2048M,share=on
-smp 2
-m 2048M
-rtc base=utc
-chardev stdio,id=keeper,signal=off
-mon chardev=keeper,mode=control
-chardev socket,id=monitor,server=on,wait=off,path=/run/u/qmp.sock
-mon chardev=monitor,mode=control
-chardev file,id=console,append=on,path=/s/console.log
-serial chardev:console
-blockdev driver=qcow2,node-name=disk0,discard=unmap,file.driver=file,file.filename=/s/disk.qcow2
-device virtio-blk-pci,drive=disk0,bootindex=0
-netdev user,id=net0,ipv6=off,net=192.100.0.0/24,host=192.100.0.1,dns=192.100.0.2
-device virtio-net-pci,netdev=net0,mac=52:54:00:c8:32:0a
-device virtio-rng-pci
-device virtio-serial-pci
-chardev socket,id=agent,server=on,wait=off,path=/run/u/serial.sock
-device virtserialport,chardev=agent,name=lkc.agent.0
-action reboot=shutdown
-device pcie-root-port,id=port0,chassis=1,slot=1
-chardev socket,id=vsock0-0,path=/run/u/vhost.sock
-device vhost-user-vsock-pci,id=vsock0,chardev=vsock0-0,bus=port0
-smbios type=11,path=/run/u/credential-lkc.identity
");
}

#[test]
fn a_machine_with_the_kernels_device() {
    let line = command_line(
        Architecture::X86_64,
        Accelerator::Kvm,
        &Channel::Kernel { cid: 4103 },
        "/s/disk.qcow2",
    );
    let text = line.join(" ");
    for part in [
        "-accel kvm -cpu host -M q35 ",
        "-device vhost-vsock-pci,id=vsock0,guest-cid=4103",
        "-smbios type=11,path=/run/u/credential-lkc.identity",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("memfd") && !text.contains("-bios"), "{text}");
}

#[test]
fn a_machine_of_another_system_with_a_serial_port_only() {
    let line = command_line(
        Architecture::Aarch64,
        Accelerator::Hvf,
        &Channel::Serial,
        "/s/disk.qcow2",
    );
    let text = line.join(" ");
    for part in [
        "-accel hvf -cpu host -M virt ",
        "-bios /fw/edk2.fd",
        "-device virtserialport,chardev=agent,name=lkc.agent.0",
        "-action reboot=shutdown",
        "-fw_cfg name=opt/io.systemd.credentials/lkc.identity,file=/run/u/credential-lkc.identity",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("vsock"), "{text}");
}

#[test]
fn no_port_of_the_host_leads_to_the_guest_and_no_secret_is_on_the_line() {
    for channel in [
        user_channel(),
        Channel::Kernel { cid: 4103 },
        Channel::Serial,
    ] {
        let line = command_line(
            Architecture::X86_64,
            Accelerator::Emulation,
            &channel,
            "/s/disk.qcow2",
        )
        .join(" ");
        for forbidden in [
            "hostfwd",
            "guestfwd",
            "tcp:",
            "vnc",
            "io.systemd.credential",
        ] {
            assert!(!line.contains(forbidden), "{forbidden} in {line}");
        }
    }
}

#[test]
fn a_comma_in_a_path_stays_in_the_path() {
    let line = command_line(
        Architecture::X86_64,
        Accelerator::Emulation,
        &Channel::Serial,
        "/s,file.locking=off/disk.qcow2",
    );
    let disk = line
        .iter()
        .find(|option| option.starts_with("driver="))
        .unwrap();
    assert!(
        disk.ends_with("file.filename=/s,,file.locking=off/disk.qcow2"),
        "{disk}"
    );
}

#[test]
fn the_router_is_where_the_guest_expects_it() {
    let network = |address: &str, prefix, gateway: Option<&str>, nameserver: Option<&str>| {
        let parsed = |text: &str| text.parse().unwrap();
        user_network(&VmNetwork {
            address: parsed(address),
            prefix,
            gateway: gateway.map(parsed),
            nameserver: nameserver.map(parsed),
        })
    };
    for (found, expected) in [
        (
            network("192.100.0.10", 24, Some("192.100.0.1"), None),
            ",ipv6=off,net=192.100.0.0/24,host=192.100.0.1,dns=192.100.0.2",
        ),
        (
            network("10.9.8.254", 24, Some("10.9.8.253"), None),
            ",ipv6=off,net=10.9.8.0/24,host=10.9.8.253,dns=10.9.8.1",
        ),
        (
            network("10.9.8.6", 30, Some("10.9.8.5"), Some("10.9.8.5")),
            ",ipv6=off,net=10.9.8.4/30,host=10.9.8.5,dns=10.9.8.5",
        ),
        (
            network("fd00::a", 64, Some("fd00::1"), Some("fd00::2")),
            ",ipv4=off,ipv6-net=fd00::/64,ipv6-host=fd00::1,ipv6-dns=fd00::2",
        ),
        (network("192.100.0.10", 24, None, None), ",restrict=on"),
    ] {
        assert_eq!(found, expected);
    }
}
