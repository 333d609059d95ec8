//! The columns of the evidence that cannot be read with the database alone: payloads, requests and
//! answers.
//!
//! Seals cover what is stored, so they can be verified without a key.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::cipher::{Column, EvidenceKeys, seems_encrypted};
use crate::outbox::Call;
use crate::schema::{DeadLetterRow, EventRow, NewDeadLetter};

/// How an encrypted text begins; no request does. The same in base64 follows.
const TEXT_MARK: &str = "encrypted:";

impl EvidenceKeys {
    /// The payload of an event as it is kept.
    pub(super) fn payload<'a>(&self, claim_id: &str, payload: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
        self.encrypt(Column::EventPayload, claim_id, payload)
    }

    /// Attempts as they are kept.
    pub(super) fn calls<'a>(&self, calls: &'a [Call]) -> Cow<'a, [Call]> {
        let is_as_it_is = |call: &Call| !call.response.as_deref().is_some_and(seems_encrypted);
        if !self.are_some() && calls.iter().all(is_as_it_is) {
            return Cow::Borrowed(calls);
        }
        let kept = |call: &Call| {
            let about = call.claim_id.as_str();
            let response = call.response.as_deref().map(|response| {
                self.encrypt(Column::Response, about, Cow::Borrowed(response)).into_owned()
            });
            Call { request: self.request(call), response, ..call.clone() }
        };
        Cow::Owned(calls.iter().map(kept).collect())
    }

    /// An attempt's request as it is kept.
    fn request(&self, call: &Call) -> String {
        if !self.are_some() {
            return call.request.clone();
        }
        let request = Cow::Borrowed(call.request.as_bytes());
        let request = self.encrypt(Column::Request, &call.claim_id, request);
        format!("{TEXT_MARK}{}", BASE64_STANDARD.encode(request))
    }

    /// Dead letters as they are kept.
    pub(super) fn letters<'r, 'a>(
        &self,
        letters: &'r [NewDeadLetter<'a>],
    ) -> Cow<'r, [NewDeadLetter<'a>]> {
        let is_as_it_is =
            |letter: &NewDeadLetter<'a>| !letter.payload.as_deref().is_some_and(seems_encrypted);
        if !self.are_some() && letters.iter().all(is_as_it_is) {
            return Cow::Borrowed(letters);
        }
        let kept = |letter: &NewDeadLetter<'a>| {
            let about = letter.received.source.to_string();
            let payload = letter.payload.clone();
            let payload =
                payload.map(|payload| self.encrypt(Column::LetterPayload, &about, payload));
            NewDeadLetter { payload, ..letter.clone() }
        };
        Cow::Owned(letters.iter().map(kept).collect())
    }
}

/// A row of which some columns may be encrypted.
pub(crate) trait Evidence {
    /// Puts what was encrypted in the place of what is kept.
    ///
    /// # Errors
    /// One sentence: the key is not there, or the value is not as it was written.
    fn decrypt(&mut self, keys: &EvidenceKeys) -> Result<(), String>;

    /// Removes what cannot be decrypted: it must not be read as the value that came.
    fn clear(&mut self);
}

/// The payload of the event of this claim.
pub(crate) fn decrypt_payload(
    claim_id: &str,
    payload: &mut Option<Vec<u8>>,
    keys: &EvidenceKeys,
) -> Result<(), String> {
    payload.as_mut().map_or(Ok(()), |kept| keys.decrypt(Column::EventPayload, claim_id, kept))
}

impl Evidence for EventRow {
    fn decrypt(&mut self, keys: &EvidenceKeys) -> Result<(), String> {
        decrypt_payload(&self.claim_id, &mut self.payload, keys)
    }

    fn clear(&mut self) {
        self.payload = None;
    }
}

impl Evidence for Call {
    fn decrypt(&mut self, keys: &EvidenceKeys) -> Result<(), String> {
        if let Some(response) = &mut self.response {
            keys.decrypt(Column::Response, &self.claim_id, response)?;
        }
        let kept = self.request.strip_prefix(TEXT_MARK);
        let Some(mut request) = kept.and_then(|kept| BASE64_STANDARD.decode(kept).ok()) else {
            return Ok(());
        };
        keys.decrypt(Column::Request, &self.claim_id, &mut request)?;
        self.request = String::from_utf8_lossy(&request).into_owned();
        Ok(())
    }

