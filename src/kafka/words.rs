//! The error messages of librdkafka, which often are the only source of a cause.
//!
//! A failed call returns "BrokerTransportFailure" for a wrong password, a wrong port and an
//! unreachable broker alike. The cause is in the errors that the client reports separately.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// The most that is kept of the client's messages: they repeat themselves.
const KEPT: usize = 64;

/// Words in a cause, the most specific first, and what to do then.
const REMEDIES: [(&[&str], &str); 8] = [
    (
        &["PLAINTEXT broker listener"],
        "that port speaks plaintext: change kafka.properties.security.protocol, or name the TLS \
         port",
    ),
    (
        &[
            "verify that security.protocol",
            "requires SASL authentication",
            "SASL handshake failed: Disconnected",
        ],
        "that port requires TLS or a login: set kafka.properties.security.protocol",
    ),
    (
        &["GSSAPI", "No worthy mechs"],
        "set kafka.properties.sasl.mechanism to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: without it \
         the client uses Kerberos",
    ),
    (
        &["certificate", "SSL_CTX", "ssl.ca"],
        "name the authority that signed the brokers' certificates in \
         kafka.properties.ssl.ca.location",
    ),
    (
        &["SSL handshake failed", "ssl handshake failed"],
        "is it a TLS port? change kafka.properties.security.protocol, or kafka.bootstrap_servers",
    ),
    (
        &["SASL", "uthentication"],
        "check sasl.mechanism, sasl.username and sasl.password in [kafka.properties]",
    ),
    (
        &["Disconnected"],
        "the broker hung up: where that port requires TLS or a login, set \
         kafka.properties.security.protocol",
    ),
    (
        &["resolve", "Resolve"],
        "check the names in kafka.bootstrap_servers, and those that the brokers advertise",
    ),
];

/// A client context that logs nothing and keeps the client's messages: a command answers with one
/// sentence.
#[derive(Default)]
pub(crate) struct Quiet {
    said: Mutex<Vec<String>>,
}

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.hear(message.split_once("]: ").map_or(message, |(_, message)| message));
        }
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.hear(reason);
    }
}

impl Quiet {
    fn hear(&self, reason: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = without_state(reason);
        if said.len() < KEPT && !said.iter().any(|earlier| earlier == reason) {
            said.push(reason.to_owned());
        }
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl Quiet {
    /// The most specific message of the client.
    pub(super) fn cause(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let told = said.iter().min_by_key(|words| (rank(words), words.len()))?;
        Some(told.clone())
    }
}

/// An error of a consumer that is no member of any group, with the messages of its client.
pub(super) fn explain(consumer: &BaseConsumer<Quiet>, error: &KafkaError) -> String {
    // The client's errors wait for a poll; each poll returns one of them.
    for _ in 0..KEPT {
        if consumer.poll(Duration::from_millis(10)).is_none() {
            break;
        }
    }
    let cause = rdkafka::consumer::Consumer::context(consumer).cause();
    with_remedy(&cause.unwrap_or_else(|| error.to_string()))
}

/// A cause, and what to do about it if that is known.
pub(super) fn with_remedy(cause: &str) -> String {
    match REMEDIES.get(rank(cause)) {
        Some((_, remedy)) => format!("{cause}; {remedy}"),
        None => cause.to_owned(),
    }
}

fn rank(words: &str) -> usize {
    let knows = |(known, _): &(&[&str], &str)| known.iter().any(|known| words.contains(known));
    let found = REMEDIES.iter().position(knows);
    // "1/1 brokers are down" is the least specific message.
    let says_least = words.contains("brokers are down");
    found.unwrap_or(if says_least { REMEDIES.len() + 1 } else { REMEDIES.len() })
}

/// The message without the client's counts of milliseconds and repetitions, which make equal
/// messages differ.
fn without_state(reason: &str) -> &str {
    let end = reason.find(" (after ").or_else(|| reason.find(" (_")).unwrap_or(reason.len());
    reason[..end].trim()
}

/// An error as text. It names a refused property but not its value, which may be a password under a
/// mistyped name.
pub(crate) fn client_error(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, description, key, value) => {
            let description = match value.is_empty() {
                true => description.clone(),
                false => description.replace(value.as_str(), "…"),
            };
            format!("{description} (kafka.properties.{key})")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_telling_words_are_chosen_and_have_a_remedy() {
        let heard = Quiet::default();
        for reason in [
            "1/1 brokers are down",
            "ssl://127.0.0.1:9092/bootstrap: Disconnected (after 2ms in state SSL_HANDSHAKE)",
            "ssl://127.0.0.1:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a \
             PLAINTEXT broker listener? (after 3ms in state SSL_HANDSHAKE)",
            "ssl://127.0.0.1:9092/bootstrap: SSL handshake failed: Disconnected: connecting to a \
             PLAINTEXT broker listener? (after 9ms in state SSL_HANDSHAKE, 4 identical error(s) \
             suppressed)",
        ] {
            heard.error(KafkaError::Canceled, reason);
        }
        let cause = heard.cause().expect("something was said");
        assert!(cause.ends_with("PLAINTEXT broker listener?"), "{cause}");
        assert!(with_remedy(&cause).contains("kafka.properties.security.protocol"));
        assert_eq!(with_remedy("Connection refused"), "Connection refused");
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        for (key, value) in [
            ("sasl.pasword", "hunter2"),
            ("security.protocol", "hunter2"),
            ("socket.timeout.ms", "hunter2"),
            ("builtin.features", "hunter2"),
        ] {
            let error = rdkafka::ClientConfig::new()
                .set(key, value)
                .create_native_config()
                .map(drop)
                .expect_err("refused");
            let said = client_error(&error);
            assert!(said.contains(key) && !said.contains("hunter2"), "{said}");
        }
    }
}
