//! The checks beyond types: bounds of single values, and values that cannot work together.
//!
//! Pure. Each fault names the key. The invariant: with a configuration without faults, the worker
//! does not hang, spin or overflow.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::Config;
use crate::assess::egress::HTTP2_CONNECTIONS_MAX;
use crate::findings::Finding;
use crate::intake::offset_map::METADATA_BOUNDS;
use crate::kafka::is_topic_name;
use crate::risk::Registry;

/// Longer than any useful value, and short enough to be added to any point in time.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// The group waits twice as long for a member, and librdkafka accepts at most a day for that.
const LONGEST_DRAIN: Duration = Duration::from_secs(6 * 3_600);
/// A worker that is killed loses at most the answers of this time.
const LONGEST_LINGER: Duration = Duration::from_secs(1);
/// librdkafka's bounds.
const SESSION_MAX: Duration = Duration::from_secs(3_600);
const REQUEST_MAX: Duration = Duration::from_secs(3_600);
const TRANSACTION_MIN: Duration = Duration::from_secs(1);
/// No machine has more. If the system refuses a thread, the process ends without a message.
const THREADS_MAX: usize = 1_024;
/// Below this, not even a decision without its reasons would fit.
const MESSAGE_MIN_BYTES: usize = 4_096;

/// Shorter than this, a token can be guessed.
const TOKEN_MIN: usize = 16;

/// A rule that holds, or what is wrong with this key.
fn unless(holds: bool, key: &str, sentence: &str) -> Option<Finding> {
    (!holds).then(|| Finding::wrong(key, sentence))
}

impl Config {
    /// All faults, in the order of the sections.
    pub(super) fn faults(&self) -> Vec<Finding> {
        let rules = [
            self.kafka.faults(),
            self.kafka_faults(),
            self.count_faults(),
            self.duration_faults(),
            self.retry_faults(),
            self.breaker_faults(),
            self.dead_letters.faults(),
            self.http_faults(),
        ];
        rules.into_iter().flatten().chain(self.egress_faults()).collect()
    }

    fn egress_faults(&self) -> Vec<Finding> {
        let egress = &self.egress;
        let proxy = egress.check().err().map(|sentence| {
            let sentence = sentence.strip_prefix("egress.proxy: ").unwrap_or(&sentence);
            Finding::wrong("egress.proxy", sentence)
        });
        let exception = egress.unusable_exception().map(|entry| {
            let sentence = format!(
                "{entry:?} is not a host, a domain, an address or a network; write one such as \
                 `.internal` or `10.0.0.0/8`"
            );
            Finding::wrong("egress.no_proxy", sentence)
        });
        let connections = unless(
            egress.http2_connections <= HTTP2_CONNECTIONS_MAX,
            "egress.http2_connections",
            &format!("must be no more than {HTTP2_CONNECTIONS_MAX}"),
        );
        [proxy, exception, connections].into_iter().flatten().collect()
    }

    /// Faults between the settings of the risk APIs and those of the worker.
    pub(super) fn faults_together(&self, registry: &Registry) -> Vec<Finding> {
        let drain = self.worker.drain_timeout;
        let too_long = registry.iter().filter(|(_, route)| route.timeout > drain);
        let fault = |name: &str, timeout| {
            let sentence = format!(
                "this ({}) is longer than worker.drain_timeout ({}): a stop would cut calls off \
                 and make them again; shorten the one or lengthen the other",
                humantime::format_duration(timeout),
                humantime::format_duration(drain)
            );
            Finding::wrong(format!("risk.{name}.timeout"), sentence)
        };
        let too_long = too_long.map(|(_, route)| fault(route.api.name(), route.timeout));
        let shadow = self.policy.shadow.iter().flat_map(|shadow| shadow.faults(registry));
        let shadow = shadow.map(|fault| Finding::wrong(fault.key, fault.problem));
        too_long.chain(shadow).chain(self.subject_key_fault()).collect()
    }

    /// Hashes that anyone can compute would reveal what is encrypted in the same row.
    fn subject_key_fault(&self) -> Option<Finding> {
        let encrypts = !self.postgres.evidence_keys.expose_secret().trim().is_empty();
        let sentence = "this is empty and postgres.evidence_keys is set: phone and certificate \
                        numbers could be found out from the hashes beside the encrypted events; \
                        set a secret of your own";
        unless(!encrypts || self.subject_key().is_some(), "audit.subject_key", sentence)
    }

