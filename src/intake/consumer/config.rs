//! The configuration of the group's consumer.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::statistics;
use crate::kafka::Settings;

/// How long the group waits for a member that does not join a rebalance, and a member for the
/// group's answer. With librdkafka's default no claim would be decided for five minutes. The thread
/// never stops polling, so only a drain may take longer.
const REBALANCE_MAX_WAIT: Duration = Duration::from_secs(30);

/// How often a member asks whether the group rebalances. No partition moves before all members have
/// asked.
const HEARTBEAT: Duration = Duration::from_millis(300);

/// The configuration of librdkafka. `[kafka.properties]` overrides it.
pub(super) fn consumer(settings: &Settings, drain_timeout: Duration) -> ClientConfig {
    let mut config = settings.consumer();
    let debug =
        config.get("debug").map_or_else(|| "topic".to_owned(), |more| format!("{more},topic"));
    config
        // Only these lines say that a topic was deleted and created again, see `Rebalances::log`.
        .set("debug", debug)
        .set_log_level(RDKafkaLogLevel::Debug)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("statistics.interval.ms", statistics::INTERVAL.as_millis().to_string());
    if let Some(instance) = &settings.instance_id {
        config.set("group.instance.id", instance);
    }
    let max_wait = REBALANCE_MAX_WAIT.max(settings.session_timeout).max(2 * drain_timeout);
    let defaults = [
        (
            "heartbeat.interval.ms",
            HEARTBEAT.min(settings.session_timeout / 4).as_millis().max(1).to_string(),
        ),
        ("max.poll.interval.ms", max_wait.as_millis().to_string()),
        // A request without an answer within this time ends its connection: that detects a silent
        // peer.
        (
            "socket.timeout.ms",
            settings.request_timeout.as_millis().clamp(1_000, 300_000).to_string(),
        ),
        ("queued.max.messages.kbytes", "16384".to_owned()),
        ("fetch.message.max.bytes", settings.max_event_bytes.clamp(1 << 20, 1 << 29).to_string()),
    ];
    for (key, value) in defaults {
        // [kafka.properties] wins.
        let other_name =
            if key == "fetch.message.max.bytes" { "max.partition.fetch.bytes" } else { key };
        if config.get(key).is_none() && config.get(other_name).is_none() {
            config.set(key, value);
        }
    }
    config
}

/// The consumer of a member without a name. It logs nothing.
pub(super) fn visitor(settings: &Settings, drain_timeout: Duration) -> ClientConfig {
    let mut config = consumer(settings, drain_timeout);
    config
        .remove("group.instance.id")
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("statistics.interval.ms", "0");
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// With librdkafka's default no claim would be decided for five minutes.
    #[test]
    fn a_rebalance_waits_half_a_minute_or_for_a_drain() {
        let max_wait = |text: &str, drain: u64| {
            let text = format!("[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n{text}");
            let settings = Config::from_toml(&text).expect("settings").kafka;
            let config = super::consumer(&settings, Duration::from_secs(drain));
            config.get("max.poll.interval.ms").expect("set").to_owned()
        };
        assert_eq!(max_wait("", 12), "30000");
        assert_eq!(max_wait("", 45), "90000");
        assert_eq!(max_wait("[kafka]\nsession_timeout = \"2m\"", 12), "120000");
        assert_eq!(
            max_wait("[kafka.properties]\n\"max.poll.interval.ms\" = \"300000\"", 12),
            "300000"
        );
    }

    #[test]
    fn the_default_heartbeat_interval_is_short() {
        let heartbeat = |text: &str| {
            let text = format!("[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n{text}");
            let settings = Config::from_toml(&text).expect("settings").kafka;
            super::consumer(&settings, Duration::from_secs(10))
                .get("heartbeat.interval.ms")
                .expect("set")
                .to_owned()
        };
        assert_eq!(heartbeat(""), "300");
        assert_eq!(heartbeat("[kafka.properties]\n\"heartbeat.interval.ms\" = \"2000\""), "2000");
        assert_eq!(
            heartbeat("[kafka]\nsession_timeout = \"1100ms\"\ntransaction_timeout = \"1s\""),
            "275"
        );
    }

    /// Such a property was silently overwritten.
    #[test]
    fn a_consumer_property_is_honoured_or_refused() {
        let settings = |property: &str| {
            let text = format!(
                "[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n\
                [kafka.properties]\n\"{property}\" = \"7777\""
            );
            Config::from_toml(&text).map(|config| config.kafka)
        };
        let consumer = settings("client.rack").expect("settings");
        let consumer = super::consumer(&consumer, Duration::from_secs(10));
        for (key, _) in consumer.config_map() {
            // A property takes effect as it is given, or is refused because claimgate sets it.
            match settings(key) {
                Ok(settings) => {
                    let config = super::consumer(&settings, Duration::from_secs(10));
                    // claimgate adds to "debug".
                    assert!(
                        config.get(key).is_some_and(|value| value.starts_with("7777")),
                        "{key}"
                    );
                }
                Err(error) => assert!(error.to_string().contains(key), "{error}"),
            }
        }
    }
}
