//! Kubeconfigs: the one that k3s writes, the values that the guest sends, the entry that the host
//! builds of them, and the user's own file, into which it goes and out of which it comes again.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use arbitrary::{Arbitrary, Unstructured};
use base64::{Engine, engine::general_purpose::STANDARD};
use lkc_guest::k3s::credentials;
use lkc_host::{
    config::ClusterName,
    kubeconfig::{Entry, merge},
};
use lkc_protocol::message::KubeconfigValues;
use serde_json::Value;

use super::text::assert_harmless;

const AUTHORITY: &str = include_str!("../credentials/authority.pem");
const CLIENT: &str = include_str!("../credentials/client.pem");
const CLIENT_KEY: &str = include_str!("../credentials/client-key.pem");

/// The file that k3s writes.
pub fn check_k3s_file(input: &[u8]) {
    match credentials::parse(input) {
        Ok(values) => {
            assert_ne!(values.api_port, 0);
            check_built(&values);
        }
        Err(error) => assert_harmless(&chain(&error)),
    }
}

/// What a guest may send in its place.
pub fn check_values(input: &[u8]) {
    let Ok(sent) = Sent::arbitrary_take_rest(Unstructured::new(input)) else {
        return;
    };
    check_built(&KubeconfigValues {
        api_port: sent.api_port,
        certificate_authority: sent.certificate_authority.to_text(AUTHORITY),
        client_certificate: sent.client_certificate.map(|text| text.to_text(CLIENT)),
        client_key: sent.client_key.map(|text| text.to_text(CLIENT_KEY)),
        token: sent.token,
        username: sent.username,
        password: sent.password,
    });
}

/// A byte of flags, then the user's own file, if there is one.
pub fn check_merge(input: &[u8]) {
    let Some((&flags, before)) = input.split_first() else {
        return;
    };
    let directory = Directory::new();
    let path = directory.0.join("config");
    let existed = flags & 1 == 0;
    if existed {
        fs::write(&path, before).expect("a file for the test");
    }
    let make_current = flags & 2 != 0;
    let read = || fs::read(&path).ok();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let original = read();
    let entry = sound_entry();
    let merged = runtime.block_on(merge::merge(&path, &entry, make_current));
    match merged {
        Err(error) => {
            assert_harmless(&chain(&error));
            assert_eq!(read(), original, "the file is left as it is");
        }
        Ok(_) => {
            let text = read().expect("a file with the entry");
            check_in(&text, make_current);
            let again = runtime.block_on(merge::merge(&path, &entry, make_current));
            assert!(
                !again.expect("it fits again").changed,
                "it was there already"
            );
            let removed = runtime.block_on(merge::unmerge(&path, entry.cluster()));
            removed.expect("what went in comes out");
            check_out(original.as_deref(), read().as_deref());
        }
    }
}

/// The entry is there, and leads to the cluster when it is the current one.
fn check_in(text: &[u8], make_current: bool) {
    let document = parsed(text);
    let name = sound_entry().cluster().to_string();
    for list in ["clusters", "users", "contexts"] {
        let items = document[list].as_array().expect("a list");
        let ours = items.iter().filter(|item| item["name"] == name.as_str());
        assert_eq!(ours.count(), 1, "{list}");
    }
    if make_current {
        assert_eq!(document["current-context"], name.as_str());
        if let Ok(values) = credentials::parse(text) {
            assert_eq!(values.api_port, 6443);
            assert_eq!(values.certificate_authority, AUTHORITY);
        }
    }
}

/// All is as it was but for an entry of ours that was there before.
fn check_out(original: Option<&[u8]>, left: Option<&[u8]>) {
    let Some(original) = original else {
        assert_eq!(left, None, "the file was made for us");
        return;
    };
    let (original, left) = (parsed(original), parsed(left.expect("the user's file")));
    let had_ours = original.to_string().contains("\"name\":\"lkc\"");
    assert!(had_ours || original == left, "{original} became {left}");
}

