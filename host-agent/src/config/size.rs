//! Sizes as people write them: `512MiB`, `8GiB`, `20G`.

/// Units with their MiB. `M` and `G` are the same: nobody means powers of ten of a disk image.
const UNITS: [(&str, u32); 6] = [
    ("MiB", 1),
    ("M", 1),
    ("GiB", 1024),
    ("G", 1024),
    ("TiB", 1024 * 1024),
    ("T", 1024 * 1024),
];

/// Reads a size in MiB.
///
/// # Errors
/// What a size looks like.
pub fn parse_mib(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a size: write one as 512MiB or 8GiB");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let (_, factor) = UNITS
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(unit.trim()))
        .ok_or_else(wrong)?;
    number
        .checked_mul(*factor)
        .filter(|&mib| mib > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_a_unit() {
        for (text, mib) in [
            ("512MiB", 512),
            ("8GiB", 8192),
            ("20g", 20480),
            ("1 TiB", 1024 * 1024),
        ] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for text in [
            "", "512", "GiB", "-1GiB", "1.5GiB", "0MiB", "4096TiB", "1KiB", "8GiBs",
        ] {
            assert!(parse_mib(text).is_err(), "{text}");
        }
    }
}
