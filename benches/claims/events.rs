//! The claims, and how they get into the topic: all at once, or so many a second.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(30);

/// The id of a claim by its number.
pub(crate) fn claim_id(phase: &str, number: usize) -> String {
    format!("clm-{phase}-{number:07}")
}

/// A claim as a mini-program would send it: about 900 bytes.
fn event(claim_id: &str, number: usize, account: usize) -> String {
    serde_json::json!({
        "claim_id": claim_id,
        "kind": "qr_code",
        "claimed_at": 1_632_994_480 + i64::try_from(number).unwrap_or(0),
        "account": {
            "type": "wechat", "id": format!("oPDER5U0VMARiyXxUruU4S{account:06}"), "app_id": "wx0000000000000001",
            "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687", "registered_at": 1_436_673_889
        },
        "client": {
            "ip": "121.14.96.121", "device_id": "3f1c9a7e-0b52-4a55-9d0e-6a4f8f0a2b11", "imei": "867293045612378",
            "mac": "00:1b:63:84:45:e6", "wifi_bssid": "a0:b1:c2:d3:e4:f5", "cookie_hash": "0cc175b9c0f1b6a831c399e269772661",
            "referer": "https://campaign.example/red-packet?from=bottle-cap", "forwarded_for": "121.14.96.121",
            "address": "Shenzhen, Nanshan", "latitude": 22.5405, "longitude": 113.9345
        },
        "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "5c1a0e5f77d2" },
        "reward": {
            "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10,
            "merchant": "m-1024"
        }
    })
    .to_string()
}

/// Sends claims.
pub(crate) struct Producer {
    producer: BaseProducer,
    topic: String,
    /// Claims whose number it divides are one account's; each other claim has an account of its own.
    pub(crate) hot_every: Option<usize>,
}

impl Producer {
    /// A producer that sends for itself.
    pub(crate) fn plain(kafka: &str, topic: String) -> Outcome<Self> {
        Ok(Self { producer: config(kafka).create()?, topic, hot_every: None })
    }

    /// A producer whose claims are seen all at once, when [`Producer::show`] is called.
    pub(crate) fn hiding(kafka: &str, topic: String) -> Outcome<Self> {
        let producer: BaseProducer = config(kafka).set("transactional.id", &topic).create()?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        Ok(Self { producer, topic, hot_every: None })
    }

    /// Hands one claim to the client.
    pub(crate) fn send(&self, phase: &str, number: usize) -> Outcome<()> {
        let claim_id = claim_id(phase, number);
        let is_hot = self.hot_every.is_some_and(|every| number.is_multiple_of(every));
        let payload = event(&claim_id, number, if is_hot { 0 } else { number });
        let mut record = BaseRecord::to(&self.topic).key(&claim_id).payload(&payload);
        while let Err((error, back)) = self.producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            self.producer.poll(Duration::from_millis(10));
            record = back;
        }
        Ok(())
    }

    /// Lets the client do its work.
    pub(crate) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the broker has everything.
    pub(crate) fn flush(&self) -> Outcome<()> {
        Ok(self.producer.flush(PATIENCE)?)
    }

    /// Makes everything that was sent visible.
    pub(crate) fn show(&self) -> Outcome<()> {
        Ok(self.producer.commit_transaction(PATIENCE)?)
    }
}

fn config(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "500000");
    config
}
