//! Datagrams in a stream: what follows the answer to a dial over UDP. `PROTOCOL.md §6`.
//!
//! `length: u16, big-endian | so many bytes`, one after the other. A datagram of no bytes is one. The
//! length [`REFUSED`] has no bytes behind it: it is the guest's notice that the target's system said
//! that nobody listens there, for which a stream of datagrams has no other place.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// Largest datagram in bytes: what an IPv4 packet has room for behind its own and UDP's header.
/// IPv6 has room for twenty bytes more, which nobody may count on.
pub const MAX_DATAGRAM: usize = 65_507;

/// Length that stands for the notice that the target refused a datagram.
pub const REFUSED: u16 = u16::MAX;

/// Bytes of a length.
const PREFIX: usize = 2;

/// What a stream of datagrams carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A datagram.
    Datagram(Bytes),
    /// The target refused an earlier one. Only a guest says so.
    Refused,
}

/// A length that is neither a datagram's nor a notice's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} bytes are no datagram: the largest has {MAX_DATAGRAM}")]
pub struct BadLength(u16);

/// A datagram is larger than any that can be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a datagram of {0} bytes is too large: the largest has {MAX_DATAGRAM}")]
pub struct TooLarge(usize);

/// Appends a datagram in its frame.
///
/// # Errors
/// `TooLarge`; nothing is appended then.
pub fn put(datagram: &[u8], to: &mut BytesMut) -> Result<(), TooLarge> {
    let length = u16::try_from(datagram.len()).unwrap_or(REFUSED);
    if datagram.len() > MAX_DATAGRAM {
        return Err(TooLarge(datagram.len()));
    }
    to.reserve(PREFIX + datagram.len());
    to.put_u16(length);
    to.extend_from_slice(datagram);
    Ok(())
}

/// Appends the notice that the target refused a datagram.
pub fn put_refused(to: &mut BytesMut) {
    to.put_u16(REFUSED);
}

/// Takes the datagrams out of a stream's bytes, however they are cut. It holds at most one.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of an item whose end has not come.
    begun: BytesMut,
}

impl Decoder {
    /// Takes the next item off `input`; none once all of it is taken.
    ///
    /// # Errors
    /// `BadLength`, after which the stream makes no sense any more.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Item>, BadLength> {
        loop {
            if self.begun.is_empty()
                && let Some(prefix) = input.first_chunk::<PREFIX>()
            {
                let Some(length) = length_of(*prefix)? else {
                    input.advance(PREFIX);
                    return Ok(Some(Item::Refused));
                };
                if input.len() >= PREFIX + length {
                    input.advance(PREFIX);
                    return Ok(Some(Item::Datagram(input.split_to(length))));
                }
            }
            let Some(need) = self.need()? else {
                self.begun.clear();
                return Ok(Some(Item::Refused));
            };
            let missing = need.saturating_sub(self.begun.len());
            let part = input.split_to(missing.min(input.len()));
            self.begun.extend_from_slice(&part);
            if self.begun.len() < need {
                return Ok(None);
            }
            if self.need()? == Some(need) {
                let mut whole = std::mem::take(&mut self.begun);
                whole.advance(PREFIX);
                return Ok(Some(Item::Datagram(whole.freeze())));
            }
        }
    }

    /// Whether the bytes so far end within an item.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Bytes up to the end of the length, or of the datagram once its length is known; none for a
    /// notice.
    fn need(&self) -> Result<Option<usize>, BadLength> {
        match self.begun.first_chunk::<PREFIX>() {
            None => Ok(Some(PREFIX)),
            Some(prefix) => Ok(length_of(*prefix)?.map(|length| PREFIX + length)),
        }
    }
}

/// The length of a datagram, none of a notice.
fn length_of(prefix: [u8; PREFIX]) -> Result<Option<usize>, BadLength> {
    match u16::from_be_bytes(prefix) {
        REFUSED => Ok(None),
        length if usize::from(length) <= MAX_DATAGRAM => Ok(Some(usize::from(length))),
        length => Err(BadLength(length)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(items: &[Item]) -> Bytes {
        let mut bytes = BytesMut::new();
        for item in items {
            match item {
                Item::Datagram(datagram) => put(datagram, &mut bytes).unwrap(),
                Item::Refused => put_refused(&mut bytes),
            }
        }
        bytes.freeze()
    }

    fn decode(chunks: &[&[u8]]) -> Result<(Vec<Item>, bool), BadLength> {
        let (mut decoder, mut items) = (Decoder::default(), Vec::new());
        for chunk in chunks {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(item) = decoder.next(&mut chunk)? {
                items.push(item);
            }
            assert!(chunk.is_empty(), "all of it is taken");
        }
        Ok((items, decoder.is_within()))
    }

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let datagram = prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| Item::Datagram(Bytes::from(bytes)));
        prop::collection::vec(prop_oneof![4 => datagram, 1 => Just(Item::Refused)], 0..12)
    }

    proptest! {
        #[test]
        fn datagrams_arrive_whole_however_the_stream_is_cut(
            sent in items(),
            sizes in prop::collection::vec(1_usize..50, 1..8),
        ) {
            let bytes = encode(&sent);
            let (mut rest, mut chunks) = (&bytes[..], Vec::new());
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, behind) = rest.split_at(size.min(rest.len()));
                chunks.push(chunk);
                rest = behind;
            }
            prop_assert_eq!(decode(&chunks), Ok((sent, false)));
        }

        #[test]
        fn any_bytes_are_datagrams_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let halves = bytes.split_at(bytes.len() / 2);
            let cut = decode(&[halves.0, halves.1]);
            prop_assert_eq!(cut, decode(&[&bytes]));
        }
    }

    #[test]
    fn the_largest_datagram_passes_and_a_larger_one_does_not() {
        let largest = Bytes::from(vec![7; MAX_DATAGRAM]);
        let bytes = encode(&[Item::Datagram(largest.clone())]);
        let bytewise: Vec<_> = bytes.chunks(1).collect();
        let expected = vec![Item::Datagram(largest)];
        assert_eq!(decode(&bytewise), Ok((expected, false)));
        let mut nothing = BytesMut::new();
        let error = put(&[0; MAX_DATAGRAM + 1], &mut nothing).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a datagram of 65508 bytes is too large: the largest has 65507"
        );
        assert!(nothing.is_empty());
        for length in [65_508, 65_534_u16] {
            let error = decode(&[&length.to_be_bytes()]).unwrap_err();
            assert_eq!(error, BadLength(length));
        }
    }

    #[test]
    fn an_end_within_a_datagram_is_seen() {
        let bytes = encode(&[Item::Datagram(Bytes::from_static(b"abc"))]);
        for end in 1..bytes.len() {
            assert_eq!(decode(&[&bytes[..end]]), Ok((Vec::new(), true)), "{end}");
        }
    }
}
