//! Compares the tables of `docs/risk-apis.md` with the code, in both directions: every row is
//! tried, and code without a row fails as well.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::testing::*;
use super::{APIS, Registration, Registry, testing};

mod codes;
mod fields;
mod policies;
mod reasons;

const PAGE: &str = include_str!("../../../../docs/risk-apis.md");
const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// Every API's name, which is the heading of its section.
fn apis() -> impl Iterator<Item = &'static str> {
    apis_that(|_| true)
}

fn apis_that(are: impl Fn(&Registration) -> bool) -> impl Iterator<Item = &'static str> {
    APIS.iter().filter(move |api| are(api)).map(|api| api.name)
}

/// The cells of one table, row by row, without its head.
pub(super) type Rows = Vec<Vec<String>>;

/// The first table under a second-level heading, or under a third-level one within it.
fn table(section: &str, part: &str) -> Rows {
    find(section, part).unwrap_or_else(|| panic!("{section}: {part}: no table"))
}

fn find(section: &str, part: &str) -> Option<Rows> {
    let heading = |line: &str, level: &str| {
        line.strip_prefix(level).map(|text| text.trim_matches('`').to_owned())
    };
    let (mut here, mut rows): ((String, String), Option<Rows>) = Default::default();
    for line in PAGE.lines() {
        if let Some(text) = heading(line, "## ") {
            here = (text, String::new());
        } else if let Some(text) = heading(line, "### ") {
            here.1 = text;
        }
        match line.strip_prefix("| ") {
            Some(_) if here != (section.to_owned(), part.to_owned()) => {}
            Some(row) => {
                let cells = row
                    .trim_end_matches('|')
                    .split('|')
                    .map(|cell| cell.trim().to_owned())
                    .collect();
                rows.get_or_insert_default().push(cells);
            }
            None if rows.is_some() => break,
            None => {}
        }
    }
    // The head and the line below it.
    rows.map(|rows| rows.into_iter().skip(2).collect())
}

/// The texts in backquotes.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// `4–8, 10`: the numbers of a cell, each a range.
fn ranges(cell: &str) -> Vec<RangeInclusive<i64>> {
    let number =
        |text: &str| text.trim().parse::<i64>().unwrap_or_else(|_| panic!("{cell:?} has {text:?}"));
    let range = |text: &str| match text.split_once('–') {
        Some((low, high)) => number(low)..=number(high),
        None => number(text)..=number(text),
    };
    cell.split(',').filter(|text| !text.trim().is_empty()).map(range).collect()
}

/// An API with default settings, and with the transient codes of `config/default.toml`.
fn by_default(name: &str) -> Registry {
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let codes = &defaults["retry"]["transient_codes"];
    let start = CREDENTIALS.find("[retry]").unwrap();
    let toml =
        format!("{}[retry]\ntransient_codes = {codes}\n[risk.{name}]", &CREDENTIALS[..start]);
    testing::registry(&toml).unwrap()
}

#[test]
fn the_page_names_every_api_its_kind_and_its_schema() {
    let mut documented = BTreeMap::new();
    let start = PAGE.find("| kind of claim |").unwrap();
    for line in PAGE[start..].lines().skip(2).take_while(|line| line.starts_with('|')) {
        let [kind, api, schema] = spans(line)[..] else { panic!("{line}") };
        documented.insert(api, (kind, schema));
    }
    let built: BTreeMap<_, _> = APIS
        .iter()
        .map(|registration| (registration.name, (registration.kind, registration.schema)))
        .collect();
    assert_eq!(documented, built);
}

#[test]
fn the_transient_codes_are_those_the_page_names() {
    let start = PAGE.find("`retry.transient_codes` (").unwrap();
    let listed = PAGE[start..].split(['(', ')']).nth(1).unwrap();
    let documented: Vec<_> = ranges(listed).into_iter().flatten().collect();
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let configured: Vec<_> = defaults["retry"]["transient_codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_integer().unwrap())
        .collect();
    assert_eq!(documented, configured);
}
