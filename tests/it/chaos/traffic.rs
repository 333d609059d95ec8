//! The events of a run: claims of several kinds, some sent twice, some in conflict, and events that
//! are no claims. Pure: the events depend only on the seed and the claim's number.
//!
//! Each event says in a header what it is, so that the oracle can judge every record of the topic
//! by itself.

use claimgate_simulator::{Api, Call, Outcome};
use fastrand::Rng;
use serde_json::{Value, json};

use super::super::lab::Event;

/// What an event is: `claim`, `other` (the same claim id, other content), or `dead:` and the word
/// for its error.
pub(super) const SORT: &str = "chaos-sort";
/// The number of the claim.
pub(super) const NUMBER: &str = "chaos-number";
/// How many claims later a duplicate may come.
const LATER: usize = 300;

/// The source of the events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    pub(super) seed: u64,
    /// Claims in all.
    pub(super) claims: usize,
}

/// A claim before it is bytes.
struct Draft {
    api: Api,
    account: String,
    repeats: Repeats,
    malformed: bool,
}

#[derive(PartialEq)]
enum Repeats {
    None,
    AtOnce,
    Later,
    Conflict,
}

impl Traffic {
    /// The claim of this number, and what comes right behind it.
    pub(super) fn events(&self, number: usize) -> Vec<Event> {
        let draft = self.draft(number);
        let mut events = vec![draft.event(number)];
        match draft.repeats {
            Repeats::AtOnce => events.push(draft.event(number)),
            Repeats::Conflict => events.push(draft.conflict(number)),
            Repeats::None | Repeats::Later => {}
        }
        if let Some(earlier) = number.checked_sub(LATER) {
            let draft = self.draft(earlier);
            if draft.repeats == Repeats::Later {
                events.push(draft.event(earlier));
            }
        }
        if draft.malformed {
            events.push(malformed(number));
        }
        events
    }

    /// The level that the simulator gives this claim's account, for kinds whose verdict has one.
    pub(super) fn level(&self, number: usize) -> Option<i64> {
        let draft = self.draft(number);
        let has_level = !matches!(draft.api, Api::CaptchaQuery | Api::CaptchaCheck);
        has_level.then(|| claimgate_simulator::expected(draft.api, &draft.account).level)
    }

    fn draft(&self, number: usize) -> Draft {
        let mut random =
            Rng::with_seed(self.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let api = match random.u8(..100) {
            0..52 => Api::IntelligentQrCode,
            52..67 => Api::MiniProgram,
            67..82 => Api::WechatMarketing,
            82..92 => Api::WechatAccount,
            92..97 => Api::CaptchaQuery,
            _ => Api::CaptchaCheck,
        };
        let words = match random.u16(..1_000) {
            0..20 => "-transient-1",
            20..25 => "-transient-3",
            25..35 => "-transient-1-http-503",
            35..40 => "-transient-2-http-429",
            40..43 => "-transient-1-hang",
            43..48 => "-transient-1-reset",
            48..51 => "-transient-1-cut",
            51..54 => "-transient-1-html",
            54..58 => "-slow-300ms",
            // Deferred, once or more often.
            58..60 => "-transient-20",
            _ => "",
        };
        // A captcha's call names its claim only in the account.
        let alone = !words.is_empty() || api == Api::CaptchaQuery;
        let user = if alone { number } else { random.usize(..self.claims / 5 + 1) };
        let account = format!("{}{user}{words}", if alone { "alone" } else { "user" });
        let repeats = match random.u8(..100) {
            0..2 => Repeats::AtOnce,
            2..4 => Repeats::Later,
            4 => Repeats::Conflict,
            _ => Repeats::None,
        };
        Draft { api, account, repeats, malformed: random.u8(..50) == 0 }
    }
}

impl Draft {
    fn event(&self, number: usize) -> Event {
        event(
            number,
            "claim",
            Some(self.json(number).to_string().into_bytes()),
            Some(self.account.clone()),
        )
    }

    /// Behind the claim, in its partition.
    fn conflict(&self, number: usize) -> Event {
        let mut json = self.json(number);
        json["client"]["device_id"] = "another-device".into();
        event(number, "other", Some(json.to_string().into_bytes()), Some(self.account.clone()))
    }

