//! The first column of a known hosts file: patterns, negations, hashes.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::hmac;

/// What a hashed name begins with: the salt and the hash follow, both in base64.
const HASH: &str = "|1|";

/// Whether the column `hosts` speaks of `name`, a lower-case host or `[host]:port`.
pub(super) fn matches(hosts: &str, name: &str) -> bool {
    if let Some(hash) = hosts.strip_prefix(HASH) {
        return is_hash_of(hash, name).unwrap_or(false);
    }
    let mut matched = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if glob(negated, name) => return false,
            Some(_) => {}
            None => matched |= glob(pattern, name),
        }
    }
    matched
}

/// `name` as a column that does not tell it to who reads the file; `salt` is to be random.
pub(in super::super) fn hashed(name: &str, salt: &[u8; 20]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    let hash = hmac::sign(&key, name.as_bytes());
    format!(
        "{HASH}{}|{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(hash.as_ref())
    )
}

fn is_hash_of(column: &str, name: &str) -> Option<bool> {
    let (salt, hash) = column.split_once('|')?;
    let salt = BASE64_STANDARD.decode(salt).ok()?;
    let hash = BASE64_STANDARD.decode(hash).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    Some(hmac::verify(&key, name.as_bytes(), &hash).is_ok())
}

/// Whether the whole of `text` is what `pattern` describes with `*` and `?`, in any case. Takes
/// time in proportion to the product of their lengths at most.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    p = after_star;
                    t = from + 1;
                    retry = Some((after_star, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("host", "host", true),
            ("HOST", "host", true),
            ("host", "host2", false),
            ("*.example", "a.example", true),
            ("*.example", ".example", true),
            ("*.example", "a.example.org", false),
            ("h?st", "host", true),
            ("h?st", "hst", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("[h]:22*", "[h]:2222", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_negated_pattern_wins_wherever_it_stands() {
        assert!(matches("a,*.example,b", "x.example"));
        assert!(!matches("*.example,!x.example", "x.example"));
        assert!(!matches("!x.example,*.example", "x.example"));
        assert!(!matches("!other", "x.example"));
    }

    #[test]
    fn hashes_are_of_exact_names() {
        let column = hashed("[127.0.0.1]:2222", &[7; 20]);
        assert!(matches(&column, "[127.0.0.1]:2222"));
        assert!(!matches(&column, "127.0.0.1"));
        for broken in ["|1|", "|1|x", "|1|!!|AAAA", "|1|AAAA|!!", "|2|AAAA|AAAA"] {
            assert!(!matches(broken, "127.0.0.1"), "{broken}");
        }
    }
}
