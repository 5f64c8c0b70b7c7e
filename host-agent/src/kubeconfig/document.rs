//! The parts of a kubeconfig, and the text of one that has nothing but them.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Credentials, Entry, node::Node, pem};

/// The whole kubeconfig of one cluster.
pub(super) fn render(entry: &Entry) -> String {
    let name = entry.cluster.as_str();
    let named = |key: &str, value: Node| {
        Node::List(vec![Node::map([("name", Node::text(name)), (key, value)])])
    };
    let document = Node::map([
        ("apiVersion", Node::text("v1")),
        ("kind", Node::text("Config")),
        ("clusters", named("cluster", cluster(entry))),
        ("users", named("user", user(entry))),
        ("contexts", named("context", context(entry))),
        ("current-context", Node::text(name)),
    ]);
    let mut text = String::new();
    write(&document, 0, &mut text);
    text
}

/// The server and what it is recognised by.
pub(super) fn cluster(entry: &Entry) -> Node {
    let authorities: String = entry
        .identity
        .authorities
        .iter()
        .map(|der| pem::encode_certificate(der))
        .collect();
    Node::map([
        (
            "server",
            Node::text(format!("https://127.0.0.1:{}", entry.port)),
        ),
        ("certificate-authority-data", base64(&authorities)),
    ])
}

/// The credentials.
pub(super) fn user(entry: &Entry) -> Node {
    match &entry.credentials {
        Credentials::Certificate { chain, key } => {
            let chain: String = chain
                .iter()
                .map(|der| pem::encode_certificate(der))
                .collect();
            Node::map([
                ("client-certificate-data", base64(&chain)),
                ("client-key-data", base64(&key.to_pem())),
            ])
        }
        Credentials::Token(token) => Node::map([("token", Node::text(token))]),
        Credentials::Password { username, password } => Node::map([
            ("username", Node::text(username)),
            ("password", Node::text(password)),
        ]),
    }
}

/// Which cluster with which user.
pub(super) fn context(entry: &Entry) -> Node {
    let name = entry.cluster.as_str();
    Node::map([("cluster", Node::text(name)), ("user", Node::text(name))])
}

fn base64(text: &str) -> Node {
    Node::text(STANDARD.encode(text))
}

/// Writes maps and lists as blocks and every text in quotes, which leaves no reader a choice: `no`
/// is a legal name of a cluster, and `12345` a legal token.
fn write(node: &Node, indent: usize, text: &mut String) {
    match node {
        Node::Map(entries) => {
            for (position, (key, value)) in entries.iter().enumerate() {
                if position > 0 {
                    text.extend(std::iter::repeat_n(' ', indent));
                }
                text.push_str(key);
                text.push(':');
                match value {
                    Node::Map(_) => {
                        text.push('\n');
                        text.extend(std::iter::repeat_n(' ', indent + 2));
                        write(value, indent + 2, text);
                    }
                    Node::List(items) => {
                        text.push('\n');
                        for item in items {
                            text.extend(std::iter::repeat_n(' ', indent));
                            text.push_str("- ");
                            write(item, indent + 2, text);
                        }
                    }
                    scalar => {
                        text.push(' ');
                        write(scalar, indent, text);
                    }
                }
            }
        }
        scalar_or_list => {
            // A text as JSON is one in double quotes as YAML.
            text.push_str(&serde_json::to_string(scalar_or_list).unwrap_or_default());
            text.push('\n');
        }
    }
}
