//! The digest of a row, which identifies its content.
//!
//! A row is hashed in the form in which it is sent, so that a worker can hash it before writing and
//! an auditor after reading. Columns that PostgreSQL fills are not part of it.

use sha2::{Digest as _, Sha256};
use sqlx::encode::{Encode, IsNull};
use sqlx::postgres::PgArgumentBuffer;
use sqlx::{Postgres, Type};

/// The first 16 bytes of the SHA-256 of a row.
pub type RowDigest = [u8; 16];

/// Enough for a row of ordinary size.
const CAPACITY: usize = 2_048;

/// The input of a row's digest: the table's name, then each column in PostgreSQL's binary form with
/// its length before it, or -1 for null.
pub(super) struct Content {
    buffer: PgArgumentBuffer,
}

impl Content {
    /// The input for a row of this table, without columns yet.
    pub(super) fn of(table: &str) -> Self {
        let mut buffer = PgArgumentBuffer::default();
        buffer.reserve(CAPACITY);
        buffer.extend_from_slice(table.as_bytes());
        Self { buffer }
    }

    /// Adds the next column.
    pub(super) fn add<'q, T>(&mut self, value: T) -> sqlx::Result<()>
    where
        T: Encode<'q, Postgres> + Type<Postgres>,
    {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        let is_null = value.encode(&mut self.buffer).map_err(sqlx::Error::Encode)?;
        let length = match is_null {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(self.buffer.len() - start - 4).unwrap_or(i32::MAX),
        };
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// The digest of what was added.
    pub(super) fn digest(self) -> RowDigest {
        let mut digest = RowDigest::default();
        digest.copy_from_slice(&Sha256::digest(self.buffer.as_slice())[..16]);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(columns: [Option<&str>; 2]) -> RowDigest {
        let mut content = Content::of("things");
        for column in columns {
            content.add(column).expect("a text");
        }
        content.digest()
    }

    #[test]
    fn columns_do_not_run_into_each_other() {
        let all = [
            [Some("a"), Some("b")],
            [Some("ab"), Some("")],
            [Some(""), Some("ab")],
            [Some("ab"), None],
            [None, Some("ab")],
        ];
        for (index, one) in all.into_iter().enumerate() {
            for (other, another) in all.into_iter().enumerate() {
                assert_eq!(digest(one) == digest(another), index == other);
            }
        }
    }
}
