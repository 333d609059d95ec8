//! Whole requests as they came in, for comparison with the documents: the log has only the facts of
//! a call.
//!
//! A ring of `remember_requests` requests. It has none by default, because they hold what the log
//! leaves out: signatures, tokens, and all personal data of a claim. It keeps every request that
//! arrived, with any answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::form::Form;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// 1 for the first request since the start or the last clearing.
    pub sequence: u64,
    /// As HTTP writes it: `GET`.
    pub method: Box<str>,
    /// Without the query.
    pub path: Box<str>,
    /// The text behind the `?`, as it came.
    pub query: Box<str>,
    /// The body, as it came; bytes that are no UTF-8 are replaced.
    pub body: Box<str>,
}

impl Requested {
    /// The parameters of the query or, for a form, of the body, decoded. Empty where they cannot be
    /// read.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let is_form = &*self.method == "POST" && &*self.path == "/v2/index.php";
        let form = Form::read(if is_form { &self.body } else { &self.query }).unwrap_or_default();
        form.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The body, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }
}

impl Serialize for Requested {
    /// Decoded:
    /// `{"sequence":1,"method":"GET","path":"/v2/index.php","parameters":{…},"json":null}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Requested", 5)?;
        object.serialize_field("sequence", &self.sequence)?;
        object.serialize_field("method", &self.method)?;
        object.serialize_field("path", &self.path)?;
        object.serialize_field("parameters", &self.parameters())?;
        object.serialize_field("json", &self.json())?;
        object.end()
    }
}

/// The remembered requests.
#[derive(Debug)]
pub(super) struct Requests {
    capacity: usize,
    ring: Mutex<(u64, VecDeque<Requested>)>,
}

impl Requests {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, ring: Mutex::default() }
    }

    pub(super) fn remember(&self, method: &str, path: &str, query: &str, body: &[u8]) {
        if self.capacity == 0 {
            return;
        }
        let (method, path, query) = (method.into(), path.into(), query.into());
        let body = String::from_utf8_lossy(body).into();
        let (sequence, ring) = &mut *self.ring();
        *sequence += 1;
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(Requested { sequence: *sequence, method, path, query, body });
    }

    /// Oldest first.
    pub(super) fn all(&self) -> Vec<Requested> {
        self.ring().1.iter().cloned().collect()
    }

    pub(super) fn clear(&self) {
        *self.ring() = Default::default();
    }

    fn ring(&self) -> MutexGuard<'_, (u64, VecDeque<Requested>)> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_requests_are_kept_and_decoded() {
        let requests = Requests::new(2);
        requests.remember("GET", "/v2/index.php", "gone=1", b"");
        requests.remember("POST", "/v2/index.php", "a=1", b"b=%E7%BA%A2&c=x+y");
        requests.remember("POST", "/tcb/servicemarket", "access_token=t", br#"{"data":{}}"#);
        let kept = requests.all();
        assert_eq!(kept.iter().map(|request| request.sequence).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(
            kept[0].parameters(),
            [("b", "红"), ("c", "x y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        );
        assert_eq!(
            (kept[1].parameters()["access_token"].as_str(), kept[1].json()),
            ("t", Some(serde_json::json!({"data": {}})))
        );
        requests.clear();
        assert!(requests.all().is_empty());
    }

    #[test]
    fn none_are_kept_unless_asked_for() {
        let requests = Requests::new(0);
        requests.remember("GET", "/", "", b"");
        assert!(requests.all().is_empty());
    }
}