    fn clear(&mut self) {
        self.response = None;
    }
}

impl Evidence for DeadLetterRow {
    fn decrypt(&mut self, keys: &EvidenceKeys) -> Result<(), String> {
        let about = self.id.source.to_string();
        let payload = self.payload.as_mut();
        payload.map_or(Ok(()), |kept| keys.decrypt(Column::LetterPayload, &about, kept))
    }

    fn clear(&mut self) {
        self.payload = None;
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::super::cipher::ENCRYPTED;
    use super::*;

    fn keys(list: &str) -> EvidenceKeys {
        EvidenceKeys::read(&SecretString::from(list)).expect("keys")
    }

    fn call(claim_id: &str) -> Call {
        let response = Some(b"\xff the answer".to_vec());
        Call { request: "GET /红".to_owned(), response, ..Call::ordinary(claim_id) }
    }

    #[test]
    fn what_is_kept_is_read_with_its_key_and_no_other() {
        let (old, new) = ("0a".repeat(32), "0b".repeat(32));
        let kept = keys(&old).calls(&[call("a")]).into_owned();
        assert!(kept[0].request.starts_with("encrypted:"));
        let answer = kept[0].response.clone().expect("an answer");
        assert!(!answer.windows(6).any(|part| part == b"answer"));
        assert_ne!(keys(&old).calls(&[call("a")])[0], kept[0], "each time another nonce");
        let read = |list: &str| {
            let mut call = kept[0].clone();
            call.decrypt(&keys(list)).map(|()| call)
        };
        assert_eq!(read(&format!("{new}, {old}\n")), Ok(call("a")));
        for without in ["", &new] {
            let said = read(without).expect_err("no key");
            assert!(said.starts_with("risk_calls.response of a is encrypted with a key"), "{said}");
            assert!(said.contains("`postgres.evidence_keys`"), "{said}");
        }
    }

    #[test]
    fn a_value_is_worth_nothing_in_another_place() {
        let keys = keys(&"0a".repeat(32));
        let mut moved = keys.calls(&[call("a")]).into_owned().remove(0);
        moved.claim_id = "b".to_owned();
        let said = moved.decrypt(&keys).expect_err("another claim");
        assert!(said.contains("another place or altered"), "{said}");
        let mut short = keys.calls(&[call("a")]).into_owned().remove(0);
        short.response.as_mut().expect("an answer").truncate(8);
        assert!(short.decrypt(&keys).is_err_and(|said| said.contains("altered")));
    }

    #[test]
    fn without_a_key_everything_stays_as_it_is() {
        let calls = [call("a")];
        assert!(matches!(keys(" ").calls(&calls), Cow::Borrowed(_)));
        let mut plain = call("a");
        plain.decrypt(&keys(&"0a".repeat(32))).expect("it was written before there was a key");
        assert_eq!(plain, call("a"));
    }

    #[test]
    fn what_begins_as_an_encrypted_value_does_is_read_as_it_came() {
        let hostile = [&ENCRYPTED[..], b"1234 and no key of ours"].concat();
        let came = Call { response: Some(hostile.clone()), ..call("a") };
        let key = "0a".repeat(32);
        let key = key.as_str();
        for list in ["", key] {
            let kept = keys(list).calls(std::slice::from_ref(&came)).into_owned().remove(0);
            assert_ne!(kept.response, came.response, "nobody could tell whether it is encrypted");
            for (reader, reads) in [("", list.is_empty()), (key, true)] {
                let mut read = kept.clone();
                assert_eq!(read.decrypt(&keys(reader)).is_ok(), reads);
                assert!(!reads || read == came, "{read:?}");
            }
        }
        let received = crate::outbox::Received {
            source: crate::decision::Source { topic: "t".to_owned(), partition: 0, offset: 1 },
            key: None,
            headers: Vec::new(),
            payload: Some(hostile.clone()),
            received_at: 0,
            trace: crate::trace::TraceContext::fresh(1),
        };
        let why = crate::claim::EventError::NotJson;
        let why = crate::claim::DeadLetterReason::event(why, "hostile");
        let kept = keys("").letters(&[NewDeadLetter::new(&received, &why)]).into_owned().remove(0);
        let mut kept = kept.payload.map(Cow::into_owned).expect("a payload");
        keys("").decrypt(Column::LetterPayload, "t/0/1", &mut kept).expect("in clear");
        assert_eq!(kept, hostile);
    }
}