    fn kafka_faults(&self) -> Vec<Finding> {
        let kafka = &self.kafka;
        let topics = [
            ("kafka.input_topic", kafka.input_topic.as_str()),
            ("kafka.output_topic", kafka.output_topic.as_str()),
            ("kafka.retry_topic", kafka.retry_topic.as_str()),
            ("kafka.dead_letter_topic", kafka.dead_letter_topic.as_str()),
        ];
        let mut faults = Vec::new();
        for (index, (key, topic)) in topics.iter().enumerate() {
            let topic = topic.trim();
            if let Some((earlier, _)) =
                topics[..index].iter().find(|(_, other)| other.trim() == topic)
            {
                let sentence = format!("both are {topic:?}; each needs a topic of its own");
                faults.push(Finding::wrong(format!("{key} and {earlier}"), sentence));
            }
        }
        faults.extend(self.name_faults(topics));
        let bytes = format!("must be at least {MESSAGE_MIN_BYTES}");
        let rules = [
            unless(
                kafka.instance_id.as_ref().is_none_or(|id| !id.trim().is_empty()),
                "kafka.instance_id",
                "this is empty; give each worker its own name, or leave the key out",
            ),
            unless(
                kafka.session_timeout <= SESSION_MAX,
                "kafka.session_timeout",
                "must be no more than 1h",
            ),
            unless(
                kafka.request_timeout <= REQUEST_MAX,
                "kafka.request_timeout",
                "must be no more than 1h",
            ),
            unless(
                kafka.transaction_timeout >= TRANSACTION_MIN,
                "kafka.transaction_timeout",
                "must be at least 1s",
            ),
            unless(kafka.max_message_bytes >= MESSAGE_MIN_BYTES, "kafka.max_message_bytes", &bytes),
        ];
        faults.extend(rules.into_iter().flatten());
        faults
    }

    /// Faults of the names of group, member and topics.
    fn name_faults(&self, topics: [(&str, &str); 4]) -> Vec<Finding> {
        // A blank at the end of a group's name is another group.
        let names = [
            ("kafka.group_id", self.kafka.group_id.as_str()),
            ("kafka.instance_id", self.kafka.instance_id.as_deref().unwrap_or_default()),
        ];
        let is_given = |(_, name): &(&str, &str)| !name.trim().is_empty();
        let has_blanks = |name: &str| name.contains(char::is_whitespace);
        let blanks = "this holds white space, which no such name has; remove it";
        let unknown = "Kafka has no topic of such a name: it is made of up to 249 ASCII letters, \
                       digits, dots, underscores and hyphens";
        let all = names.into_iter().chain(topics).filter(is_given);
        let with_blanks = all.filter_map(|(key, name)| unless(!has_blanks(name), key, blanks));
        let others = topics.into_iter().filter(is_given).filter(|(_, name)| !has_blanks(name));
        let no_topics = others.filter_map(|(key, name)| unless(is_topic_name(name), key, unknown));
        with_blanks.chain(no_topics).collect()
    }

    fn count_faults(&self) -> Vec<Finding> {
        let counts = [
            ("worker.threads", self.worker.threads),
            ("worker.max_in_flight", self.worker.max_in_flight),
            ("worker.max_in_flight_bytes", self.worker.max_in_flight_bytes),
            ("worker.max_batch", self.worker.max_batch),
            ("kafka.max_event_bytes", self.kafka.max_event_bytes),
            ("retry.max_waiting", self.retry.max_waiting),
            ("breaker.min_calls", self.breaker.min_calls as usize),
            ("breaker.probes", self.breaker.probes as usize),
            ("postgres.max_connections", self.postgres.max_connections as usize),
        ];
        let metadata = unless(
            METADATA_BOUNDS.contains(&self.kafka.offset_metadata_max_bytes),
            "kafka.offset_metadata_max_bytes",
            &format!("must be between {} and {}", METADATA_BOUNDS.start(), METADATA_BOUNDS.end()),
        );
        let threads = unless(
            self.worker.threads <= THREADS_MAX,
            "worker.threads",
            &format!("must be no more than {THREADS_MAX}"),
        );
        counts
            .into_iter()
            .filter_map(|(key, count)| unless(count > 0, key, "must be at least 1"))
            .chain(metadata)
            .chain(threads)
            .collect()
    }

