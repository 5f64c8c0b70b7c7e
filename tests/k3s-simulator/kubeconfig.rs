//! `k3s.yaml`: the admin's kubeconfig as k3s writes it, and the forms that an attacker would write.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::Pki;
use crate::script::Hostile;

/// The whole file; `hostile` replaces it by something that a reader must survive.
pub(crate) fn render(pki: &Pki, server: &str, hostile: Option<Hostile>) -> String {
    let honest = |authority: &str, certificate: &str, user_extra: &str| {
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {authority}\n    server: {server}\n  name: default\n\
             contexts:\n- context:\n    cluster: default\n    user: default\n  name: default\n\
             current-context: default\nkind: Config\npreferences: {{}}\n\
             users:\n- name: default\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n{user_extra}",
            key = STANDARD.encode(&pki.admin.key_pem),
        )
    };
    let authority = STANDARD.encode(&pki.server_ca_pem);
    let certificate = STANDARD.encode(&pki.admin.certificate_pem);
    match hostile {
        None => honest(&authority, &certificate, ""),
        Some(Hostile::WrongPem) => {
            let wrong = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
            honest(
                &STANDARD.encode(wrong),
                &STANDARD.encode("no PEM at all"),
                "",
            )
        }
        Some(Hostile::TenMegabytes) => {
            let mut text = honest(&authority, &certificate, "");
            let comment = "# This line is one of very many.\n";
            text.push_str(&comment.repeat(10 * 1024 * 1024 / comment.len() + 1));
            text
        }
        Some(Hostile::TerminalEscapes) => honest(&authority, &certificate, "").replace(
            server,
            "\"\\e]0;owned\\a\\e[31;5mhttps://127.0.0.1:6443\\e[2J\\r\\n\"",
        ),
        Some(Hostile::YamlBomb) => bomb(),
        Some(Hostile::ExecPlugin) => honest(
            &authority,
            &certificate,
            "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: /bin/sh\n      args: [\"-c\", \"touch /tmp/lkc-exec-plugin-ran\"]\n      interactiveMode: Never\n    tokenFile: /etc/shadow\n",
        ),
    }
}

/// Nine levels of nine aliases each: under a kilobyte that expands to 387 million strings.
fn bomb() -> String {
    let mut text =
        String::from("apiVersion: v1\nkind: Config\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text.push_str("clusters: *a8\nusers: *a8\ncontexts: *a8\ncurrent-context: default\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use serde_json::Value;

    use super::*;
    use crate::certificates::Names;

    fn rendered(hostile: Option<Hostile>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let names = Names {
            dns: BTreeSet::new(),
            addresses: BTreeSet::new(),
        };
        let pki = Pki::prepare(directory.path(), &names, SystemTime::now()).unwrap();
        render(&pki, "https://127.0.0.1:6443", hostile)
    }

    #[test]
    fn the_honest_form_has_k3s_names_and_inline_credentials() {
        let document: Value = serde_saphyr::from_str(&rendered(None)).unwrap();
        assert_eq!(document["current-context"], "default");
        assert_eq!(
            document["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:6443"
        );
        let key = document["users"][0]["user"]["client-key-data"]
            .as_str()
            .unwrap();
        assert!(
            STANDARD
                .decode(key)
                .unwrap()
                .starts_with(b"-----BEGIN PRIVATE KEY-----")
        );
    }

    #[test]
    fn every_hostile_form_differs_in_the_way_it_says() {
        assert!(rendered(Some(Hostile::TenMegabytes)).len() > 10 * 1024 * 1024);
        assert!(rendered(Some(Hostile::YamlBomb)).len() < 1024);
        assert!(rendered(Some(Hostile::ExecPlugin)).contains("command: /bin/sh"));
        let escapes: Value =
            serde_saphyr::from_str(&rendered(Some(Hostile::TerminalEscapes))).unwrap();
        assert!(
            escapes["clusters"][0]["cluster"]["server"]
                .as_str()
                .unwrap()
                .contains('\u{1b}')
        );
        let wrong: Value = serde_saphyr::from_str(&rendered(Some(Hostile::WrongPem))).unwrap();
        assert_eq!(
            wrong["users"][0]["user"]["client-certificate-data"],
            STANDARD.encode("no PEM at all")
        );
    }
}
