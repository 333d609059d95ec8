//! Parses a file of examples: returns all examples, or all faults. Pure.

use config::{Config, File, FileFormat, Map, Value, ValueKind};

use super::case::{Case, Written};
use crate::findings::values::{self, Flaw};
use crate::risk::Registry;

/// The only top-level key.
const CASE: &str = "case";

/// The examples that a TOML text holds.
///
/// # Errors
/// A sentence for each fault, at least one, which names the case and the key.
pub fn cases(toml: &str, registry: &Registry) -> Result<Vec<Case>, Vec<String>> {
    let source = File::from_str(toml, FileFormat::Toml);
    let table = Config::builder().add_source(source).build().map_err(|error| {
        vec![error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")]
    })?;
    let ValueKind::Table(mut table) = table.cache.kind else { return Err(vec![none()]) };
    let written = table.remove(CASE).map(|value| value.kind);
    let mut faults: Vec<String> =
        table.keys().map(|key| format!("{key}: unknown key; there is [[{CASE}]]")).collect();
    let written = match written {
        Some(ValueKind::Array(written)) => written,
        _ => Vec::new(),
    };
    if written.is_empty() {
        faults.push(none());
    }
    let mut cases = Vec::with_capacity(written.len());
    for (index, value) in written.into_iter().enumerate() {
        let name = name(index, &value);
        match read(value, registry) {
            Ok(case) => cases.push(case),
            Err(problems) => {
                faults.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
            }
        }
    }
    if faults.is_empty() { Ok(cases) } else { Err(faults) }
}

fn none() -> String {
    format!("there is no [[{CASE}]], so nothing would be tested")
}

/// The name of a case in error messages.
fn name(index: usize, value: &Value) -> String {
    let number = index + 1;
    let name = match &value.kind {
        ValueKind::Table(table) => table.get("name").map(|name| &name.kind),
        _ => None,
    };
    match name {
        Some(ValueKind::String(name)) => format!("case {number} ({name:?})"),
        _ => format!("case {number}"),
    }
}

fn read(value: Value, registry: &Registry) -> Result<Case, Vec<String>> {
    let nothing = Value::new(None, ValueKind::Table(Map::new()));
    let (written, flaws) = values::read::<Written>(value, &nothing);
    match written {
        Some(written) if flaws.is_empty() => {
            written.understand(registry).map_err(|problem| vec![problem])
        }
        _ => {
            let sentence = |Flaw { path, problem }: Flaw| match path.as_str() {
                "" => problem,
                path => format!("{path}: {problem}"),
            };
            Err(flaws.into_iter().map(sentence).collect())
        }
    }
}
