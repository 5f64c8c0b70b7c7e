//! Text for people.

/// Checks that a text can be printed as it is, whoever had a say in it.
#[track_caller]
pub(crate) fn assert_harmless(text: &str) {
    let harmful = |character: char| {
        (character.is_control() && character != '\n')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    };
    assert!(!text.contains(harmful), "{text:?} would act on a terminal");
}
