//! Claims of every kind, among them the values of the providers' samples, and the expected decision
//! for each.
//!
//! Most accounts are ordinary, and the simulator assesses them by their hash. Some have words in
//! their id that tell the simulator which fault to make (`docs/simulator.md`).

use fastrand::Rng;
use serde_json::{Value, json};

use super::kind::{Account, Kind, SAMPLES, new_account, pick, ticket};
use super::scripts::{ExpectedEnd, SCRIPTS};
use super::{Event, Expectation, Expected};
use claimgate::decision::Decision;

/// The time of the providers' own samples: 2021-09-30T09:34:40Z.
const FIRST_CLAIM: i64 = 1_632_994_480;
/// Of a hundred claims, how many are by an account that claimed before.
const RETURNING: usize = 12;
/// Of a hundred ordinary claims of kind `qr_code`, how many come from an address that is not
/// public.
const NOT_PUBLIC: usize = 2;

/// A claim that is being made.
pub(super) struct Draft {
    pub(super) json: Value,
    pub(super) account: String,
    claim_id: String,
    kind: Kind,
    public: bool,
}

/// Makes `count` claims. At least `scripted`, and at least one per script, have words in their
/// account's id.
pub(super) fn events(count: usize, scripted: usize, random: &mut Rng) -> Vec<Event> {
    let scripted = scripted.max(SCRIPTS.len()).min(count);
    let mut events = Vec::with_capacity(count);
    // Claims that are never assessed come once each: with more of them, most calls would be theirs.
    let again =
        SCRIPTS.iter().filter(|(_, _, fate)| !matches!(fate, ExpectedEnd::Hopeless)).cycle();
    for (index, (kind, words, fate)) in SCRIPTS.iter().chain(again).take(scripted).enumerate() {
        let (account_type, id) = new_account(*kind, random);
        let account = (account_type, format!("{id}-{words}"));
        events.push(event(draft(*kind, &claim_id(index), account, random), fate, random));
    }
    let mut known: [Vec<Account>; 6] = Default::default();
    for (kind, account_type, id) in SAMPLES {
        known[kind as usize].push((account_type, id.to_owned()));
    }
    for index in scripted..count {
        let kind = Kind::draw(random);
        let known = &mut known[kind as usize];
        let account = if !known.is_empty() && random.usize(..100) < RETURNING {
            // Taken out and put back below: an account is listed once, even if it claimed several
            // times.
            known.swap_remove(random.usize(..known.len()))
        } else {
            new_account(kind, random)
        };
        known.push(account.clone());
        let mut draft = draft(kind, &claim_id(index), account, random);
        if kind == Kind::QrCode && random.usize(..100) < NOT_PUBLIC {
            draft.json["client"]["ip"] = "127.0.0.1".into();
            draft.public = false;
        }
        events.push(event(draft, &ExpectedEnd::Valued, random));
    }
    events
}

/// An ordinary claim.
pub(super) fn plain(kind: Kind, claim_id: &str, random: &mut Rng) -> Draft {
    let account = new_account(kind, random);
    draft(kind, claim_id, account, random)
}

fn claim_id(index: usize) -> String {
    format!("clm-20210930-{index:06}")
}

fn event(draft: Draft, fate: &ExpectedEnd, random: &mut Rng) -> Event {
    let decision = match fate {
        ExpectedEnd::Valued => draft.decision(),
        ExpectedEnd::Refused | ExpectedEnd::Hopeless => Decision::Review,
    };
    let expectation = Expectation {
        claim_id: draft.claim_id,
        kind: draft.kind.name(),
        decision,
        hopeless: matches!(fate, ExpectedEnd::Hopeless),
        account: draft.account.clone(),
    };
    let trace = (random.u8(..4) == 0)
        .then(|| format!("00-{:032x}-{:016x}-01", random.u128(1..), random.u64(1..)));
    Event {
        key: (random.u8(..10) > 0).then_some(draft.account),
        traceparent: trace,
        payload: Some(draft.json.to_string().into_bytes()),
        expected: Expected::Decision(Box::new(expectation)),
    }
}

