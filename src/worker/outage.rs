//! Which causes of an outage are logged: each cause once. A second cause may be one that somebody
//! has to mend. Pure.

use std::collections::BTreeSet;

/// The most causes that are logged: a cause whose text has a number in it would be new each time.
const CAUSES: usize = 8;

/// An outage of Postgres or of Kafka, while there is one.
#[derive(Debug, Default)]
pub(super) struct Outage {
    told: BTreeSet<String>,
}

impl Outage {
    /// Something failed. Returns whether the cause is to be logged.
    pub(super) fn failed(&mut self, cause: &str) -> bool {
        self.told.len() < CAUSES && self.told.insert(cause.to_owned())
    }

    /// It works again. Returns whether there was an outage.
    pub(super) fn ended(&mut self) -> bool {
        !std::mem::take(&mut self.told).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_of_an_outage_is_told_once() {
        let mut outage = Outage::default();
        assert!(!outage.ended(), "there is none");
        let told = ["away", "away", "no right", "away"].map(|cause| outage.failed(cause));
        assert_eq!(told, [true, false, true, false]);
        assert!(outage.ended() && !outage.ended());
        assert!(outage.failed("away"), "it is another outage");
        let told = (0..1_000).filter(|number| outage.failed(&format!("away for {number} ms")));
        assert_eq!(told.count(), CAUSES - 1);
    }
}
