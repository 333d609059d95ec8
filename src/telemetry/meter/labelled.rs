//! The handles of one or more metrics, by the value of a label.

/// Handles by the value of a label. A value that was not known at the start is counted as `other`.
pub(super) struct Labelled<T> {
    known: Vec<(String, T)>,
    other: T,
}

impl<T> Labelled<T> {
    pub(super) fn new(values: &[impl AsRef<str>], handles: impl Fn(String) -> T) -> Self {
        let known = values
            .iter()
            .map(AsRef::as_ref)
            .map(|value| (value.to_owned(), handles(value.to_owned())));
        Self { known: known.collect(), other: handles("other".to_owned()) }
    }

    /// A handful of short names: looking through them is faster than hashing.
    pub(super) fn get(&self, value: &str) -> &T {
        self.known
            .iter()
            .find(|(known, _)| known == value)
            .map_or(&self.other, |(_, handles)| handles)
    }

    /// The handle for `other`.
    pub(super) fn other(&self) -> &T {
        &self.other
    }
}