impl Draft {
    /// The decision of the default policy (`docs/risk-apis.md`, Policy) for the simulator's verdict
    /// on the account.
    fn decision(&self) -> Decision {
        let verdict = claimgate_simulator::expected(self.kind.api(), &self.account);
        let not_assessed: &[i32] = match self.kind {
            Kind::Captcha => return Decision::Challenge,
            Kind::CaptchaCheck
                if verdict.level >= 3 || self.json["captcha"]["ticket"] == "ticket-wrong" =>
            {
                return Decision::Reject;
            }
            Kind::CaptchaCheck => return Decision::Approve,
            Kind::QrCode if !self.public => return Decision::Review,
            Kind::QrCode if verdict.risk_types.contains(&4) => return Decision::Reject,
            Kind::QrCode if verdict.risk_types.contains(&5) => return Decision::Approve,
            Kind::QrCode => &[3, 104, 205],
            Kind::MiniProgram => &[103],
            Kind::WechatMarketing | Kind::WechatAccount => &[],
        };
        let wechat = matches!(self.kind, Kind::WechatMarketing | Kind::WechatAccount);
        let by_level = match verdict.level {
            0 => Decision::Approve,
            1 => Decision::Challenge,
            2 if wechat => Decision::Review,
            2 => Decision::Challenge,
            _ => Decision::Reject,
        };
        let doubtful = verdict.risk_types.iter().any(|code| not_assessed.contains(code));
        if doubtful { by_level.max(Decision::Review) } else { by_level }
    }
}

fn draft(kind: Kind, claim_id: &str, (account_type, account): Account, random: &mut Rng) -> Draft {
    let code_hash = format!("{:016x}", random.u64(..));
    let ip = format!("121.14.{}.{}", random.u8(1..255), random.u8(1..255));
    let mut json = json!({
        "claim_id": claim_id, "kind": kind.name(), "claimed_at": FIRST_CLAIM + random.i64(0..86_400),
        "account": { "type": account_type, "id": account },
        "client": { "ip": ip, "imei": format!("86{:013}", random.u64(..10_u64.pow(13))), "latitude": 22.5405, "longitude": 113.9345 },
        "reward": { "goods": pick(&["red packet", "good", "bottle cap", "coupon"], random), "code_hash": code_hash,
                    "share": 1, "daily_limit": 3, "total_limit": 10 },
    });
    let extra = match kind {
        Kind::QrCode => json!({
            "client": { "cookie_hash": "asdasldkjaslkjdsfjlsad", "address": "广东省深圳市南山区", "referer": "https://example.com/scan" },
            "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": format!("t{code_hash}") },
            "account": { "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687" },
        }),
        Kind::MiniProgram => {
            json!({ "login": { "token": format!("session-{code_hash}") }, "reward": { "goods": "12" } })
        }
        Kind::WechatMarketing | Kind::WechatAccount => json!({
            "account": { "phone": "15912345687" }, "reward": { "merchant": "mchcode" },
            "client": { "device_id": "deviceid", "wifi_bssid": "66:77:88:99:aa:bb" }, "identity": { "certificate_id": "certid" },
        }),
        Kind::Captcha | Kind::CaptchaCheck => json!({
            "account": { "registered_at": 1_436_673_889, "app_id": "wx0000000000000001" },
            "captcha": { "type": random.u8(1..=8), "business_id": 1, "scene_id": 2, "ticket": ticket(kind, &account, &code_hash) },
        }),
    };
    merge(&mut json, extra);
    if account_type == "qq" {
        json["account"]["app_id"] = "1101234567".into();
    }
    Draft { json, account, claim_id: claim_id.to_owned(), kind, public: true }
}

/// Merges one object into another, field by field.
fn merge(base: &mut Value, over: Value) {
    match over {
        Value::Object(fields) if base.is_object() => {
            fields.into_iter().for_each(|(name, value)| merge(&mut base[name.as_str()], value));
        }
        over => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_the_contracts() {
        let decided = |kind: Kind, words: &str| {
            draft(kind, "c", ("wechat", format!("u-{words}")), &mut Rng::with_seed(1)).decision()
        };
        let levels = |kind| [0, 1, 2, 3].map(|level| decided(kind, &format!("level-{level}")));
        use Decision::{Approve, Challenge, Reject, Review};
        assert_eq!(levels(Kind::QrCode), [Approve, Challenge, Challenge, Reject]);
        assert_eq!(levels(Kind::WechatAccount), [Approve, Challenge, Review, Reject]);
        for (words, decision) in [
            ("level-3-risk-5", Approve),
            ("risk-4", Reject),
            ("risk-3", Review),
            ("level-3-risk-104", Reject),
        ] {
            assert_eq!(decided(Kind::QrCode, words), decision, "{words}");
        }
        assert_eq!(decided(Kind::MiniProgram, "risk-103"), Review);
        assert_eq!(decided(Kind::CaptchaCheck, "ticket-wrong"), Reject);
    }
}