    fn duration_faults(&self) -> Vec<Finding> {
        let (kafka, retry, breaker) = (&self.kafka, &self.retry, &self.breaker);
        // Each key, and whether it may be 0.
        let durations = [
            ("kafka.session_timeout", kafka.session_timeout, false),
            ("kafka.transaction_timeout", kafka.transaction_timeout, false),
            ("kafka.request_timeout", kafka.request_timeout, false),
            ("postgres.connect_timeout", self.postgres.connect_timeout, false),
            ("postgres.statement_timeout", self.postgres.statement_timeout, false),
            ("worker.max_linger", self.worker.max_linger, true),
            ("worker.drain_timeout", self.worker.drain_timeout, false),
            ("retry.initial_interval", retry.initial_interval, false),
            ("retry.max_interval", retry.max_interval, false),
            ("retry.in_process_for", retry.in_process_for, true),
            ("retry.defer_interval", retry.defer_interval, false),
            ("retry.defer_max_interval", retry.defer_max_interval, false),
            ("retry.give_up_after", retry.give_up_after, false),
            ("retry.retry_after_max", retry.retry_after_max, true),
            ("breaker.window", breaker.window, false),
            ("breaker.open_for", breaker.open_for, false),
            ("breaker.open_max", breaker.open_max, false),
            ("breaker.access_denied_for", breaker.access_denied_for, false),
            ("breaker.access_denied_max", breaker.access_denied_max, false),
            ("dead_letters.window", self.dead_letters.window, false),
            ("dead_letters.probe_every", self.dead_letters.probe_every, false),
        ];
        let mut faults = Vec::new();
        for (key, duration, may_be_zero) in durations {
            let is_long_enough =
                duration >= Duration::from_millis(1) || (may_be_zero && duration.is_zero());
            faults.extend(unless(is_long_enough, key, "must be at least 1ms"));
            faults.extend(unless(duration <= LONGEST, key, "must be no more than ten years"));
        }
        let (linger, drain) = (self.worker.max_linger, self.worker.drain_timeout);
        faults.extend(unless(
            drain <= LONGEST_DRAIN || drain > LONGEST,
            "worker.drain_timeout",
            "must be no more than 6h",
        ));
        faults.extend(unless(
            linger <= LONGEST_LINGER || linger > LONGEST,
            "worker.max_linger",
            "must be no more than 1s",
        ));
        faults
    }

    fn retry_faults(&self) -> Vec<Finding> {
        let (retry, budget) = (&self.retry, &self.retry.budget);
        let at_least = |value: f64, least: f64| value >= least && value.is_finite();
        let rules = [
            unless(at_least(retry.multiplier, 1.0), "retry.multiplier", "must be at least 1"),
            unless(
                retry.initial_interval <= retry.max_interval,
                "retry.initial_interval",
                "must be no more than retry.max_interval",
            ),
            unless(
                retry.defer_interval <= retry.defer_max_interval,
                "retry.defer_interval",
                "must be no more than retry.defer_max_interval",
            ),
            ratio("retry.budget.ratio", budget.ratio),
            // With less, a retry could wait for ever.
            unless(
                at_least(budget.per_second, f64::MIN_POSITIVE),
                "retry.budget.per_second",
                "must be more than 0",
            ),
            unless(at_least(budget.reserve, 1.0), "retry.budget.reserve", "must be at least 1"),
        ];
        rules.into_iter().flatten().collect()
    }

    fn http_faults(&self) -> Vec<Finding> {
        let token = self.http.token.expose_secret();
        let is_good = token.len() >= TOKEN_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
        let sentence = "must be at least 16 visible ASCII characters, such as those of `openssl \
                        rand -hex 32`, or empty";
        let token = unless(token.is_empty() || is_good, "http.token", sentence);
        let listen = self.http.listen.as_str();
        let sentence = "must be an address with a port, such as 127.0.0.1:9464, or empty";
        let listen = unless(listen.is_empty() || is_address(listen), "http.listen", sentence);
        listen.into_iter().chain(token).collect()
    }

    fn breaker_faults(&self) -> Vec<Finding> {
        let breaker = &self.breaker;
        let key = "breaker.failure_ratio";
        let rules = [
            // At 0 a window of good calls would open it.
            ratio(key, breaker.failure_ratio)
                .or_else(|| unless(breaker.failure_ratio > 0.0, key, "must be more than 0")),
            unless(
                breaker.open_for <= breaker.open_max,
                "breaker.open_for",
                "must be no more than breaker.open_max",
            ),
            unless(
                breaker.access_denied_for <= breaker.access_denied_max,
                "breaker.access_denied_for",
                "must be no more than breaker.access_denied_max",
            ),
        ];
        rules.into_iter().flatten().collect()
    }
}

/// Whether it has the form of an address with a port. Whether its host exists is seen at the start.
fn is_address(listen: &str) -> bool {
    let is_host = |host: &str| {
        !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || letter == '/')
    };
    listen.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

fn ratio(key: &str, value: f64) -> Option<Finding> {
    unless((0.0..=1.0).contains(&value), key, "must be between 0 and 1")
}
