//! Values that change while the worker runs: its secrets.
//!
//! Does not know where a value comes from. The invariants: a reader gets one complete value, the
//! old or the new one; a value in use does not change until its reader is done.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that can be replaced. Clones share it.
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// The present value.
    pub fn now(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value for all later reads.
    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }
}

impl<T: Default> Default for Live<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Live<T> {
    /// Leaves the value out: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_see_a_new_value_and_who_has_the_old_one_keeps_it() {
        let secret = Live::from("old");
        let (clone, in_use) = (secret.clone(), secret.now());
        secret.replace("new");
        assert_eq!((*clone.now(), *in_use), ("new", "old"));
        assert_eq!(format!("{clone:?}"), "Live(…)");
    }
}
