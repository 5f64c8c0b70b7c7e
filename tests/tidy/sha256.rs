//! SHA-256 (FIPS 180-4), so that the manifest of the vectors can be checked by `sha256sum` as well
//! and this binary needs nothing but std.

use std::fmt::Write as _;

/// Hexadecimal digest.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut message = bytes.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend((bytes.len() as u64 * 8).to_be_bytes());
    let mut state = first_bits(8, 2);
    let constants = first_bits(64, 3);
    for block in message.chunks_exact(64) {
        compress(&mut state, &constants, block);
    }
    state.iter().fold(String::new(), |mut text, word| {
        let _ = write!(text, "{word:08x}");
        text
    })
}

fn compress(state: &mut [u32], constants: &[u32], block: &[u8]) {
    let mut schedule: Vec<u32> = block
        .chunks_exact(4)
        .map(|word| {
            word.iter()
                .fold(0, |value, byte| value << 8 | u32::from(*byte))
        })
        .collect();
    for at in 16..64 {
        let (early, late) = (schedule[at - 15], schedule[at - 2]);
        let low = early.rotate_right(7) ^ early.rotate_right(18) ^ early >> 3;
        let high = late.rotate_right(17) ^ late.rotate_right(19) ^ late >> 10;
        let sum = schedule[at - 16]
            .wrapping_add(low)
            .wrapping_add(schedule[at - 7]);
        schedule.push(sum.wrapping_add(high));
    }
    let mut work = state.to_vec();
    for (word, constant) in schedule.iter().zip(constants) {
        let (a, e) = (work[0], work[4]);
        let choice = e & work[5] ^ !e & work[6];
        let majority = a & work[1] ^ a & work[2] ^ work[1] & work[2];
        let rounded_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let rounded_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = [rounded_e, choice, *constant, *word]
            .iter()
            .fold(work[7], |sum, term| sum.wrapping_add(*term));
        work.rotate_right(1);
        work[0] = first.wrapping_add(rounded_a).wrapping_add(majority);
        work[4] = work[4].wrapping_add(first);
    }
    for (word, addend) in state.iter_mut().zip(work) {
        *word = word.wrapping_add(addend);
    }
}

/// First 32 bits of the fractions of the square (2) or cube (3) roots of the first primes.
fn first_bits(count: usize, degree: u32) -> Vec<u32> {
    let is_prime = |n: &u128| {
        (2..*n)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    (2_u128..)
        .filter(is_prime)
        .take(count)
        .map(|prime| root_bits(prime, degree))
        .collect()
}

/// The whole part of the root of `prime << 32 * degree` ends in the 32 bits wanted.
fn root_bits(prime: u128, degree: u32) -> u32 {
    let scaled = prime << (32 * degree);
    let (mut low, mut high) = (0_u128, 1_u128 << 40);
    while high - low > 1 {
        let middle = u128::midpoint(low, high);
        let fits = middle
            .checked_pow(degree)
            .is_some_and(|power| power <= scaled);
        if fits { low = middle } else { high = middle }
    }
    (low & u128::from(u32::MAX)) as u32
}

#[test]
fn digests_are_those_of_the_standard() {
    assert_eq!(
        hex(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        hex(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    );
}
