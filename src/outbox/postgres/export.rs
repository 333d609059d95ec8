//! Rows as CSV, as PostgreSQL itself writes them, however many there are.

use std::io;

use futures::TryStreamExt;
use sqlx::Connection;

use super::error::Failure;
use super::{PostgresStore, StoreError};

impl PostgresStore {
    /// Hands what a query selects to `take`, as CSV with a header, piece by piece. Where `take`
    /// fails, the rest is left and its error returned.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn copy_out(
        &self,
        select: &str,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<io::Result<()>, StoreError> {
        // Much takes long: a connection of its own, without the bounds.
        let connection = self.connections.unbounded().await;
        let mut connection = connection.map_err(|failure| self.store_error(failure))?;
        let copy = async {
            let statement = format!("copy ({select}) to stdout with (format csv, header)");
            let mut pieces = connection.copy_out_raw(&statement).await?;
            while let Some(piece) = pieces.try_next().await? {
                if let Err(error) = take(&piece) {
                    return Ok(Err(error));
                }
            }
            drop(pieces);
            connection.close().await?;
            Ok(Ok(()))
        };
        copy.await
            .map_err(|error: sqlx::Error| self.store_error(Failure::new(self.place(), &error)))
    }
}
