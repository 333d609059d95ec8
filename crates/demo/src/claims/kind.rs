//! The kinds of claims, and the accounts of each.

use fastrand::Rng;
use serde_json::Value;

use claimgate_simulator::Api;

/// The kinds in the default configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    QrCode,
    MiniProgram,
    WechatMarketing,
    WechatAccount,
    Captcha,
    CaptchaCheck,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::QrCode,
        Self::MiniProgram,
        Self::WechatMarketing,
        Self::WechatAccount,
        Self::Captcha,
        Self::CaptchaCheck,
    ];
    /// The share of each kind among a hundred claims.
    const WEIGHTS: [usize; 6] = [40, 20, 15, 10, 8, 7];

    pub(super) fn draw(random: &mut Rng) -> Self {
        let mut ahead = random.usize(..100);
        let found = Self::WEIGHTS.iter().position(|weight| {
            let here = ahead < *weight;
            ahead = ahead.saturating_sub(*weight);
            here
        });
        Self::ALL[found.unwrap_or(0)]
    }

    pub(super) fn name(self) -> &'static str {
        [
            "qr_code",
            "mini_program",
            "wechat_marketing",
            "wechat_account",
            "captcha",
            "captcha_check",
        ][self as usize]
    }

    pub(super) fn api(self) -> Api {
        [
            Api::IntelligentQrCode,
            Api::MiniProgram,
            Api::WechatMarketing,
            Api::WechatAccount,
            Api::CaptchaQuery,
            Api::CaptchaCheck,
        ][self as usize]
    }
}

/// The claiming account: its type and id.
pub(super) type Account = (&'static str, String);

/// Accounts that the providers' samples show, by kind; some of the first claims are theirs.
pub(super) const SAMPLES: [(Kind, &str, &str); 5] = [
    (Kind::QrCode, "wechat", "oPDER5U0VMARiyXxUruU4SYmyOiw"),
    (Kind::QrCode, "phone", "13123456789"),
    (Kind::WechatMarketing, "wechat", "oPDER5U0VMARiyXxUruU4SYmyOiw"),
    (Kind::WechatAccount, "wechat", "oPDER5U0VMARiyXxUruU4SYmyOiw"),
    (Kind::Captcha, "other", "1"),
];

pub(super) fn ticket(kind: Kind, account: &str, code_hash: &str) -> Value {
    match kind {
        Kind::CaptchaCheck if account.ends_with("ticket-wrong") => "ticket-wrong".into(),
        Kind::CaptchaCheck => format!("ticket-{code_hash}").into(),
        _ => Value::Null,
    }
}

/// An account of a type that the kind's API accepts.
pub(super) fn new_account(kind: Kind, random: &mut Rng) -> Account {
    let types: &[&str] = match kind {
        Kind::QrCode => {
            &["wechat", "wechat", "wechat", "phone", "phone_md5", "qq", "device", "other"]
        }
        Kind::MiniProgram => &["wechat", "wechat", "qq"],
        Kind::WechatMarketing | Kind::WechatAccount => &["wechat"],
        Kind::Captcha | Kind::CaptchaCheck => &["wechat", "phone", "phone_code", "email"],
    };
    let account_type = pick(types, random);
    let text = |length: usize, random: &mut Rng| -> String {
        (0..length).map(|_| random.alphanumeric()).collect()
    };
    let id = match account_type {
        "wechat" => format!("oPDER5U0VMAR{}", text(16, random)),
        "phone" | "phone_code" => format!("159{:08}", random.u64(..100_000_000)),
        "phone_md5" => format!("BF{:030X}", random.u128(..) >> 8),
        "device" => format!("{:032x}", random.u128(..)),
        "email" => format!("u{}@example.com", text(8, random).to_lowercase()),
        _ => text(24, random),
    };
    (account_type, id)
}

pub(super) fn pick(values: &[&'static str], random: &mut Rng) -> &'static str {
    values[random.usize(..values.len())]
}
