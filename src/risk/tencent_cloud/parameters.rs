//! The parameters of one request, from the claim to the wire.
//!
//! Owns two rules: an empty value is never sent, and a number is formatted once, for both the
//! signature and the wire. Knows only the names of parameters whose values must not be stored.

use std::borrow::Cow;

use crate::risk::signature::encode;

/// Parameters that must not be in a stored request: those of the key pair, and the users' tokens.
const SECRET: [&str; 6] = ["Signature", "SecretId", "Token", "wxToken", "accessToken", "ticket"];

/// More parameters than any API has, including the common ones.
const MOST: usize = 48;

/// The parameters of one API, each with the claim's field that it comes from.
pub struct Parameters<'a>(Vec<Parameter<'a>>);

impl Default for Parameters<'_> {
    fn default() -> Self {
        Self(Vec::with_capacity(MOST))
    }
}

pub(super) struct Parameter<'a> {
    pub(super) name: &'static str,
    /// The path of the claim's field; empty if it comes from no claim.
    pub(super) field: &'static str,
    pub(super) value: Cow<'a, str>,
}

impl Parameter<'_> {
    /// An upper bound of its bytes on the wire: `%` and two digits for each byte.
    pub(super) fn longest(&self) -> usize {
        self.name.len() + 3 * self.value.len() + "=&".len()
    }

    /// Its bytes on the wire.
    pub(super) fn length(&self) -> usize {
        self.name.len() + encode(&self.value).map(str::len).sum::<usize>() + "=&".len()
    }
}

impl<'a> Parameters<'a> {
    /// Adds a text under its wire name, unless it is absent or empty.
    pub fn text(
        &mut self,
        name: &'static str,
        field: &'static str,
        value: Option<&'a str>,
    ) -> &mut Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.push(Parameter { name, field, value: Cow::Borrowed(value) });
        }
        self
    }

    /// Adds a number under its wire name, unless it is absent.
    pub fn number(
        &mut self,
        name: &'static str,
        field: &'static str,
        value: Option<impl ToString>,
    ) -> &mut Self {
        if let Some(value) = value {
            self.0.push(Parameter { name, field, value: Cow::Owned(value.to_string()) });
        }
        self
    }

    /// Adds a parameter that comes from no claim.
    pub(super) fn common(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        self.0.push(Parameter { name, field: "", value: value.into() });
    }

    /// In the order of the signature; the order on the wire does not matter.
    pub(super) fn sort(&mut self) {
        self.0.sort_unstable_by_key(|parameter| parameter.name);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.0.iter()
    }

    /// Names and raw values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|parameter| (parameter.name, parameter.value.as_ref()))
    }

    /// The encoded parameters, and the same without secrets.
    pub(super) fn encoded(&self) -> (String, String) {
        let length = self.iter().map(Parameter::longest).sum();
        let (mut wire, mut redacted) =
            (String::with_capacity(length), String::with_capacity(length));
        for (name, value) in self.pairs() {
            wire.extend([if wire.is_empty() { "" } else { "&" }, name, "="]);
            let begin = wire.len();
            wire.extend(encode(value));
            let shown = if SECRET.contains(&name) { "***" } else { &wire[begin..] };
            redacted.extend([if redacted.is_empty() { "" } else { "&" }, name, "=", shown]);
        }
        (wire, redacted)
    }
}
