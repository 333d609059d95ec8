//! Reads a whole table of values, and reports every value at fault with its place. Pure.
//!
//! serde stops at the first fault. So the value at fault is replaced by its default or removed, and
//! the table is read again, until it can be read.

use config::{Map, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::strict::Strict;

/// A value that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Its keys, such as `worker.threads`; empty for the whole table.
    pub(crate) path: String,
    /// What is wrong with it, by serde's message.
    pub(crate) problem: String,
}

/// Reads a table and returns its faults. `None` if a fault cannot be removed.
pub(crate) fn read<T: DeserializeOwned>(
    mut root: Value,
    defaults: &Value,
) -> (Option<T>, Vec<Flaw>) {
    let mut flaws: Vec<Flaw> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(Strict(root.clone())) {
            Ok(value) => return (Some(value), flaws),
            Err(error) => error,
        };
        let keys = keys(error.path());
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        // A default that cannot be read would cause an endless loop.
        let is_known = flaws.iter().any(|flaw| flaw.path == path);
        flaws.push(Flaw { path, problem: error.into_inner().to_string() });
        if is_known || !mend(&mut root, defaults, &keys) {
            return (None, flaws);
        }
    }
}

/// The keys that lead to a value, or to the list that it is in.
fn keys(path: &Path) -> Vec<String> {
    let key = |segment: &Segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().map_while(key).collect()
}

/// Replaces a value by its default, or removes it. Returns whether that was possible.
fn mend(root: &mut Value, defaults: &Value, keys: &[String]) -> bool {
    let Some((last, parents)) = keys.split_last() else { return false };
    let Some(table) = table(root, parents) else { return false };
    match keys.iter().try_fold(defaults, |value, key| below(value)?.get(key)) {
        Some(default) => {
            table.insert(last.clone(), default.clone());
            true
        }
        None => table.remove(last).is_some(),
    }
}

fn table<'a>(root: &'a mut Value, keys: &[String]) -> Option<&'a mut Map<String, Value>> {
    let ValueKind::Table(below) = &mut root.kind else { return None };
    match keys {
        [] => Some(below),
        [key, rest @ ..] => table(below.get_mut(key)?, rest),
    }
}

fn below(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use config::{Config, File, FileFormat};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u8,
        #[serde(default)]
        list: Vec<u8>,
        #[serde(default)]
        ratio: f64,
        #[serde(default)]
        is_on: bool,
    }

    fn value(toml: &str) -> Value {
        let source = File::from_str(toml, FileFormat::Toml);
        Config::builder().add_source(source).build().expect("TOML").cache
    }

    fn flaws(toml: &str) -> (Option<BTreeMap<String, Inner>>, Vec<String>) {
        let (read, flaws) = read(value(toml), &value("[a]\ncount = 7"));
        (read, flaws.into_iter().map(|flaw| flaw.path).collect())
    }

    #[test]
    fn every_value_at_fault_is_found_and_the_rest_is_read() {
        let (read, mut flaws) =
            flaws("[a]\ncount = 300\nlist = [1, 'x']\nmore = 1\n[b]\ncount = 2\nlsit = []");
        flaws.sort();
        assert_eq!(flaws, ["a.count", "a.list[1]", "a.more", "b.lsit"]);
        let read = read.expect("mended");
        assert_eq!((read["a"].count, read["b"].count), (7, 2), "a default, and what was given");
        assert!(read["a"].list.is_empty());
    }

    #[test]
    fn a_number_is_neither_rounded_nor_made_of_something_else() {
        for (toml, path) in [
            ("[a]\ncount = 1.9", "a.count"),
            ("[a]\ncount = true", "a.count"),
            ("[a]\ncount = 'true'", "a.count"),
            ("[a]\ncount = '1.9'", "a.count"),
            ("[a]\ncount = 1\nlist = [4.6]", "a.list[0]"),
            ("[a]\ncount = 1\nlist = [true]", "a.list[0]"),
            ("[a]\ncount = 1\nratio = true", "a.ratio"),
            ("[a]\ncount = 1\nis_on = 1", "a.is_on"),
        ] {
            assert_eq!(flaws(toml).1, [path], "{toml}");
        }
        let texts = "count = '5'\nlist = ['4', 6]\nratio = '0.5'\nis_on = 'true'";
        for toml in [texts, "count = 5\nlist = [4, 6]\nratio = 0.5\nis_on = true"] {
            let (read, flaws) = flaws(&format!("[a]\n{toml}"));
            assert!(flaws.is_empty(), "{flaws:?}");
            let read = read.expect("read");
            let Inner { count, list, ratio, is_on } = &read["a"];
            assert_eq!((*count, list.as_slice(), *ratio, *is_on), (5, &[4, 6][..], 0.5, true));
        }
        let (read, _) = flaws("[a]\ncount = 1\nratio = 2");
        assert_eq!(read.expect("a whole number is a number")["a"].ratio, 2.0);
    }

    #[test]
    fn a_fault_that_cannot_be_taken_out_ends_the_reading() {
        let (number, flaws) = read::<u8>(value("x = 1"), &value(""));
        assert!(number.is_none() && flaws.len() == 1, "{flaws:?}");
        let (map, flaws) = read::<BTreeMap<String, u8>>(value("x = 'a'"), &value("x = 'b'"));
        assert!(map.is_none() && flaws.len() == 2, "the default is no better: {flaws:?}");
    }
}
