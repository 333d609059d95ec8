//! Checks which modules of `src` may import which, and that files which call themselves pure do no
//! I/O.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree};

/// The modules of `src`, from the bottom up: each may import those above it in this list.
const LAYERS: [&str; 21] = [
    "words",
    "unix_time",
    "live",
    "trace",
    "findings",
    "kafka",
    "claim",
    "decision",
    "risk",
    "telemetry",
    "intake",
    "schema",
    "assess",
    "outbox",
    "audit",
    "policy",
    "dead_letters",
    "status",
    "config",
    "worker",
    "service",
];
/// The top modules, which may import all others; and the fakes for tests.
const FREE: [&str; 4] = ["cli", "main", "lib", "testing"];

/// What a pure file must not use: I/O, threads and tasks, the clock, randomness.
const IMPURE: [&str; 20] = [
    "rdkafka",
    "sqlx",
    "reqwest",
    "fastrand",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio::fs",
    "tokio::net",
    "tokio::process",
    "tokio::runtime",
    "tokio::signal",
    "tokio::spawn",
    "tokio::sync",
    "tokio::task",
    "Instant::now",
    "SystemTime::now",
    "OffsetDateTime::now_utc",
    "Uuid::now_v7",
];

#[test]
fn no_module_imports_one_of_a_higher_layer() {
    let mut faults = Vec::new();
    for file in shipped_files() {
        let module = file.top();
        if FREE.contains(&module.as_str()) {
            continue;
        }
        let Some(height) = height(&module) else {
            faults.push(format!("{module} has no place in LAYERS"));
            continue;
        };
        for path in &file.paths {
            let Some(other) = path.strip_prefix("crate::").and_then(|path| path.split("::").next())
            else {
                continue;
            };
            if height_of_import(other).is_some_and(|of_import| of_import > height) {
                faults.push(format!("{} imports {path}", file.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pure_files_know_no_outside_world() {
    let mut pure = 0;
    let mut faults = Vec::new();
    for file in shipped_files().into_iter().filter(|file| file.is_pure) {
        pure += 1;
        let is_impure = |path: &&String| {
            IMPURE.iter().any(|impure| {
                let begins = path
                    .strip_prefix(impure)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
                begins || path.ends_with(impure)
            })
        };
        faults.extend(
            file.paths.iter().filter(is_impure).map(|path| format!("{} knows {path}", file.name)),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(pure > 20, "only {pure} files call themselves pure");
}

fn height(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == module)
}

/// An unknown word is an item of the crate's root; the top modules are above all others.
fn height_of_import(module: &str) -> Option<usize> {
    height(module).or_else(|| FREE.contains(&module).then_some(usize::MAX))
}

/// A source file that is part of the shipped crate.
struct File {
    /// From `src` on.
    name: String,
    /// Whether its documentation says that it is pure.
    is_pure: bool,
    /// Every path that it imports or names, without those of tests.
    paths: BTreeSet<String>,
}

impl File {
    /// The module of `src` that it belongs to.
    fn top(&self) -> String {
        let top = self.name.split('/').next().unwrap_or_default();
        top.trim_end_matches(".rs").to_owned()
    }
}

/// Follows the module declarations from `lib.rs`, so that test files are left out.
fn shipped_files() -> Vec<File> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut open = vec![(source.join("lib.rs"), source.clone())];
    while let Some((path, folder)) = open.pop() {
        let text = fs::read_to_string(&path).expect("a source file");
        let parsed = syn::parse_file(&text).expect("Rust");
        let mut collector = Collector::default();
        collector.visit_file(&parsed);
        open.extend(collector.modules.iter().map(|name| module_file(&folder, name)));
        let is_pure = text.lines().take_while(|line| line.starts_with("//!")).any(says_pure);
        let name = path.strip_prefix(&source).expect("within src").to_string_lossy().into_owned();
        files.push(File { name, is_pure, paths: collector.paths });
    }
    files
}

/// `//! Pure: …`, `//! … Pure bookkeeping.`; but not "`x` and `y` are pure", which is about other
/// files.
fn says_pure(line: &str) -> bool {
    ["Pure.", "Pure:", "Pure bookkeeping", "A pure machine"]
        .iter()
        .any(|words| line.contains(words))
}

fn module_file(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let inner = folder.join(name);
    let file = folder.join(format!("{name}.rs"));
    if file.exists() { (file, inner) } else { (inner.join("mod.rs"), inner) }
}

#[derive(Default)]
struct Collector {
    modules: Vec<String>,
    paths: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if module.content.is_none() {
            self.modules.push(module.ident.to_string());
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.take_use(String::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.paths.insert(segments.join("::"));
        }
        visit::visit_path(self, path);
    }
}

impl Collector {
    fn take_use(&mut self, before: String, tree: &UseTree) {
        let join =
            |name: String| if before.is_empty() { name } else { format!("{before}::{name}") };
        match tree {
            UseTree::Path(path) => self.take_use(join(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => drop(self.paths.insert(join(name.ident.to_string()))),
            UseTree::Rename(rename) => drop(self.paths.insert(join(rename.ident.to_string()))),
            UseTree::Glob(_) => drop(self.paths.insert(before)),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.take_use(before.clone(), tree))
            }
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let names_test = |attribute: &&Attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    };
    attributes.iter().any(|attribute| names_test(&attribute))
}
