//! Makes `docs/configuration.md` from `config/default.toml`, whose comments explain every key.
//!
//! `make snapshots` writes it.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::secrets::SECRETS;
use super::tests::CREDENTIALS;
use super::*;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
/// The section that stands for each API's.
const ANY_API: &str = "risk.<api>";
const HEAD: &str = "\
<!-- Generated from config/default.toml by `make snapshots`. Change the comments there. -->

# Configuration: every key

Sources, the strongest first: the environment; the file given by `--config`;
`config/<CLAIMGATE_ENV>.toml`; `config/default.toml` in the working directory; the defaults below.
An unknown key is an error; `claimgate check --offline` names every fault at once.
[deployment.md](deployment.md#configuration-and-secrets) shows a list, a property of librdkafka and
a secret in each source.

- A **duration** is text with a unit: `250ms`, `2s`, `1m`, `24h`, `400days`.
- A **list** in the environment is `4,5,6` or a JSON array.
- **Text or file**: append `_file` to the key (`_FILE` to the variable) and give the path of a file
  that holds the value. White space around the value is ignored.
";

struct Section {
    name: String,
    about: String,
    keys: Vec<Key>,
}

struct Key {
    name: String,
    /// As TOML writes it.
    value: String,
    /// It is a comment in the file: `value` is an example.
    is_optional: bool,
    about: String,
}

impl Key {
    fn kind(&self, section: &str) -> &'static str {
        let value: toml::Table = format!("x = {}", self.value).parse().expect("a value");
        let is_secret =
            |secret: &&secrets::Secret| (secret.section, secret.key) == (section, &self.name);
        match &value["x"] {
            toml::Value::Integer(_) if self.name.contains("bytes") => "bytes",
            toml::Value::Integer(_) => "integer",
            toml::Value::Float(_) => "number",
            toml::Value::Boolean(_) => "true or false",
            toml::Value::Array(_) => "list",
            toml::Value::String(text) if humantime::parse_duration(text).is_ok() => "duration",
            _ if SECRETS.iter().find(is_secret).is_some() => "text or file",
            _ => "text",
        }
    }

    fn variable(&self, section: &str) -> String {
        let path = format!("{PREFIX}.{section}").replace('.', "__");
        let key = self.name.replace('.', "_");
        format!("{path}__{key}").to_uppercase()
    }

    fn row(&self, section: &str) -> String {
        let Self { name, value, .. } = self;
        let about = linked(&self.about).replace('\n', " ");
        let default = if self.is_optional {
            format!("none; such as `{value}`")
        } else {
            format!("`{value}`")
        };
        format!(
            "| `{name}` | {} | {default} | `{}` | {about} |\n",
            self.kind(section),
            self.variable(section)
        )
    }
}

/// `(docs/group.md)` as a link from another page.
fn linked(text: &str) -> String {
    let place = text.split_once("(docs/");
    match place.and_then(|(before, rest)| Some((before, rest.split_once(')')?))) {
        Some((before, (page, after))) => format!("{before}([{page}]({page})){after}"),
        None => text.to_owned(),
    }
}

/// The sections of a configuration file with their comments.
fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut about = String::new();
    for line in text.lines() {
        let comment = line.strip_prefix("# ");
        let bare = comment.unwrap_or(line);
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (name, about) = (name.to_owned(), std::mem::take(&mut about));
            sections.push(Section { name, about, keys: Vec::new() });
        } else if let Some((name, value)) = entry(bare) {
            let about = std::mem::take(&mut about);
            let key = Key { name, value, is_optional: comment.is_some(), about };
            sections.last_mut().expect("a section").keys.push(key);
        } else if line.is_empty() {
            about.clear();
        } else {
            let end = if about.is_empty() { "" } else { "\n" };
            write!(about, "{end}{bare}").expect("text");
        }
    }
    sections
}

fn entry(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(" = ")?;
    let key = key.trim_matches('"');
    let of_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    let is_key = key.chars().all(of_key);
    is_key.then(|| (key.to_owned(), value.to_owned()))
}

#[test]
fn the_reference_is_made_of_the_defaults() {
    let mut page = HEAD.to_owned();
    for Section { name, about, keys } in sections(DEFAULTS) {
        write!(page, "\n## `[{name}]`\n\n{}\n\n", linked(&about)).expect("text");
        page.push_str("| key | type | default | environment variable | meaning |\n");
        page.push_str("| --- | --- | --- | --- | --- |\n");
        for key in &keys {
            assert!(!key.about.is_empty(), "[{name}] {} has no explanation", key.name);
            page.push_str(&key.row(&name));
        }
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(PAGE, &page).expect("written");
    }
    let there = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        there == page,
        "docs/configuration.md is not what config/default.toml says: make snapshots"
    );
}

/// The keys that a section accepts, read from the error about an unknown key.
fn taken(section: &str) -> BTreeSet<String> {
    let text = format!("[{section}]\nunheard_of = 1\n");
    let error = match section.starts_with("risk.") {
        true => {
            let config = Config::from_toml(&format!("{text}{CREDENTIALS}")).expect("read later");
            config.risk_apis().err().expect("an unknown key").to_string()
        }
        false => Config::from_toml(&text).expect_err("an unknown key").to_string(),
    };
    let after = |words| error.split_once(words).map_or("", |(_, rest)| rest);
    let own =
        after("expected ").split(" (and ").next().unwrap_or_default().split('`').skip(1).step_by(2);
    let common = after("also takes ").split(", ").filter(|key| !key.is_empty());
    own.chain(common).map(str::to_owned).collect()
}

#[test]
fn the_defaults_explain_every_key_that_a_section_takes() {
    let sections = sections(DEFAULTS);
    let explained = |section: &str| -> BTreeSet<String> {
        let below = format!("{section}.");
        let inner = sections.iter().filter_map(|found| found.name.strip_prefix(&below));
        let inner = inner.filter_map(|inner| inner.split('.').next());
        let keys =
            sections.iter().filter(|found| found.name == section).flat_map(|found| &found.keys);
        inner.chain(keys.map(|key| key.name.as_str())).map(str::to_owned).collect()
    };
    let names = sections.iter().map(|section| section.name.as_str());
    let (apis, others): (Vec<_>, Vec<_>) = names
        .filter(|name| !name.contains("<api>") && *name != "kafka.properties")
        .partition(|name| name.starts_with("risk."));
    for section in others {
        assert_eq!(explained(section), taken(section), "[{section}]");
    }
    let of_any = explained(ANY_API);
    let mut of_all = BTreeSet::new();
    for section in apis {
        let own = explained(section);
        let unexplained: Vec<_> = taken(section)
            .into_iter()
            .filter(|key| !own.contains(key) && !of_any.contains(key))
            .collect();
        assert!(unexplained.is_empty(), "[{section}] takes {unexplained:?}, too");
        of_all.extend(taken(section));
    }
    assert!(of_any.is_subset(&of_all), "[{ANY_API}]: no API takes all of {of_any:?}");
}
