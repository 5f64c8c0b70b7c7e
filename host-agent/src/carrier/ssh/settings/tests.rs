use super::*;
use crate::carrier::ssh::expand::tests::local;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn parse(printed: &str) -> Result<Settings, SettingsError> {
    Settings::parse(printed, &target("dev"), &local())
}

#[test]
fn what_ssh_prints_decides() {
    let settings = parse(
        "host dev\nuser root\nhostname Dev.Example\nport 2222\nidentitiesonly yes\n\
         identityfile ~/.ssh/%r\nidentityfile /k/%h\nidentityagent /a/%n\n\
         userknownhostsfile ~/.ssh/kh /dev/null\nglobalknownhostsfile /etc/g\n\
         hostkeyalias dev-key\nproxyjump u@a:2200,b\nconnecttimeout 7\nserveraliveinterval 2\n\
         ciphers a,b\nunknownkeyword something new\nbare\n",
    )
    .unwrap();
    assert_eq!(settings.hop.to_string(), "root@dev.example:2222");
    assert!(settings.identities_only);
    assert_eq!(
        settings.identity_files,
        [Path::new("/home/me/.ssh/root"), Path::new("/k/dev.example")]
    );
    assert_eq!(settings.agent.as_deref(), Some(Path::new("/a/dev")));
    assert_eq!(
        settings.known_hosts,
        [Path::new("/home/me/.ssh/kh"), Path::new("/etc/g")]
    );
    assert_eq!(settings.key_name(), "dev-key");
    assert_eq!(settings.jump, [target("u@a:2200"), target("b")]);
    assert_eq!(settings.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(settings.alive_interval, Some(Duration::from_secs(2)));
}

#[test]
fn nothing_printed_leaves_the_defaults() {
    let settings = parse("").unwrap();
    assert_eq!(settings, Settings::defaults(&target("dev"), &local()));
    assert_eq!(settings.hop.to_string(), "me@dev:22");
    assert_eq!(settings.key_name(), "dev");
}

#[test]
fn none_means_none() {
    let settings = parse(
        "identityagent none\nproxyjump none\nproxycommand none\nidentityfile none\n\
         connecttimeout none\nserveraliveinterval 0\nuserknownhostsfile none\n",
    )
    .unwrap();
    assert_eq!(settings.agent, None);
    assert!(settings.jump.is_empty());
    assert_eq!(settings.proxy_command, None);
    assert!(settings.identity_files.is_empty());
    assert!(settings.known_hosts.is_empty());
    assert_eq!(settings.connect_timeout, None);
    assert_eq!(settings.alive_interval, None);
}

#[test]
fn a_host_with_another_port_has_a_key_of_its_own() {
    assert_eq!(
        parse("hostname h\nport 2222\n").unwrap().key_name(),
        "[h]:2222"
    );
}

#[test]
fn a_proxy_command_gets_its_tokens() {
    let settings = parse("hostname h\nport 2222\nuser u\nproxycommand nc -X 5 %h %p # %r%%\n");
    assert_eq!(
        settings.unwrap().proxy_line(&local()).unwrap().as_deref(),
        Some("nc -X 5 h 2222 # u%")
    );
}

#[test]
fn names_that_reach_commands_are_checked() {
    for printed in [
        "hostname -oProxyCommand=id\n",
        "user $(id)\n",
        "proxyjump -x\n",
        "hostname a;b\n",
    ] {
        assert!(
            matches!(parse(printed), Err(SettingsError::Name(_))),
            "{printed}"
        );
    }
    assert!(matches!(
        parse("port 70000\n"),
        Err(SettingsError::Output(_))
    ));
}

#[tokio::test]
async fn a_configuration_file_that_is_not_there_is_named() {
    let file = Path::new("/nowhere/ssh.config");
    let error = query(&target("dev"), Some(file), &local())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no ssh configuration at /nowhere/ssh.config"
    );
}

#[tokio::test]
async fn includes_and_matches_mean_what_they_mean_to_ssh() {
    let dir = tempfile::tempdir().unwrap();
    let (main, included) = (dir.path().join("config"), dir.path().join("more"));
    std::fs::write(
        &main,
        format!(
            "Include {}\nHost dev\n  HostName=10.1.2.3\n\tPort\t2222\nMatch host other\n  User evil\n",
            included.display()
        ),
    )
    .unwrap();
    std::fs::write(&included, "Host dev\n  User fromfile\n  ProxyJump a,b\n").unwrap();
    let read = async |text| query(&target(text), Some(&main), &local()).await;
    let settings = match read("dev").await {
        Err(SettingsError::Start(_)) => {
            eprintln!("skipped: no ssh program");
            return;
        }
        other => other.unwrap(),
    };
    assert_eq!(settings.hop.to_string(), "fromfile@10.1.2.3:2222");
    assert_eq!(settings.jump, [target("a"), target("b")]);
    let explicit = read("root@dev:77").await.unwrap();
    assert_eq!(explicit.hop.to_string(), "root@10.1.2.3:77");
    std::fs::write(&main, "Host dev\n  NoSuchKeyword x\n").unwrap();
    let refused = read("dev").await.unwrap_err().to_string();
    assert!(
        refused.starts_with("`ssh -G` refuses the configuration: "),
        "{refused}"
    );
}
