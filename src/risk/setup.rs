//! What the constructor of an API gets: its own settings, and the sections that several APIs share.
//!
//! The invariant: a key that the API did not read is a fault.

use std::cell::{OnceCell, RefCell};

use config::{Map, Value};
use serde::de::DeserializeOwned;

use super::section::{Section, decode, unknown_key};
use super::{Registration, SectionError, Shared};

/// The input of an API's constructor.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The sections that several APIs share.
    pub shared: &'a Shared,
    /// The API's.
    pub registration: &'static Registration,
    base_url: Option<String>,
    /// The result of [`Setup::base_url`].
    in_use: OnceCell<String>,
    path: Option<String>,
    own: Map<String, Value>,
    /// Faults after which the check goes on.
    faults: RefCell<Vec<SectionError>>,
}

impl<'a> Setup<'a> {
    pub(super) fn new(
        registration: &'static Registration,
        section: &Section,
        own: Map<String, Value>,
        shared: &'a Shared,
    ) -> Self {
        let (base_url, path) = (section.base_url.clone(), section.path.clone());
        let (in_use, faults) = (OnceCell::new(), RefCell::default());
        Self { shared, registration, base_url, in_use, path, own, faults }
    }

    /// The API's own settings: the keys of its section that are not common to all.
    ///
    /// # Errors
    /// [`SectionError`], naming the key.
    pub fn settings<T: DeserializeOwned>(&mut self) -> Result<T, SectionError> {
        let prefix = format!("risk.{}", self.registration.name);
        let faults = self.faults.get_mut();
        let settings = decode(&prefix, std::mem::take(&mut self.own), faults);
        settings.ok_or_else(|| {
            faults.pop().unwrap_or_else(|| SectionError::new(prefix, "this cannot be read"))
        })
    }

    /// `base_url`, or the API's default, without the slash at its end.
    pub fn base_url(&self, default: &str) -> String {
        let base_url = self.base_url.as_deref().unwrap_or(default).trim_end_matches('/').to_owned();
        self.in_use.get_or_init(|| base_url.clone());
        base_url
    }

    /// The server of the API, once the API has asked for it.
    pub(super) fn server(&self) -> String {
        self.in_use.get().cloned().unwrap_or_default()
    }

    /// The full key of a key of the section.
    pub fn key(&self, key: &str) -> String {
        format!("risk.{}.{key}", self.registration.name)
    }

    /// `path`, or the API's default.
    pub fn path(&self, default: &str) -> String {
        self.path.as_deref().unwrap_or(default).to_owned()
    }

    /// Requires a key outside the API's section. [`Registry::new`](super::Registry::new) reports it
    /// if it is missing.
    pub fn require(&self, key: &str, value: &str) {
        if value.trim().is_empty() {
            let name = self.registration.name;
            let problem = format!("this is required, because `risk.{name}` is in use");
            self.faults.borrow_mut().push(SectionError::new(key, problem));
        }
    }

    /// All faults after which the check went on, unknown keys among them.
    pub(super) fn finish(self) -> Vec<SectionError> {
        let mut faults = self.faults.into_inner();
        let mut unread: Vec<&String> = self.own.keys().collect();
        unread.sort_unstable();
        let unread = unread.into_iter().map(|key| {
            unknown_key(format!("risk.{}.{key}", self.registration.name), "unknown key")
        });
        faults.extend(unread);
        faults
    }
}
