//! Letting a host in that a guest does not know yet, by a secret that a person carries from one to
//! the other. `PROTOCOL.md §10`.
//!
//! Neither end knows the other one's key, so both keys come out of the handshake and the secret
//! vouches for them. The host shows a key that is made of the secret, which is how the guest knows
//! that somebody has it before anything is said. The guest answers with a proof that is made of the
//! secret and of this very session, which somebody in the middle cannot pass on.

use std::{fmt, str::FromStr};

use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use thiserror::Error;

use crate::identity::{Identity, IdentityError};

/// Bytes of a token: 128 bits.
pub const TOKEN_LENGTH: usize = 16;

/// What only the two ends of one authenticated session know.
pub type Binding = [u8; 32];

/// The guest's word for its key.
pub type Proof = [u8; 32];

const IDENTITY: &[u8] = b"lkc enrolment: the host's key";
const PROOF: &[u8] = b"lkc enrolment: the guest's proof";

/// A secret that lets one host in, once. As text: groups of hexadecimal digits. It appears in no
/// `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; TOKEN_LENGTH]);

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a token: it has {} hexadecimal digits, in groups or not", TOKEN_LENGTH * 2)]
pub struct NotAToken;

impl Token {
    /// Makes a new one.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut bytes = [0; TOKEN_LENGTH];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The key pair that the host shows on the one link that enrols it.
    ///
    /// # Errors
    /// None in practice: every 32 bytes are an Ed25519 seed.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let seed = hmac::sign(&self.key(), IDENTITY);
        Identity::from_seed(seed.as_ref())
    }

    /// What the guest proves its key with, on the session that `binding` belongs to.
    #[must_use]
    pub fn proof(&self, binding: &Binding) -> Proof {
        let mut proof = Proof::default();
        proof.copy_from_slice(hmac::sign(&self.key(), &said(binding)).as_ref());
        proof
    }

    /// Whether `proof` is the one for that session.
    #[must_use]
    pub fn is_proved(&self, binding: &Binding, proof: &Proof) -> bool {
        hmac::verify(&self.key(), &said(binding), proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

fn said(binding: &Binding) -> Vec<u8> {
    [PROOF, binding].concat()
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks(2).enumerate() {
            let dash = if index == 0 { "" } else { "-" };
            write!(formatter, "{dash}{:02x}{:02x}", pair[0], pair[1])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(secret)")
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digits = text.chars().filter(|c| !matches!(c, '-' | ' '));
        let mut digit = || {
            let value = digits.next().and_then(|c| c.to_digit(16));
            value
                .and_then(|value| u8::try_from(value).ok())
                .ok_or(NotAToken)
        };
        let mut bytes = [0; TOKEN_LENGTH];
        for byte in &mut bytes {
            *byte = digit()? << 4 | digit()?;
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(NotAToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0011-2233-4455-6677-8899-aabb-ccdd-eeff";

    #[test]
    fn a_token_is_read_as_people_type_it() {
        let token: Token = TEXT.parse().unwrap();
        assert_eq!(token.to_string(), TEXT);
        for typed in [
            "00112233445566778899AABBCCDDEEFF",
            " 0011 2233 4455 6677 8899 aabb ccdd eeff ",
        ] {
            assert_eq!(typed.parse::<Token>().unwrap(), token);
        }
        for wrong in [
            "",
            "0011",
            &TEXT[1..],
            &format!("{TEXT}0"),
            &TEXT.replace('f', "g"),
        ] {
            assert_eq!(wrong.parse::<Token>(), Err(NotAToken), "{wrong}");
        }
        assert_eq!(format!("{token:?}"), "Token(secret)");
    }

    #[test]
    fn what_is_made_of_a_token_is_its_own() {
        let token: Token = TEXT.parse().unwrap();
        let other = Token::generate().unwrap();
        let key = token.identity().unwrap().public_key();
        assert_eq!(key, token.identity().unwrap().public_key());
        assert_ne!(key, other.identity().unwrap().public_key());
        let (binding, elsewhere) = ([1; 32], [2; 32]);
        let proof = token.proof(&binding);
        assert!(token.is_proved(&binding, &proof));
        assert!(!token.is_proved(&elsewhere, &proof));
        assert!(!other.is_proved(&binding, &proof));
        assert!(!token.is_proved(&binding, &[0; 32]));
    }
}
