//! The layers of the configuration: a later source wins over an earlier one, key by key.
//!
//! Owns three spellings that every source may use: `<key>_file` for a secret, one text for a list,
//! `_` for `.` in the name of a librdkafka property. Does not know the meaning of any key. The
//! invariant: after [`resolve`] each key has one spelling, with the value of the last source that
//! gave it.

use std::path::PathBuf;

use config::{Map, Value, ValueKind};

use super::secrets::{self, SECRETS};
use crate::findings::Finding;

/// Keys that hold a list. `*` stands for any name; `**` for every key below.
const LISTS: [&[&str]; 7] = [
    &["retry", "transient_codes"],
    &["egress", "no_proxy"],
    &["risk", "*", "serves"],
    &["risk", "*", "policy", "*"],
    &["audit", "overrides", "*"],
    &["policy", "shadow", "levels", "*", "*"],
    &["telemetry", "baggage"],
];
/// Properties of librdkafka whose value may be in a file.
pub(super) const SECRET_PROPERTIES: [&str; 10] = [
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
];
/// The suffix of the key of a secret whose value is in a file.
const IN_A_FILE: &str = "_file";

/// Merges a source over those before it.
pub(super) fn overlay(into: &mut Value, mut layer: Value) {
    if let Some(properties) = at(&mut layer, &["kafka", "properties"]) {
        let named = |(name, value): (String, Value)| (property(&name), value);
        *properties = std::mem::take(properties).into_iter().map(named).collect();
    }
    merge(into, layer);
}

fn merge(into: &mut Value, from: Value) {
    match (&mut into.kind, from) {
        (ValueKind::Table(into), Value { kind: ValueKind::Table(from), .. }) => {
            // A secret that this source gives directly wins over an earlier source's file, and the
            // other way round.
            let spellings = from.keys().map(|key| other_spelling(key));
            spellings
                .filter(|other| !from.contains_key(other))
                .for_each(|other| drop(into.remove(&other)));
            for (key, value) in from {
                let nothing = || Value::new(None, ValueKind::Table(Map::new()));
                merge(into.entry(key).or_insert_with(nothing), value);
            }
        }
        (_, from) => *into = from,
    }
}

/// `key` for `key_file`, and the other way round.
fn other_spelling(key: &str) -> String {
    key.strip_suffix(IN_A_FILE).map_or_else(|| format!("{key}{IN_A_FILE}"), str::to_owned)
}

/// A property's name as librdkafka writes it; `sasl.password_file` keeps its ending.
fn property(name: &str) -> String {
    let dotted = name.replace('_', ".");
    match dotted.strip_suffix(".file").filter(|secret| SECRET_PROPERTIES.contains(secret)) {
        Some(secret) => format!("{secret}{IN_A_FILE}"),
        None => dotted,
    }
}

/// Reads the files of secrets, cleans the secrets, and splits texts into lists. Returns the faults
/// by key. A value at fault is replaced as if it had not been given.
pub(super) fn resolve(root: &mut Value) -> Vec<Finding> {
    let mut faults = Vec::new();
    for secret in &SECRETS {
        let Some(section) = at(root, &[secret.section]) else { continue };
        faults.extend(read_file(section, secret.section, secret.key).err());
        if let Some(ValueKind::String(text)) =
            section.get_mut(secret.key).map(|value| &mut value.kind)
        {
            *text = secrets::clean(secret, text).unwrap_or_else(|fault| {
                faults.push(fault);
                String::new()
            });
        }
    }
    if let Some(properties) = at(root, &["kafka", "properties"]) {
        for name in SECRET_PROPERTIES {
            faults.extend(read_file(properties, "kafka.properties", name).err());
            if let Some(ValueKind::String(text)) =
                properties.get_mut(name).map(|value| &mut value.kind)
            {
                *text = secrets::without_ends(text).to_owned();
            }
        }
    }
    LISTS.iter().for_each(|path| split_lists(root, path, "", &mut faults));
    faults
}

/// The files that [`resolve`] will read.
pub(super) fn secret_files(root: &mut Value) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut add = |table: &Map<String, Value>, key: &str| {
        let path = table.get(&format!("{key}{IN_A_FILE}"));
        let path = path.and_then(|path| path.clone().into_string().ok());
        files.extend(path.map(PathBuf::from));
    };
    for secret in &SECRETS {
        if let Some(section) = at(root, &[secret.section]) {
            add(section, secret.key);
        }
    }
    if let Some(properties) = at(root, &["kafka", "properties"]) {
        SECRET_PROPERTIES.iter().for_each(|name| add(properties, name));
    }
    files
}

/// The table at a path.
fn at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let ValueKind::Table(table) = &mut value.kind else { return None };
    match path {
        [] => Some(table),
        [key, rest @ ..] => at(table.get_mut(*key)?, rest),
    }
}

/// Sets `<key>` to the content of `<key>_file`.
///
/// # Errors
/// What is wrong with `<key>_file`.
fn read_file(table: &mut Map<String, Value>, section: &str, key: &str) -> Result<(), Finding> {
    let Some(path) = table.remove(&format!("{key}{IN_A_FILE}")) else { return Ok(()) };
    let path = path.into_string().unwrap_or_default();
    let fault = |sentence| Finding::wrong(format!("{section}.{key}{IN_A_FILE}"), sentence);
    let given = table
        .get(key)
        .is_some_and(|value| value.clone().into_string().is_ok_and(|text| !text.is_empty()));
    if given {
        return Err(fault(format!("{section}.{key} is given, too; give one of them")));
    }
    let secret =
        std::fs::read(&path).map_err(|error| fault(format!("cannot read {path:?}: {error}")))?;
    let secret = String::from_utf8(secret).map_err(|_| {
        fault(format!("{path:?} is not UTF-8 text; write the secret as plain text"))
    })?;
    let secret = secrets::without_ends(&secret);
    if secret.is_empty() {
        return Err(fault(format!("{path:?} is empty; write the secret into it")));
    }
    table.insert(key.to_owned(), Value::new(None, secret));
    Ok(())
}

/// Parses a text as a list: `4,5,6`, or a JSON array.
fn split_lists(value: &mut Value, path: &[&str], key: &str, faults: &mut Vec<Finding>) {
    match (path, &mut value.kind) {
        ([], ValueKind::String(text)) => {
            let list = split(text).unwrap_or_else(|sentence| {
                faults.push(Finding::wrong(key, sentence));
                Vec::new()
            });
            value.kind = ValueKind::Array(list);
        }
        ([step, rest @ ..], ValueKind::Table(table)) => {
            let below = table.iter_mut().filter(|(name, _)| *step == "*" || *step == name.as_str());
            below
                .map(|(name, value)| {
                    (if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value)
                })
                .for_each(|(key, value)| split_lists(value, rest, &key, faults));
        }
        _ => {}
    }
}

fn split(text: &str) -> Result<Vec<Value>, String> {
    if text.trim_start().starts_with('[') {
        let items: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| {
            format!("{text:?} begins like a JSON array but is not one ({error}); write `a,b,c`")
        })?;
        let item = |item: serde_json::Value| match item {
            serde_json::Value::String(text) => Value::new(None, text),
            other => Value::new(None, other.to_string()),
        };
        return Ok(items.into_iter().map(item).collect());
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(words.map(|word| Value::new(None, word)).collect())
}
