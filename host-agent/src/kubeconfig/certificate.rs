//! Certificates and private keys: whether they are what they should be, and fit each other.

use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use x509_parser::{
    asn1_rs::Any,
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
};

use super::pem::Block;

/// A certificate that was parsed.
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    is_authority: bool,
    /// Seconds since 1970.
    not_before: i64,
    not_after: i64,
    key: PublicHalf,
}

/// What a private key and its certificate have in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicHalf {
    /// A point of an elliptic curve, as certificates have it.
    Point(Vec<u8>),
    /// An RSA modulus without leading zeros.
    Modulus(Vec<u8>),
    /// The key does not say.
    Unsaid,
}

/// Why a private key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It has not the structure of one.
    #[error("it has not the structure of a private key")]
    Malformed,
}

impl Certificate {
    pub(super) fn from_der(der: Vec<u8>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let is_authority = parsed.is_ca();
        let validity = parsed.validity();
        let (not_before, not_after) = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let key = match parsed.public_key().parsed().ok()? {
            PublicKey::RSA(key) => PublicHalf::Modulus(without_zeros(key.modulus)),
            _ => PublicHalf::Point(parsed.public_key().subject_public_key.data.to_vec()),
        };
        Some(Self {
            is_authority,
            not_before,
            not_after,
            key,
            der,
        })
    }

    pub(super) fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether this is the certificate of the key with that public half. Keys that do not carry
    /// theirs are taken at their word: to compute it takes more than parsing.
    pub(super) fn may_belong_to(&self, half: &PublicHalf) -> bool {
        *half == PublicHalf::Unsaid || *half == self.key
    }

    /// What is wrong with its validity, as the end of a sentence.
    pub(super) fn invalidity_at(&self, now: SystemTime) -> Option<String> {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        if now < self.not_before {
            Some(format!(
                "is valid only in {}",
                distance(self.not_before.saturating_sub(now))
            ))
        } else if now > self.not_after {
            Some(format!(
                "expired {} ago",
                distance(now.saturating_sub(self.not_after))
            ))
        } else {
            None
        }
    }
}

/// A time span for people.
fn distance(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl PublicHalf {
    /// The public half that a private key carries.
    pub(super) fn of_private_key(key: &Block) -> Result<Self, KeyError> {
        let half = match key.kind {
            "EC PRIVATE KEY" => of_sec1(&key.der),
            "RSA PRIVATE KEY" => of_pkcs1(&key.der),
            _ => of_pkcs8(&key.der),
        };
        half.ok_or(KeyError::Malformed)
    }
}

const INTEGER: u32 = 2;
const BIT_STRING: u32 = 3;
const OCTET_STRING: u32 = 4;
const OBJECT_IDENTIFIER: u32 = 6;
const SEQUENCE: u32 = 16;

/// `SEQUENCE { version, key OCTET STRING, [0] curve, [1] BIT STRING public }`, RFC 5915.
fn of_sec1(der: &[u8]) -> Option<PublicHalf> {
    let fields = sequence(der)?;
    universal(fields.first()?, INTEGER)?;
    universal(fields.get(1)?, OCTET_STRING)?;
    match fields.get(2..)?.iter().find(|field| context(field, 1)) {
        Some(field) => {
            let inner = whole(field.data)?;
            Some(PublicHalf::Point(bits(universal(&inner, BIT_STRING)?)?))
        }
        None => Some(PublicHalf::Unsaid),
    }
}

/// `SEQUENCE { version, modulus, exponent, … }`, RFC 8017.
fn of_pkcs1(der: &[u8]) -> Option<PublicHalf> {
    let fields = sequence(der)?;
    if fields.len() < 9 {
        return None;
    }
    fields
        .iter()
        .take(9)
        .try_for_each(|field| universal(field, INTEGER).map(|_| ()))?;
    Some(PublicHalf::Modulus(without_zeros(fields[1].data)))
}

/// `SEQUENCE { version, SEQUENCE { algorithm, … }, key OCTET STRING, [0] …, [1] public }`, RFC 5958.
fn of_pkcs8(der: &[u8]) -> Option<PublicHalf> {
    /// id-ecPublicKey, 1.2.840.10045.2.1.
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    /// rsaEncryption, 1.2.840.113549.1.1.1.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let fields = sequence(der)?;
    universal(fields.first()?, INTEGER)?;
    let algorithm = all(universal(fields.get(1)?, SEQUENCE)?)?;
    let algorithm = universal(algorithm.first()?, OBJECT_IDENTIFIER)?;
    let key = universal(fields.get(2)?, OCTET_STRING)?;
    match algorithm {
        EC => of_sec1(key),
        RSA => of_pkcs1(key),
        _ => match fields.get(3..)?.iter().find(|field| context(field, 1)) {
            Some(public) => Some(PublicHalf::Point(bits(public.data)?)),
            None => Some(PublicHalf::Unsaid),
        },
    }
}

/// The fields of a sequence that is the whole of `der`.
fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    all(universal(&whole(der)?, SEQUENCE)?)
}

/// The one value that `der` is.
fn whole(der: &[u8]) -> Option<Any<'_>> {
    match Any::from_der(der) {
        Ok(([], value)) => Some(value),
        _ => None,
    }
}

fn all(mut der: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut values = Vec::new();
    while !der.is_empty() {
        let (rest, value) = Any::from_der(der).ok()?;
        values.push(value);
        der = rest;
    }
    Some(values)
}

/// The content of a value of this universal type.
fn universal<'d>(value: &Any<'d>, tag: u32) -> Option<&'d [u8]> {
    let header = &value.header;
    (header.is_universal() && header.tag().0 == tag).then_some(value.data)
}

fn context(value: &Any<'_>, tag: u32) -> bool {
    value.header.is_contextspecific() && value.header.tag().0 == tag
}

/// The content of a bit string of whole bytes.
fn bits(content: &[u8]) -> Option<Vec<u8>> {
    match content {
        [0, bytes @ ..] => Some(bytes.to_vec()),
        _ => None,
    }
}

fn without_zeros(number: &[u8]) -> Vec<u8> {
    number
        .iter()
        .copied()
        .skip_while(|&byte| byte == 0)
        .collect()
}
