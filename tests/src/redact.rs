//! What differs from run to run is replaced by its name, so that the rest can be compared.

/// Words that are followed by a number to hide, and what it becomes.
const COUNTED: &[(&str, &str)] = &[("pid ", "PID"), ("\"pid\": ", "0"), ("\"pid\":", "0")];

/// Replaces `known` texts, then process ids and durations.
pub(crate) fn redact(text: &str, known: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (secret, name) in known {
        text = text.replace(secret, name);
    }
    for (word, name) in COUNTED {
        text = after(&text, word, name);
    }
    durations(&text)
}

/// Replaces the digits behind each `word`.
fn after(text: &str, word: &str, name: &str) -> String {
    let mut parts = text.split(word);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        result.push_str(word);
        if rest.len() < part.len() {
            result.push_str(name);
        }
        result.push_str(rest);
    }
    result
}

/// Replaces `1.4 s`, `12 ms` and `250µs`-like times by `TIME`, and the blanks in front by one.
fn durations(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ') {
            let bracket = words.last().is_some_and(|last| last.starts_with('('));
            let number = words.last().is_some_and(|last| {
                let digits = last.trim_start_matches('(');
                digits.parse::<f64>().is_ok_and(|number| number >= 0.0)
            });
            let unit = word.trim_end_matches(['.', ',', ';', ':', ')']);
            if number && matches!(unit, "s" | "ms") {
                words.pop();
                while words.last().is_some_and(String::is_empty) {
                    words.pop();
                }
                let open = if bracket { "(" } else { "" };
                words.push(format!("{open}TIME{}", &word[unit.len()..]));
            } else {
                words.push(word.to_owned());
            }
        }
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_hidden() {
        let known = [("/tmp/e2e-x".to_owned(), "$ENV".to_owned())];
        let text = "  ✓ api   /readyz ok        0.9 s\nup after 12.25 s (5 ms).\npid 42, /tmp/e2e-x/a:6443, 3 of 3 s3";
        assert_eq!(
            redact(text, &known),
            "  ✓ api   /readyz ok TIME\nup after TIME (TIME).\npid PID, $ENV/a:6443, 3 of 3 s3"
        );
    }
}
