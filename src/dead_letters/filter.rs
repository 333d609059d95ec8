//! Which dead letters are selected: the filters of the command line, and the SQL condition that
//! they become.

use clap::Args;
use clap::builder::PossibleValuesParser;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use time::OffsetDateTime;

use super::DeadLetterError;
use super::address::Address;
use crate::audit::Period;
use crate::audit::period::{Time, parse_time};
use crate::claim::EventError;

/// The filters that every command has. All of them must hold.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// The error, in one word
    #[arg(long, value_name = "WORD", value_parser = errors())]
    error: Option<String>,
    /// The path of the field that is wrong, such as account.id
    #[arg(long, value_name = "PATH")]
    field: Option<String>,
    /// Received at this time or later: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Time>,
    /// Received before this time: RFC 3339, or a span such as 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Time>,
    /// From this topic
    #[arg(long)]
    topic: Option<String>,
    /// From this partition
    #[arg(long)]
    partition: Option<i32>,
    /// Not replayed yet
    #[arg(long)]
    not_replayed: bool,
}

/// The dead letters that a command is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    error: Option<String>,
    field: Option<String>,
    since: Option<OffsetDateTime>,
    until: Option<OffsetDateTime>,
    topic: Option<String>,
    partition: Option<i32>,
    not_replayed: bool,
    /// Only these, if any are named.
    pub(super) named: Vec<Address>,
    /// Only those written before this time by the server's clock.
    pub(super) recorded_before: Option<OffsetDateTime>,
}

impl Filter {
    /// Whether nothing is filtered.
    pub(super) fn is_empty(&self) -> bool {
        let Self { error, field, since, until, topic, partition, not_replayed } = self;
        let none = error.is_none() && field.is_none() && since.is_none() && until.is_none();
        none && topic.is_none() && partition.is_none() && !not_replayed
    }

    /// The selection of these filters as of `now`.
    ///
    /// # Errors
    /// [`DeadLetterError::Usage`]: no time is between `--since` and `--until`.
    pub(super) fn select(
        self,
        now: OffsetDateTime,
        named: Vec<Address>,
    ) -> Result<Selection, DeadLetterError> {
        let Self { error, field, since, until, topic, partition, not_replayed } = self;
        let [since, until] = [since, until].map(|time| time.map(|time| time.at(now)));
        if let (Some(since), Some(until)) = (since, until) {
            Period::new(since, until).map_err(DeadLetterError::Usage)?;
        }
        let recorded_before = None;
        Ok(Selection {
            error,
            field,
            since,
            until,
            topic,
            partition,
            not_replayed,
            named,
            recorded_before,
        })
    }
}

/// The values of `dead_letters.error`.
fn errors() -> PossibleValuesParser {
    PossibleValuesParser::new(EventError::ALL.map(EventError::as_str))
}

/// The condition on `dead_letters as letter`: `$1` to `$12`, which [`Selection::bind`] gives their
/// values.
macro_rules! selected {
    () => {
        "($1::text is null or letter.error = $1)
        and ($2::text is null or letter.error_field = $2)
        and ($3::timestamptz is null or letter.received_at >= $3)
        and ($4::timestamptz is null or letter.received_at < $4)
        and ($5::text is null or letter.source_topic = $5)
        and ($6::int is null or letter.source_partition = $6)
        and (not $7::boolean or not exists (
            select from dead_letter_replay_places as place
            where (place.source_topic, place.source_partition, place.source_offset, place.content)
                = (letter.source_topic, letter.source_partition, letter.source_offset,
                    letter.content)))
        and (cardinality($8::text[]) = 0 or exists (
            select from unnest($8::text[], $9::int[], $10::bigint[], $12::text[])
                as named (topic, partition, record, content)
            where (letter.source_topic, letter.source_partition, letter.source_offset)
                = (named.topic, named.partition, named.record)
                and letter.content = coalesce(named.content, letter.content)))
        and ($11::timestamptz is null or letter.recorded_at < $11) "
    };
}
pub(super) use selected;

impl Selection {
    /// Gives `$1` to `$12` of [`selected!`] their values.
    pub(super) fn bind<'q, R>(
        &self,
        query: QueryAs<'q, Postgres, R, PgArguments>,
    ) -> QueryAs<'q, Postgres, R, PgArguments> {
        let topics: Vec<String> =
            self.named.iter().map(|named| named.source.topic.clone()).collect();
        let partitions: Vec<i32> = self.named.iter().map(|named| named.source.partition).collect();
        let offsets: Vec<i64> = self.named.iter().map(|named| named.source.offset).collect();
        let contents: Vec<Option<String>> =
            self.named.iter().map(|named| named.content.clone()).collect();
        query
            .bind(self.error.clone())
            .bind(self.field.clone())
            .bind(self.since)
            .bind(self.until)
            .bind(self.topic.clone())
            .bind(self.partition)
            .bind(self.not_replayed)
            .bind(topics)
            .bind(partitions)
            .bind(offsets)
            .bind(self.recorded_before)
            .bind(contents)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        filter: Filter,
    }

    fn parsed(line: &str) -> Result<Filter, clap::Error> {
        let words = std::iter::once("list").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.filter)
    }

    #[test]
    fn an_unknown_error_word_is_refused_with_the_known_ones() {
        let said = parsed("--error not-json").expect_err("no such word").to_string();
        assert!(said.contains("not_json") && said.contains("unrecordable"), "{said}");
        assert!(parsed("--error not_json").is_ok());
    }

    #[test]
    fn a_time_that_is_none_is_a_mistake() {
        let select = |line| {
            let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
            parsed(line).expect("a filter").select(now, Vec::new())
        };
        let said = select("--since 1h --until 2h").expect_err("it ends before it begins");
        assert!(matches!(&said, DeadLetterError::Usage(said) if said.contains("--until")));
        assert!(select("--since 2h --until 1h").is_ok());
        assert!(select("--until 1h").is_ok());
    }
}
