//! What every table has: a name, columns, and one statement that inserts any number of rows.
//!
//! `table!` makes all of it from one list, so that a column is named once and has the same place in
//! the statement and among its arrays.

use std::sync::OnceLock;

use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection};

use super::digest::RowDigest;

/// A table and the columns that claimgate writes, without those that PostgreSQL fills.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Names and SQL types, in the order of the arrays.
    columns: &'static [(&'static str, &'static str)],
    /// The statement of [`insert`]: always the same text, so that it is prepared once.
    insert: OnceLock<String>,
}

impl Table {
    pub(super) const fn new(
        name: &'static str,
        columns: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { name, columns, insert: OnceLock::new() }
    }

    /// Selects its columns. `rest` is what follows: a condition, an order.
    pub fn select(&self, rest: &str) -> AssertSqlSafe<String> {
        self.select_and("", rest)
    }

    /// Selects its columns and `more`, such as `, recorded_at`.
    pub fn select_and(&self, more: &str, rest: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("select {}{more} from {} {rest}", self.names(), self.name))
    }

    /// Inserts rows from one array per column. `rest` is what follows: an order, a conflict clause,
    /// a returning clause.
    pub fn insert(&self, rest: &str) -> String {
        self.insert_from(1, rest)
    }

    /// The same, with the arrays as parameters of the statement from `first` on.
    pub fn insert_from(&self, first: usize, rest: &str) -> String {
        self.insert_with(("", "", ""), first, rest)
    }

    /// `more`: a column that has no array, its value, and the source of that.
    fn insert_with(&self, more: (&str, &str, &str), first: usize, rest: &str) -> String {
        let (name, names) = (self.name, self.names());
        let (column, value, source) = more;
        let arrays =
            join((first..).zip(self.columns).map(|(n, (_, of))| format!("${n}::{}[]", sent(of))));
        let values = join(self.columns.iter().map(|(column, of)| format!("{column}::{of}")));
        let given = format!("unnest({arrays}) as given ({names}){source}");
        format!("insert into {name} ({names}{column}) select {values}{value} from {given} {rest}")
    }

    /// The SQL of a column's array among those of [`Table::insert_from`]; empty if the table has no
    /// such column.
    pub fn array(&self, first: usize, column: &str) -> String {
        let found = (first..).zip(self.columns).find(|(_, (name, _))| *name == column);
        found.map_or_else(String::new, |(n, (_, of))| format!("${n}::{}[]", sent(of)))
    }

    /// The number of its columns, and so of arrays.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// The same for a table whose rows are sealed: the statement has the seal's number as
    /// `this.seal`.
    pub fn insert_sealed(&self, first: usize, rest: &str) -> String {
        self.insert_with((", seal", ", this.seal", ", this"), first, rest)
    }

    fn names(&self) -> String {
        join(self.columns.iter().map(|(column, _)| (*column).to_owned()))
    }
}

/// The type in which a column's values are sent. `unnest` would flatten an array of arrays, so an
/// array is sent as its text.
fn sent(of: &'static str) -> &'static str {
    if of.ends_with("[]") { "text" } else { of }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// A row before it is written: a reference, so that values are copied only into the statement.
pub trait NewRow: Copy {
    /// Its table.
    fn table() -> &'static Table;

    /// Binds the arrays for [`Table::insert_from`]: one per column.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`].
    fn bind(
        rows: impl Iterator<Item = Self> + Clone,
        arguments: &mut PgArguments,
    ) -> sqlx::Result<()>;

    /// The digest of its content.
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`].
    fn digest(self) -> sqlx::Result<RowDigest>;

    /// The arguments of [`Table::insert`].
    ///
    /// # Errors
    /// [`sqlx::Error::Encode`].
    fn arrays(rows: impl Iterator<Item = Self> + Clone) -> sqlx::Result<PgArguments> {
        let mut arguments = PgArguments::default();
        Self::bind(rows, &mut arguments)?;
        Ok(arguments)
    }
}

/// Inserts rows with one statement. An existing row is left alone, so that a batch whose commit got
/// no answer can be written again.
///
/// # Errors
/// PostgreSQL's.
pub async fn insert<R: NewRow>(
    connection: &mut PgConnection,
    rows: impl Iterator<Item = R> + Clone,
) -> sqlx::Result<()> {
    let table = R::table();
    let sql = table.insert.get_or_init(|| table.insert("on conflict do nothing"));
    sqlx::query_with(sql.as_str(), R::arrays(rows)?).execute(connection).await?;
    Ok(())
}

/// Declares a table by its columns: the name, the SQL type, and the value of a row.
macro_rules! table {
    ($(#[$doc:meta])* $TABLE:ident: $name:literal, $row:ident: $Row:ty {
        $($column:ident: $sql:literal = $value:expr,)+
    }) => {
        $(#[$doc])*
        pub static $TABLE: $crate::schema::Table =
            $crate::schema::Table::new($name, &[$((stringify!($column), $sql)),+]);

        impl<'a> $crate::schema::NewRow for $Row {
            fn table() -> &'static $crate::schema::Table {
                &$TABLE
            }

            fn bind(
                rows: impl Iterator<Item = Self> + Clone,
                arguments: &mut sqlx::postgres::PgArguments,
            ) -> sqlx::Result<()> {
                use sqlx::{Arguments, postgres::PgBindIterExt};
                $(
                    let values = rows.clone().map(|$row: $Row| $value).bind_iter();
                    arguments.add(values).map_err(sqlx::Error::Encode)?;
                )+
                Ok(())
            }

            fn digest(self) -> sqlx::Result<$crate::schema::RowDigest> {
                let $row: $Row = self;
                let mut content = $crate::schema::digest::Content::of($name);
                $(content.add($value)?;)+
                Ok(content.digest())
            }
        }
    };
}
pub(super) use table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_sent_as_text_and_everything_else_as_what_it_is() {
        let table = Table::new("things", &[("id", "bigint"), ("parts", "int[]")]);
        assert_eq!(
            table.insert("on conflict do nothing"),
            "insert into things (id, parts) select id::bigint, parts::int[] \
             from unnest($1::bigint[], $2::text[]) as given (id, parts) on conflict do nothing"
        );
        assert_eq!(table.select("where id = $1").0, "select id, parts from things where id = $1");
    }
}
