//! `seals`: hashes that identify what workers wrote.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};

use super::digest::RowDigest;
use super::values::Micros;

/// A seal: its number, and the hash that covers its rows and the seal before it.
///
/// ```
/// use claimgate::schema::Seal;
///
/// let seal = Seal { id: 7, head: [0xab; 32] };
/// assert_eq!(seal.to_string(), format!("7:{}", "ab".repeat(32)));
/// assert_eq!(seal.to_string().parse(), Ok(seal));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The number of its row in `seals`.
    pub id: i64,
    /// Its hash.
    pub head: [u8; 32],
}

/// As the header `claimgate-seal` has it: the number, a colon, the hash as 64 hex digits.
impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, hex::encode(self.head))
    }
}

/// The text is no seal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number, a colon and 64 hex digits")]
pub struct NoSeal;

impl FromStr for Seal {
    type Err = NoSeal;

    fn from_str(text: &str) -> Result<Self, NoSeal> {
        let (id, digits) = text.split_once(':').ok_or(NoSeal)?;
        let mut head = [0; 32];
        hex::decode_to_slice(digits, &mut head).map_err(|_| NoSeal)?;
        Ok(Self { id: id.parse().map_err(|_| NoSeal)?, head })
    }
}

/// Selected as a text: [`super::VERDICT_SEAL`].
impl Type<Postgres> for Seal {
    fn type_info() -> PgTypeInfo {
        <String as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Seal {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(<&str as Decode<Postgres>>::decode(value)?.parse()?)
    }
}

/// The tables whose rows are sealed, in the order of [`SealRow::digests`].
pub const SEALED_TABLES: [&str; 4] = ["verdicts", "claim_events", "risk_calls", "dead_letters"];

/// A row of `seals`.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SealRow {
    /// Its number.
    pub id: i64,
    /// The seal before it; `None` for the first of all.
    pub previous: Option<i64>,
    /// The digests of rows of `verdicts`, one after the other.
    pub verdicts: Vec<u8>,
    /// The digests of rows of `claim_events`.
    pub claim_events: Vec<u8>,
    /// The digests of rows of `risk_calls`.
    pub risk_calls: Vec<u8>,
    /// The digests of rows of `dead_letters`.
    pub dead_letters: Vec<u8>,
    /// When its rows were written, UNIX microseconds: it may have been altered to what no clock
    /// gives.
    #[sqlx(try_from = "Micros")]
    pub sealed_at: i64,
    /// Its hash.
    pub head: Vec<u8>,
}

/// The columns of [`SealRow`].
pub const SEAL_COLUMNS: &str =
    "id, previous, verdicts, claim_events, risk_calls, dead_letters, sealed_at, head";

impl SealRow {
    /// The digests by table, in the order of [`SEALED_TABLES`].
    pub fn digests(&self) -> [impl Iterator<Item = RowDigest>; 4] {
        self.tables().map(|digests| {
            digests.chunks(size_of::<RowDigest>()).map(|bytes| {
                let mut digest = RowDigest::default();
                digest[..bytes.len()].copy_from_slice(bytes);
                digest
            })
        })
    }

    fn tables(&self) -> [&Vec<u8>; 4] {
        [&self.verdicts, &self.claim_events, &self.risk_calls, &self.dead_letters]
    }

    /// The hash over its content and the hash before it: `claimgate_seal_head` of
    /// `migrations/0007_seals.sql`.
    pub fn derived_head(&self, previous_head: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(previous_head);
        hash.update(self.id.to_be_bytes());
        hash.update(Micros(self.sealed_at).sent());
        for digests in self.tables() {
            hash.update(i32::try_from(digests.len()).unwrap_or(i32::MAX).to_be_bytes());
            hash.update(digests);
        }
        hash.finalize().into()
    }
}
