//! API keys: how they look, and what they allow.
//!
//! `cv_live_sk_` and 46 letters and digits: 40 random ones (238 bits) and a checksum of six. The prefix lets secret
//! scanners find a leaked key by a plain pattern, the checksum lets them be sure, and a mistyped key costs no look-up.
//!
//! Only [`KeyHash`], a bare SHA-256, is ever stored. That is the right hash here and would be the wrong one for a
//! password: nobody guesses 238 random bits, so neither salt nor a slow function would add anything, and a slow one
//! would let anyone buy our CPU time with made-up keys.

use std::{fmt, str::FromStr};

use cybervault_model::hex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LEN: usize = 40;
/// 62⁶ is more than 2³².
const CHECKSUM_LEN: usize = 6;

/// Which data a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// `cv_live_sk_`: production, as far as its scopes go.
    Live,
    /// `cv_test_sk_`: the sandbox, which has made-up data of its own.
    Test,
    /// `cv_read_sk_`: production, reading only.
    Read,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Live, Self::Test, Self::Read];

    /// The name in records and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
            Self::Read => "read",
        }
    }

    const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "cv_live_sk_",
            Self::Test => "cv_test_sk_",
            Self::Read => "cv_read_sk_",
        }
    }

    /// What its keys work on, as `/v3/system/health` says it.
    pub const fn environment(self) -> &'static str {
        match self {
            Self::Live | Self::Read => "production",
            Self::Test => "sandbox",
        }
    }

    /// The scopes that a key of this kind can have.
    pub fn scopes(self) -> &'static [Scope] {
        use Scope as S;
        match self {
            Self::Live => &Scope::ALL,
            Self::Test => &[S::ThreatRead, S::ThreatWrite, S::ResponseRead, S::ResponseWrite, S::QuotaRead],
            Self::Read => &[S::ThreatRead, S::ResponseRead, S::QuotaRead],
        }
    }
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Assessments, entities, rules, reports and the stream of these.
    #[serde(rename = "threat:read")]
    ThreatRead,
    /// Sending events to be analysed.
    #[serde(rename = "threat:write")]
    ThreatWrite,
    /// Actions.
    #[serde(rename = "response:read")]
    ResponseRead,
    /// Approving and denying actions, and words on incidents.
    #[serde(rename = "response:write")]
    ResponseWrite,
    /// Quotas and what was held back by them.
    #[serde(rename = "quota:read")]
    QuotaRead,
    /// Changing rules. No endpoint asks for it yet.
    #[serde(rename = "rules:write")]
    RulesWrite,
    /// The tenant's keys, and how the pipeline is doing.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ThreatRead,
        Self::ThreatWrite,
        Self::ResponseRead,
        Self::ResponseWrite,
        Self::QuotaRead,
        Self::RulesWrite,
        Self::Admin,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ThreatRead => "threat:read",
            Self::ThreatWrite => "threat:write",
            Self::ResponseRead => "response:read",
            Self::ResponseWrite => "response:write",
            Self::QuotaRead => "quota:read",
            Self::RulesWrite => "rules:write",
            Self::Admin => "admin",
        }
    }
}

/// A text that is no scope.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no scope; there are threat:read, threat:write, response:read, response:write, quota:read, rules:write and admin"
)]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == name);
        found.ok_or_else(|| UnknownScope(name.chars().take(40).collect()))
    }
}

/// A key in clear. It is shown to whoever asked for it once, and never written down.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    kind: KeyKind,
    text: String,
}

impl Secret {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn generate(kind: KeyKind) -> Result<Self, getrandom::Error> {
        let mut text = format!("{}{}", kind.prefix(), random_text(RANDOM_LEN)?);
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self { kind, text })
    }

    /// Reads what someone sent: `None` unless prefix, length, alphabet and checksum are a key's.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = KeyKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()))?;
        let rest = &text.as_bytes()[kind.prefix().len()..];
        if rest.len() != RANDOM_LEN + CHECKSUM_LEN || !rest.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let (body, found) = text.split_at(text.len() - CHECKSUM_LEN);
        (checksum(body) == found).then(|| Self { kind, text: text.to_owned() })
    }

    /// Which data it opens.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.text)
    }

    /// What people tell it from others by: the prefix and the last four characters, which are of the checksum.
    pub fn hint(&self) -> String {
        format!("{}…{}", self.kind.prefix(), &self.text[self.text.len() - 4..])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hint())
    }
}

/// The SHA-256 of a secret of high entropy: a key, a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Of any secret text.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// As it is stored.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Whether `stored` is this hash, in a time that does not depend on where they differ.
    pub fn matches(&self, stored: &str) -> bool {
        self.to_hex().as_bytes().ct_eq(stored.as_bytes()).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// `len` letters and digits, each as likely as any other.
pub(crate) fn random_text(len: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        // 248 = 4 · 62: what lies beyond would make the first letters likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(fair.take(len - text.len()));
    }
    Ok(text)
}

/// The CRC-32 of `text` in base 62, most significant first, filled up with zeros.
fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_a_typo_without_a_look_up() {
        for kind in KeyKind::ALL {
            let key = Secret::generate(kind).unwrap();
            let parsed = Secret::parse(key.reveal()).unwrap();
            assert_eq!((parsed.kind(), parsed.hash()), (kind, key.hash()));
            let text = key.reveal();
            for at in 0..text.len() {
                let other = if text.as_bytes()[at] == b'a' { "b" } else { "a" };
                let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                assert_eq!(Secret::parse(&typo), None, "{typo}");
            }
            assert!(Secret::parse(&text[..text.len() - 1]).is_none() && Secret::parse(&format!("{text}0")).is_none());
        }
        for text in ["", "cv_live_sk_", "cv_live_sk_ü", "sk_live_0"] {
            assert_eq!(Secret::parse(text), None);
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = Secret::generate(KeyKind::Live).unwrap();
        let shown = format!("{key:?} {:?} {}", key.hash(), key.hint());
        assert!(!shown.contains(&key.reveal()[11..40]), "{shown}");
        assert!(key.hash().matches(&KeyHash::of(key.reveal()).to_hex()));
        assert!(!key.hash().matches("") && !key.hash().matches(&KeyHash::of("other").to_hex()));
    }
}