    fn json(&self, number: usize) -> Value {
        let id = claim_id(number);
        let kind = match self.api {
            Api::MiniProgram => "mini_program",
            Api::WechatMarketing => "wechat_marketing",
            Api::WechatAccount => "wechat_account",
            Api::CaptchaQuery => "captcha",
            Api::CaptchaCheck => "captcha_check",
            _ => "qr_code",
        };
        json!({
            "claim_id": id, "kind": kind, "claimed_at": 1_632_994_480,
            "account": { "type": "wechat", "id": self.account, "app_id": "wx0000000000000001", "registered_at": 1_436_673_889 },
            "client": { "ip": "121.14.96.121", "imei": "860000000000000", "device_id": "device" },
            "login": { "token": format!("session-{id}") },
            "reward": { "goods": if kind == "mini_program" { "12" } else { "red packet" }, "code_hash": id, "share": 1, "daily_limit": 3, "total_limit": 10 },
            "captcha": { "type": 1, "business_id": 1, "scene_id": 2, "ticket": id },
        })
    }
}

fn malformed(number: usize) -> Event {
    let whole = Draft {
        api: Api::IntelligentQrCode,
        account: "u".to_owned(),
        repeats: Repeats::None,
        malformed: false,
    };
    let mut json = whole.json(number);
    let (error, payload) = match number % 6 {
        0 => ("not_json", Some(json.to_string().into_bytes()[..60].to_vec())),
        1 => ("tombstone", None),
        2 => (
            "not_utf8",
            Some(
                format!("{{\"claim_id\":\"{number}")
                    .into_bytes()
                    .into_iter()
                    .chain(*b"\xc3\x28\"}")
                    .collect(),
            ),
        ),
        3 => {
            json["account"]["id"] = Value::Null;
            ("missing_field", Some(json.to_string().into_bytes()))
        }
        4 => {
            json["kind"] = "lottery".into();
            ("unknown_kind", Some(json.to_string().into_bytes()))
        }
        _ => {
            json["claimed_at"] = "yesterday".into();
            ("wrong_type", Some(json.to_string().into_bytes()))
        }
    };
    event(number, &format!("dead:{error}"), payload, None)
}

fn event(number: usize, sort: &str, payload: Option<Vec<u8>>, key: Option<String>) -> Event {
    let headers = vec![
        (SORT.to_owned(), sort.as_bytes().to_vec()),
        (NUMBER.to_owned(), number.to_string().into_bytes()),
    ];
    Event { partition: None, key: key.map(String::into_bytes), headers, payload }
}

pub(super) fn claim_id(number: usize) -> String {
    format!("clm-{number:07}")
}

/// The number of a claim id.
pub(super) fn number(claim_id: &str) -> Option<usize> {
    claim_id.strip_prefix("clm-")?.parse().ok()
}

/// The claim that a call was about.
pub(super) fn claim_of(call: &Call) -> Option<usize> {
    match call.api {
        Api::WechatMarketing | Api::WechatAccount => number(call.claim.rsplit_once('-')?.0),
        Api::CaptchaQuery => {
            let digits = call.account.strip_prefix("alone")?;
            digits.split('-').next()?.parse().ok()
        }
        _ => number(&call.claim),
    }
}

/// Whether the API has answered for good about the claim.
pub(super) fn is_conclusive(call: &Call) -> bool {
    let failed_ticket = call.api == Api::CaptchaCheck && call.code == Some(5100);
    call.outcome == Outcome::Answered || failed_ticket
}

#[cfg(test)]
mod tests {
    use claimgate::claim::Claim;

    use super::*;

    #[test]
    fn events_are_what_their_header_says() {
        let traffic = Traffic { seed: 1, claims: 5_000 };
        let mut sorts = std::collections::BTreeMap::new();
        for number in 0..5_000 {
            for event in traffic.events(number) {
                let sort = String::from_utf8(event.headers[0].1.clone()).expect("text");
                let read = Claim::parse(event.payload.as_deref(), 1 << 20);
                match (sort.strip_prefix("dead:"), read) {
                    (Some(error), Err(malformed)) => assert_eq!(malformed.error.as_str(), error),
                    // The registry refuses a kind that no API serves.
                    (Some(error), Ok(_)) => assert_eq!(error, "unknown_kind"),
                    (None, read) => drop(read.expect("a claim")),
                }
                *sorts.entry(sort).or_insert(0) += 1;
            }
        }
        assert_eq!(sorts.len(), 8, "{sorts:?}");
        assert!(sorts["claim"] > 5_100 && sorts["other"] > 20, "{sorts:?}");
    }

    #[test]
    fn events_are_a_function_of_seed_and_number() {
        let payloads = |seed| -> Vec<_> {
            let traffic = Traffic { seed, claims: 1_000 };
            (0..400).flat_map(|number| traffic.events(number)).map(|event| event.payload).collect()
        };
        assert_eq!(payloads(5), payloads(5));
        assert_ne!(payloads(5), payloads(6));
    }
}
