use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Command,
};

use super::{super::tests::Pki, *};

struct Home {
    root: tempfile::TempDir,
    entry: Entry,
}

impl Home {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            entry: entry("k3s-dev", "secret"),
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("config")
    }

    fn with(content: &str) -> Self {
        let home = Self::new();
        fs::write(home.path(), content).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o600)).unwrap();
        home
    }

    async fn merge(&self, make_current: bool) -> Result<Merged, MergeError> {
        merge(&self.path(), &self.entry, make_current).await
    }

    async fn unmerge(&self) -> Result<Merged, MergeError> {
        unmerge(&self.path(), self.entry.cluster()).await
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn document(&self) -> Node {
        serde_saphyr::from_str(&self.text()).unwrap()
    }

    /// Names of the files beside the kubeconfig.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn entry(name: &str, token: &str) -> Entry {
    thread_local!(static PKI: Pki = Pki::new());
    let values = PKI.with(Pki::without_credentials);
    let values = lkc_protocol::message::KubeconfigValues {
        token: Some(token.to_owned()),
        ..values
    };
    Entry::build(
        &name.parse().unwrap(),
        6443,
        &values,
        super::super::tests::now(),
    )
    .unwrap()
}

const FOREIGN: &str = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Zm9v
    server: https://192.0.2.1:6443
    something-new: 12
  name: work
contexts:
- context:
    cluster: work
    namespace: \"no\"
    user: work
  name: work
