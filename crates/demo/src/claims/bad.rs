//! Events that are no claims, each wrong in its own way.

use fastrand::Rng;
use serde_json::{Value, json};

use super::good;
use super::kind::Kind;
use super::{Event, Expected, MAX_EVENT_BYTES};

/// The change of a claim, and the expected dead letter.
struct Way {
    error: &'static str,
    field: Option<&'static str>,
    kind: Kind,
    spoil: Spoil,
}

enum Spoil {
    /// The bytes are these.
    Bytes(&'static [u8]),
    /// There is no payload.
    Tombstone,
    /// The claim's JSON, cut in the middle.
    Cut,
    /// More bytes than an event may have.
    Oversize,
    /// The value at this JSON pointer is this JSON.
    Set(&'static str, &'static str),
    /// The value at this JSON pointer is this character, repeated.
    Long(&'static str, char, usize),
}

use Spoil::{Bytes, Cut, Long, Oversize, Set, Tombstone};

const fn way(error: &'static str, field: Option<&'static str>, kind: Kind, spoil: Spoil) -> Way {
    Way { error, field, kind, spoil }
}

const WAYS: [Way; 27] = [
    way("not_json", None, Kind::QrCode, Bytes(b"claim_id=17&kind=qr_code")),
    way("not_json", None, Kind::QrCode, Bytes(b"")),
    way("not_json", None, Kind::MiniProgram, Cut),
    way("not_json", None, Kind::QrCode, Bytes(br#"{"claim_id":"lone \ud800 surrogate"}"#)),
    way("not_utf8", None, Kind::QrCode, Bytes(b"{\"claim_id\":\"\xc3\x28\"}")),
    way("not_an_object", None, Kind::QrCode, Bytes(b"[1, 2, 3]")),
    way("tombstone", None, Kind::QrCode, Tombstone),
    way("too_large", None, Kind::QrCode, Oversize),
    way("missing_field", Some("claim_id"), Kind::QrCode, Set("/claim_id", "null")),
    way("missing_field", Some("account.id"), Kind::QrCode, Set("/account/id", r#""""#)),
    way("missing_field", Some("client.ip"), Kind::MiniProgram, Set("/client/ip", "null")),
    way("missing_field", Some("account"), Kind::QrCode, Set("/account", "null")),
    way("missing_field", Some("reward.goods"), Kind::QrCode, Set("/reward/goods", r#""""#)),
    way("missing_field", Some("login.token"), Kind::MiniProgram, Set("/login/token", "null")),
    way(
        "missing_field",
        Some("captcha.business_id"),
        Kind::Captcha,
        Set("/captcha/business_id", "null"),
    ),
    way(
        "missing_field",
        Some("captcha.ticket"),
        Kind::CaptchaCheck,
        Set("/captcha/ticket", "null"),
    ),
    way("wrong_type", Some("claimed_at"), Kind::QrCode, Set("/claimed_at", r#""yesterday""#)),
    way("wrong_type", Some("account.id"), Kind::WechatMarketing, Set("/account/id", "15912345687")),
    way("wrong_type", Some("account.type"), Kind::QrCode, Set("/account/type", r#""fax""#)),
    way("out_of_range", Some("client.latitude"), Kind::QrCode, Set("/client/latitude", "90.01")),
    way("out_of_range", Some("captcha.type"), Kind::Captcha, Set("/captcha/type", "9")),
    way("out_of_range", Some("claimed_at"), Kind::QrCode, Set("/claimed_at", "1632994480000")),
    way("out_of_range", Some("claim_id"), Kind::QrCode, Long("/claim_id", 'x', 129)),
    way(
        "invalid_value",
        Some("claim_id"),
        Kind::QrCode,
        Set("/claim_id", r#""with \u0000 in it""#),
    ),
    way(
        "invalid_value",
        Some("account.type"),
        Kind::WechatAccount,
        Set("/account/type", r#""phone""#),
    ),
    way("unknown_kind", Some("kind"), Kind::QrCode, Set("/kind", r#""lottery""#)),
    way("unknown_kind", Some("kind"), Kind::QrCode, Set("/kind", r#""QR_CODE""#)),
];

/// Makes `count` of them, but at least one of each kind.
pub(super) fn events(count: usize, random: &mut Rng) -> Vec<Event> {
    (0..count.max(WAYS.len())).map(|index| WAYS[index % WAYS.len()].event(index, random)).collect()
}

impl Way {
    fn event(&self, index: usize, random: &mut Rng) -> Event {
        let mut claim = good::plain(self.kind, &format!("bad-{index:05}"), random);
        let payload = match self.spoil {
            Bytes(bytes) => Some(bytes.to_vec()),
            Tombstone => None,
            Cut => Some(claim.json.to_string().into_bytes()[..200].to_vec()),
            Oversize => {
                claim.json["client"]["referer"] = "x".repeat(MAX_EVENT_BYTES).into();
                Some(claim.json.to_string().into_bytes())
            }
            Set(pointer, value) => {
                Some(set(claim.json, pointer, value.parse().unwrap_or(Value::Null)))
            }
            Long(pointer, character, times) => {
                Some(set(claim.json, pointer, json!(character.to_string().repeat(times))))
            }
        };
        let key = random.bool().then(|| claim.account.clone());
        let expected = Expected::DeadLetter { error: self.error, field: self.field };
        Event { key, traceparent: None, payload, expected }
    }
}

fn set(mut claim: Value, pointer: &str, value: Value) -> Vec<u8> {
    if let Some(place) = claim.pointer_mut(pointer) {
        *place = value;
    }
    claim.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_spoils_something() {
        let mut random = Rng::with_seed(1);
        for (index, way) in WAYS.iter().enumerate() {
            let whole = good::plain(way.kind, "x", &mut random).json;
            if let Set(pointer, value) = way.spoil {
                assert!(whole.pointer(pointer).is_some(), "{pointer} is no field of {whole}");
                assert!(value.parse::<Value>().is_ok(), "{value}");
            }
            let payload = way.event(index, &mut random).payload;
            assert_ne!(payload, Some(whole.to_string().into_bytes()));
        }
    }
}
