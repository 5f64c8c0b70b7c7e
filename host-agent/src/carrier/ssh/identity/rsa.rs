//! RSA signatures by ring, with the hashes of SHA-2 (RFC 8332).

use base64::{Engine, prelude::BASE64_STANDARD};
use crypto_bigint::{BoxedUint, NonZero};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair},
};
use russh::keys::{
    HashAlg, PrivateKey, PublicKey,
    ssh_encoding::Encode,
    ssh_key::{
        Mpint,
        private::KeypairData,
        public::{KeyData, RsaPublicKey},
    },
};

/// A private key of 2048 to 4096 bits, as ring takes them.
pub(in super::super) struct RsaSigner(RsaKeyPair);

impl RsaSigner {
    /// The key of a file in OpenSSH's format. The format leaves out what can be computed: the
    /// exponents modulo each prime.
    pub(super) fn of_openssh(key: &PrivateKey) -> Option<Self> {
        let KeypairData::Rsa(pair) = key.key_data() else {
            return None;
        };
        let private = pair.private();
        let [d, p, q] = [private.d(), private.p(), private.q()].map(Mpint::as_positive_bytes);
        let (d, p, q) = (d?, p?, q?);
        let (exponent_p, exponent_q) = (exponent_of(d, p)?, exponent_of(d, q)?);
        let components = KeyPairComponents {
            public_key: PublicKeyComponents {
                n: pair.public().n().as_positive_bytes()?,
                e: pair.public().e().as_positive_bytes()?,
            },
            d,
            p,
            q,
            dP: unpadded(&exponent_p),
            dQ: unpadded(&exponent_q),
            qInv: private.iqmp().as_positive_bytes()?,
        };
        RsaKeyPair::from_components(&components).ok().map(Self)
    }

    /// The key of a file as openssl wrote them, without a passphrase, and its public half.
    pub(super) fn of_pem(text: &str) -> Option<(Self, PublicKey)> {
        let body = |label: &str| {
            let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
            let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
            let body: String = body.split_ascii_whitespace().collect();
            BASE64_STANDARD.decode(body).ok()
        };
        let pair = match body("RSA PRIVATE KEY") {
            Some(der) => RsaKeyPair::from_der(&der).ok()?,
            None => RsaKeyPair::from_pkcs8(&body("PRIVATE KEY")?).ok()?,
        };
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
        let [e, n] = [&public.e, &public.n].map(|number| Mpint::from_positive_bytes(number));
        let public = KeyData::Rsa(RsaPublicKey::new(e, n).ok()?).into();
        Some((Self(pair), public))
    }

    /// The signature of `message` as it is on the wire; nothing for SHA-1, which servers no longer
    /// take.
    pub(super) fn sign(&self, message: &[u8], hash: Option<HashAlg>) -> Option<Vec<u8>> {
        let (name, padding) = match hash? {
            HashAlg::Sha256 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
            HashAlg::Sha512 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
            _ => return None,
        };
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .ok()?;
        let mut encoded = Vec::new();
        name.encode(&mut encoded).ok()?;
        signature.encode(&mut encoded).ok()?;
        Some(encoded)
    }
}

/// `d mod (prime - 1)`, in a time that does not depend on their values.
fn exponent_of(d: &[u8], prime: &[u8]) -> Option<Box<[u8]>> {
    let bits = u32::try_from(d.len().max(prime.len()) * 8).ok()?;
    let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, bits).ok();
    let modulus = number(prime)?.wrapping_sub(BoxedUint::one_with_precision(bits));
    let modulus: Option<NonZero<BoxedUint>> = NonZero::new(modulus).into();
    Some(number(d)?.rem(&modulus?).to_be_bytes())
}

fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
