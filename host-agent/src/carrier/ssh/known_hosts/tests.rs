use super::*;

const OURS: &[u8] = b"the key on the wire";
const OTHER: &[u8] = b"another key";

fn line(hosts: &str, key_type: &str, key: &[u8]) -> String {
    format!("{hosts} {key_type} {}", BASE64_STANDARD.encode(key))
}

fn known(text: &str, name: &str) -> KnownKeys {
    let mut keys = KnownKeys::default();
    keys.read(text, Path::new("/kh"), name);
    keys
}

fn place(line: usize) -> Place {
    Place {
        file: "/kh".into(),
        line,
    }
}

#[test]
fn a_filed_key_is_known() {
    let text = format!(
        "# comment\n\n{}\tcomment\n",
        line("other,Host.example", "ssh-ed25519", OURS).replace(' ', "\t ")
    );
    assert_eq!(known(&text, "host.example").verdict(OURS), Verdict::Known);
    assert_eq!(known(&text, "host").verdict(OURS), Verdict::Unknown);
}

#[test]
fn another_key_is_a_change_and_says_where_the_old_one_stands() {
    let text = format!("#\n{}\n", line("h", "ssh-ed25519", OTHER));
    let expected = Verdict::Changed {
        key: OTHER.to_vec(),
        place: place(2),
    };
    assert_eq!(known(&text, "h").verdict(OURS), expected);
}

#[test]
fn another_type_is_a_change_too() {
    let text = line("h", "ecdsa-sha2-nistp256", OTHER);
    assert!(matches!(
        known(&text, "h").verdict(OURS),
        Verdict::Changed { .. }
    ));
    assert!(known(&text, "h").has_type("ecdsa-sha2-nistp256"));
    assert!(!known(&text, "h").has_type("ssh-ed25519"));
}

#[test]
fn a_host_with_an_rsa_key_only_is_neither_known_nor_changed() {
    let text = line("h", "ssh-rsa", OTHER);
    assert_eq!(
        known(&text, "h").verdict(OURS),
        Verdict::OnlyType {
            key_type: "ssh-rsa".to_owned(),
            place: place(1)
        }
    );
}

#[test]
fn one_of_several_keys_suffices() {
    let text = [
        line("h", "ssh-ed25519", OTHER),
        line("h", "ssh-ed25519", OURS),
    ]
    .join("\n");
    assert_eq!(known(&text, "h").verdict(OURS), Verdict::Known);
}

#[test]
fn revoked_wins_over_known() {
    let text = [
        line("h", "ssh-ed25519", OURS),
        format!("@revoked {}", line("*", "ssh-ed25519", OURS)),
    ]
    .join("\n");
    assert_eq!(known(&text, "h").verdict(OURS), Verdict::Revoked(place(2)));
    assert_eq!(
        known(&text, "[h]:2222").verdict(OURS),
        Verdict::Revoked(place(2))
    );
}

#[test]
fn an_authority_vouches_for_no_bare_key() {
    let text = format!("@cert-authority {}", line("*.example", "ssh-ed25519", OURS));
    assert_eq!(
        known(&text, "a.example").verdict(OURS),
        Verdict::OnlyAuthority(place(1))
    );
}

#[test]
fn an_entry_without_port_confirms_and_never_contradicts() {
    let text = line("h", "ssh-ed25519", OURS);
    let keys = known(&text, "[h]:2222");
    assert!(keys.has_type("ssh-ed25519"));
    assert_eq!(keys.verdict(OURS), Verdict::Known);
    assert_eq!(keys.verdict(OTHER), Verdict::Unknown);
    let both = format!("{text}\n{}", line("[h]:2222", "ecdsa-sha2-nistp256", OTHER));
    assert!(!known(&both, "[h]:2222").has_type("ssh-ed25519"));
}

#[test]
fn lines_that_are_no_entries_are_passed_over() {
    let text = format!(
        "h\nh ssh-ed25519\n@strange {entry}\nh ssh-ed25519 !!!\n{long} ssh-ed25519 AAAA\n{entry}",
        entry = line("h", "ssh-ed25519", OURS),
        long = "h".repeat(MAX_LINE)
    );
    let keys = known(&text, "h");
    assert_eq!(keys.entries.len(), 1);
    assert_eq!(keys.entries[0].place, place(6));
}