current-context: work
kind: Config
preferences: {}
users:
- name: work
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args: [a, \"12:30:45\"]
      command: get-token
      env: null
      interactiveMode: IfAvailable
      provideClusterInfo: false
";

/// Kubeconfigs as people have them.
const CORPUS: &[&str] = &[
    "",
    "\n\n",
    "# nothing yet\n",
    "apiVersion: v1\nkind: Config\n",
    "apiVersion: v1\nclusters: null\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {}\nusers: null\n",
    "apiVersion: v1\nclusters: []\ncontexts: []\nkind: Config\nusers: []\n",
    FOREIGN,
    "\u{feff}apiVersion: v1\nkind: Config\ncurrent-context: x\n",
    "{\"apiVersion\": \"v1\", \"kind\": \"Config\", \"clusters\": [], \"current-context\": \"a\"}",
    "clusters:\n- &c\n  name: a\n  cluster: &d {server: 'https://a'}\n- name: b\n  cluster: *d\n",
    "current-context: k3s-dev\nusers: []\n",
    "users:\n- name: a\n  user: {password: yes, token: 123456, username: '0123'}\n",
];

#[tokio::test]
async fn what_was_merged_is_unmerged_without_a_trace() {
    for content in CORPUS {
        for make_current in [false, true] {
            let home = Home::with(content);
            let before = File::read(&home.path()).unwrap();
            assert!(home.merge(make_current).await.unwrap().changed, "{content}");
            assert!(
                !home.merge(make_current).await.unwrap().changed,
                "{content}"
            );
            assert!(home.unmerge().await.unwrap().changed, "{content}");
            let after = File::read(&home.path()).unwrap();
            assert_eq!(before.document(), after.document(), "{content}");
            assert!(!home.unmerge().await.unwrap().changed);
            assert!(!home.files().contains(&"config.lock".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_file_that_was_made_for_us_is_removed() {
    let home = Home::new();
    let path = home.root.path().join("kube/config");
    assert!(!unmerge(&path, home.entry.cluster()).await.unwrap().changed);
    assert!(merge(&path, &home.entry, true).await.unwrap().changed);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(
        fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777,
        0o700
    );
    let second = entry("k3s-capi", "x");
    merge(&path, &second, false).await.unwrap();
    unmerge(&path, second.cluster()).await.unwrap();
    assert!(path.exists());
    assert!(unmerge(&path, home.entry.cluster()).await.unwrap().changed);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_text_stays_what_kubectl_writes() {
    let home = Home::with(FOREIGN);
    home.merge(false).await.unwrap();
    let authority = home
        .document()
        .value("clusters")
        .and_then(Node::as_list)
        .and_then(|list| {
            list[1]
                .value("cluster")?
                .value("certificate-authority-data")
                .cloned()
        })
        .unwrap();
    let text = home
        .text()
        .replace(authority.as_text().unwrap(), "AUTHORITY");
    insta::assert_snapshot!(text, @r#"
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Zm9v
    server: https://192.0.2.1:6443
    something-new: 12
  name: work
- name: k3s-dev
  cluster:
    server: https://127.0.0.1:6443
    certificate-authority-data: AUTHORITY
    extensions:
    - name: lkc
      extension:
        managed-by: lkc-host
contexts:
- context:
    cluster: work
    namespace: "no"
    user: work
  name: work
- name: k3s-dev
  context:
    cluster: k3s-dev
    user: k3s-dev
    extensions:
    - name: lkc
      extension:
        managed-by: lkc-host
current-context: work
kind: Config
preferences: {}
users:
- name: work
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - a
      - "12:30:45"
      command: get-token
      env: null
      interactiveMode: IfAvailable
      provideClusterInfo: false
- name: k3s-dev
  user:
    token: secret
    extensions:
    - name: lkc
      extension:
        managed-by: lkc-host
"#);
}

#[tokio::test]
async fn the_current_context_changes_only_on_request_and_comes_back() {
    let home = Home::with(FOREIGN);
    let current = || home.document().value("current-context").cloned();
    home.merge(false).await.unwrap();
    assert_eq!(current(), Some(Node::text("work")));
    home.merge(true).await.unwrap();
    assert_eq!(current(), Some(Node::text("k3s-dev")));
    home.merge(false).await.unwrap();
    assert_eq!(current(), Some(Node::text("k3s-dev")));
    home.unmerge().await.unwrap();
    assert_eq!(current(), Some(Node::text("work")));
    home.merge(false).await.unwrap();
    let switched = home
        .text()
        .replace("current-context: work", "current-context: k3s-dev");
    fs::write(home.path(), switched).unwrap();
    home.unmerge().await.unwrap();
    assert_eq!(current(), Some(Node::text("")));
}

#[tokio::test]
async fn new_credentials_replace_ours_and_keep_the_namespace() {
    let mut home = Home::with(FOREIGN);
    home.merge(false).await.unwrap();
    let with_namespace = home.text().replace(
        "    user: k3s-dev\n",
        "    user: k3s-dev\n    namespace: mine\n",
    );
    fs::write(home.path(), with_namespace).unwrap();
    home.entry = entry("k3s-dev", "rotated");
    assert!(home.merge(false).await.unwrap().changed);
    let text = home.text();
    assert!(
        text.contains("token: rotated") && !text.contains("secret"),
        "{text}"
    );
    assert!(text.contains("namespace: mine"), "{text}");
}

#[tokio::test]
async fn foreign_entries_with_our_name_are_refused() {
    for (what, content) in [
        (
            "cluster",
            "clusters:\n- name: k3s-dev\n  cluster: {server: 'https://x'}\n",
        ),
        ("user", "users:\n- name: k3s-dev\n  user: {}\n"),
        (
            "context",
            "contexts:\n- name: k3s-dev\n  context: {cluster: a}\n",
        ),
    ] {
        let home = Home::with(content);
        let error = CommandError::from(home.merge(true).await.unwrap_err());
        assert_eq!(error.kind, Kind::Conflict);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            source,
            format!("it has a {what} `k3s-dev` that is not lkc's")
        );
        assert!(error.hints[0].contains(what), "{:?}", error.hints);
        assert!(!home.unmerge().await.unwrap().changed);
        assert_eq!(home.text(), content);
    }
}

#[tokio::test]
async fn files_that_cannot_be_kept_are_left_alone() {
    for (content, reason) in [
        ("a: 1\na: 2\n", "duplicate"),
        ("- a\n", "the document"),
        ("clusters: {}\n", "clusters"),
        ("a: [\n", "line"),
        ("a: b\n---\nc: d\n", "document"),
        (
            "users:\n- name: a\n  user: {password: 014}\n",
            "cannot be kept exactly",
        ),
        ("a: 1.5\n", "cannot be kept exactly"),
        ("a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: *d\n", ""),
    ] {
        let home = Home::with(content);
        let error = home.merge(true).await.expect_err(content);
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message += &source.to_string();
        }
        assert!(
            message.to_lowercase().contains(reason),
            "{content}: {message}"
        );
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(CommandError::from(error).kind, Kind::BadInput, "{content}");
        assert_eq!(home.text(), content);
        assert_eq!(home.files(), ["config"]);
    }
}

#[tokio::test]
async fn a_file_that_is_too_long_or_none_is_left_alone() {
    let home = Home::with(&"#".repeat(5 << 20));
    assert!(matches!(
        home.merge(true).await,
        Err(MergeError::Read {
            source: ReadError::TooLong { .. },
            ..
        })
    ));
    fs::remove_file(home.path()).unwrap();
    fs::create_dir(home.path()).unwrap();
    assert!(matches!(
        home.merge(true).await,
        Err(MergeError::Syntax { .. })
    ));
}

#[tokio::test]
async fn the_mode_is_kept_and_a_loose_one_warned_of() {
    let home = Home::with(FOREIGN);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let merged = home.merge(false).await.unwrap();
    assert_eq!(fs::metadata(home.path()).unwrap().mode() & 0o7777, 0o644);
    let warning = format!(
        "{} can be read by other users (mode 0644)",
        home.path().display()
    );
    assert_eq!(merged.warnings, [warning]);
}

#[tokio::test]
async fn comments_are_kept_in_a_file_of_their_own() {
    let content = "# mine\nkind: Config\r\n";
    let home = Home::with(content);
    let merged = home.merge(false).await.unwrap();
    assert!(
        merged.warnings[0].contains("comments"),
        "{:?}",
        merged.warnings
    );
    assert_eq!(home.files(), ["config", "config.before-lkc"]);
    let backup = home.root.path().join("config.before-lkc");
    assert_eq!(fs::read_to_string(backup).unwrap(), content);
    assert!(home.text().lines().count() > 3);
    assert_eq!(
        home.text().matches('\n').count(),
        home.text().matches("\r\n").count()
    );
}

#[tokio::test]
async fn json_stays_json() {
    let home = Home::with(" {\"kind\": \"Config\", \"clusters\": null}");
    home.merge(true).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&home.text()).unwrap();
    assert_eq!(value["clusters"][0]["name"], "k3s-dev");
}

#[tokio::test]
async fn links_are_followed_even_to_nowhere() {
    for content in [None, Some(FOREIGN)] {
        let home = Home::new();
        let real = home.root.path().join("real");
        if let Some(content) = content {
            fs::write(&real, content).unwrap();
        }
        symlink("middle", home.path()).unwrap();
        symlink("real", home.root.path().join("middle")).unwrap();
        home.merge(true).await.unwrap();
        assert!(fs::symlink_metadata(home.path()).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&real).unwrap().is_file());
        assert!(home.text().contains("k3s-dev"));
    }
    let home = Home::new();
    symlink("config", home.path()).unwrap();
    assert!(matches!(
        home.merge(true).await,
        Err(MergeError::Read { .. })
    ));
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_named() {
    // procfs takes no files, not even from root.
    let home = Home::new();
    let error = merge(Path::new("/proc/config"), &home.entry, true)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot make the lock /proc/config.lock");
    assert_eq!(CommandError::from(error).kind, Kind::HostIo);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_stays_is_a_conflict_that_says_what_to_remove() {
    let home = Home::with(FOREIGN);
    let lock = home.root.path().join("config.lock");
    fs::write(&lock, "").unwrap();
    let error = CommandError::from(home.merge(true).await.unwrap_err());
    assert_eq!(error.kind, Kind::Conflict);
    assert_eq!(
        error.hints,
        [format!(
            "remove {} if no kubectl is running",
            lock.display()
        )]
    );
    assert_eq!(home.text(), FOREIGN);
}

#[tokio::test]
async fn kubectl_reads_and_rewrites_what_was_merged() {
    let home = Home::with(FOREIGN);
    home.merge(true).await.unwrap();
    let kubectl = |arguments: &[&str]| {
        Command::new("kubectl")
            .args(arguments)
            .arg("--kubeconfig")
            .arg(home.path())
            .output()
    };
    let output = match kubectl(&["config", "get-contexts", "--output", "name"]) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return println!("skipped: no kubectl on PATH");
        }
        output => output.unwrap(),
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "k3s-dev\nwork\n");
    let output = kubectl(&["config", "set-context", "--current", "--namespace", "mine"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    home.unmerge().await.unwrap();
    assert!(!home.text().contains("k3s-dev"), "{}", home.text());
    assert!(
        home.text().contains("current-context: work"),
        "{}",
        home.text()
    );
}

#[test]
fn the_first_file_of_the_environment_is_the_user_s() {
    let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/u"));
    let paths = Paths::from_env(&home, 1).unwrap();
    for (variable, expected) in [
        (None, "/home/u/.kube/config"),
        (Some(""), "/home/u/.kube/config"),
        (Some(":/a:/b"), "/a"),
    ] {
        assert_eq!(
            user_file(&|_| variable.map(Into::into), &paths),
            Path::new(expected)
        );
    }
}
