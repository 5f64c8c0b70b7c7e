//! How a byte stream may arrive.

/// Cuts bytes into pieces whose lengths follow from `seed`: bytewise, whole, or anything between.
pub(crate) fn pieces(bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = match seed % 4 {
            0 => 1,
            1 => 7,
            2 => 300,
            _ => rest.len(),
        };
        let length = 1 + (state >> 8) as usize % most;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}