fn parsed(text: &[u8]) -> Value {
    let text = std::str::from_utf8(text).expect("UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Value::Object(serde_json::Map::new());
    }
    match serde_saphyr::from_str(text).expect("YAML") {
        Value::Null => Value::Object(serde_json::Map::new()),
        value => value,
    }
}

#[derive(Debug, Arbitrary)]
struct Sent {
    api_port: u16,
    certificate_authority: Text,
    client_certificate: Option<Text>,
    client_key: Option<Text>,
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// A text where a PEM block belongs.
#[derive(Debug, Arbitrary)]
enum Text {
    Sound,
    /// A block of the right kind whose content is changed.
    Content(Vec<(u16, u8)>),
    /// The text itself is changed.
    Letters(Vec<(u16, char)>),
    /// A block of one of the other kinds.
    Block(u8, Vec<u8>),
    Any(String),
    Two(Box<Self>, Box<Self>),
}

impl Text {
    fn to_text(&self, sound: &str) -> String {
        match self {
            Self::Sound => sound.to_owned(),
            Self::Content(changes) => {
                let (label, mut content) = from_pem(sound);
                for &(at, byte) in changes {
                    let at = usize::from(at) % content.len();
                    content[at] = byte;
                }
                to_pem(&label, &content)
            }
            Self::Letters(changes) => {
                let mut letters: Vec<char> = sound.chars().collect();
                for &(at, letter) in changes {
                    let at = usize::from(at) % letters.len();
                    letters[at] = letter;
                }
                letters.into_iter().collect()
            }
            Self::Block(kind, content) => {
                let kinds = [
                    "CERTIFICATE",
                    "PRIVATE KEY",
                    "EC PRIVATE KEY",
                    "RSA PRIVATE KEY",
                ];
                to_pem(kinds[usize::from(*kind) % kinds.len()], content)
            }
            Self::Any(text) => text.clone(),
            Self::Two(first, second) => first.to_text(sound) + &second.to_text(sound),
        }
    }
}

fn from_pem(text: &str) -> (String, Vec<u8>) {
    let mut lines = text.lines();
    let label = lines.next().unwrap_or_default();
    let label = label
        .trim_start_matches("-----BEGIN ")
        .trim_end_matches('-');
    let body: String = lines.take_while(|line| !line.starts_with('-')).collect();
    let content = STANDARD.decode(body).expect("base64 in a sound block");
    (label.to_owned(), content)
}

fn to_pem(label: &str, content: &[u8]) -> String {
    let body = STANDARD.encode(content);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// What can be built from these values says what they say, and only that.
fn check_built(values: &KubeconfigValues) {
    let entry = match build(values) {
        Ok(entry) => entry,
        Err(error) => return assert_harmless(&chain(&error)),
    };
    entry
        .warnings()
        .iter()
        .for_each(|line| assert_harmless(line));
    let text = entry.to_yaml();
    assert_harmless(&text);
    let read = match credentials::parse(text.as_bytes()) {
        Ok(read) => read,
        // A user name may have a blank, which k3s' own never has.
        Err(error) => return assert!(text.contains("password: "), "{error}: {text}"),
    };
    assert_eq!(read.api_port, 6443);
    assert!(build(&read).expect("what we wrote") == entry, "{text}");
    let (shown, of_another) = (format!("{entry:?}"), format!("{:?}", sound_entry()));
    assert_eq!(shown, of_another, "nothing secret is shown");
}

fn build(values: &KubeconfigValues) -> Result<Entry, lkc_host::kubeconfig::KubeconfigError> {
    let name: ClusterName = "k3s-dev".parse().expect("a name");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Entry::build(&name, 6443, values, now)
}

fn sound_entry() -> Entry {
    let values = KubeconfigValues {
        api_port: 6443,
        certificate_authority: AUTHORITY.to_owned(),
        client_certificate: Some(CLIENT.to_owned()),
        client_key: Some(CLIENT_KEY.to_owned()),
        token: None,
        username: None,
        password: None,
    };
    build(&values).expect("sound values")
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// A directory of this process, in memory where there is such a place.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(format!("lkc-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
