//! The tables of the providers' documents: names, which of them are required, and what their values
//! look like.

use std::net::IpAddr;

use super::super::api::Api;

/// One API's parameters.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) api: Api,
    /// The parameter that tells claims of one account apart.
    pub(super) claim: &'static str,
    pub(super) required: &'static [Parameter],
    pub(super) optional: &'static [Parameter],
}

pub(super) type Parameter = (&'static str, Is);

/// What a value looks like.
#[derive(Debug)]
pub(super) enum Is {
    Text,
    Uint,
    OneOf(&'static [u64]),
    Degrees(f64),
    Address,
}

pub(super) const COMMON: [&str; 9] = [
    "Action",
    "Region",
    "Timestamp",
    "Nonce",
    "SecretId",
    "Signature",
    "SignatureMethod",
    "Token",
    "RequestClient",
];

pub(super) const QR_CODE: Schema = Schema {
    api: Api::IntelligentQrCode,
    claim: "encryptedCode",
    required: &[
        ("accountType", Is::OneOf(&[0, 1, 2, 4, 8, 10004])),
        ("uid", Is::Text),
        ("userIp", Is::Address),
        ("postTime", Is::Uint),
        ("goodInfo", Is::Text),
    ],
    optional: &[
        ("appId", Is::Text),
        ("encryptedCode", Is::Text),
        ("cookie", Is::Text),
        ("share", Is::Uint),
        ("dayTimes", Is::Uint),
        ("totaltimes", Is::Uint),
        ("phoneNumber", Is::Text),
        ("address", Is::Text),
        ("latitude", Is::Degrees(90.0)),
        ("longitude", Is::Degrees(180.0)),
        ("imei", Is::Text),
        ("referer", Is::Text),
        ("loginType", Is::OneOf(&[0, 1, 2, 3])),
        ("loginSource", Is::OneOf(&[0, 1, 2, 3, 4])),
        ("wxSubType", Is::OneOf(&[1, 2])),
        ("randNum", Is::Text),
        ("wxToken", Is::Text),
        ("associateAccount", Is::Text),
    ],
};

pub(super) const MINI_PROGRAM: Schema = Schema {
    api: Api::MiniProgram,
    claim: "EncryptedCode",
    required: &[
        ("accountType", Is::OneOf(&[0, 1, 2])),
        ("uid", Is::Text),
        ("accessToken", Is::Text),
        ("userIP", Is::Address),
        ("postTime", Is::Uint),
        ("Type", Is::Text),
    ],
    optional: &[
        ("appid", Is::Text),
        ("EncryptedCode", Is::Text),
        ("Share", Is::Uint),
        ("Daytimes", Is::Uint),
        ("Totaltimes", Is::Uint),
        ("phoneNumber", Is::Text),
        ("Address", Is::Text),
        ("Latitude", Is::Degrees(90.0)),
        ("Longitude", Is::Degrees(180.0)),
        ("Imei", Is::Text),
    ],
};

const CAPTCHA_OPTIONAL: &[Parameter] = &[
    ("accountType", Is::OneOf(&[0, 1, 2, 4, 6, 7])),
    ("appId", Is::Text),
    ("uid", Is::Text),
    ("associateAccount", Is::Text),
    ("xForwardedFor", Is::Text),
    ("macAddress", Is::Text),
    ("imei", Is::Text),
    ("sceneId", Is::Uint),
    // Last, for CaptchaCheck has no such parameter.
    ("callBack", Is::Text),
];

pub(super) const CAPTCHA_QUERY: Schema = Schema {
    api: Api::CaptchaQuery,
    claim: "",
    required: &[
        ("registerTime", Is::Uint),
        ("userIp", Is::Address),
        ("captchaType", Is::OneOf(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ("script", Is::OneOf(&[0, 1])),
        ("businessId", Is::Uint),
    ],
    optional: CAPTCHA_OPTIONAL,
};

pub(super) const CAPTCHA_CHECK: Schema = Schema {
    api: Api::CaptchaCheck,
    claim: "ticket",
    required: &[
        ("ticket", Is::Text),
        ("captchaType", Is::OneOf(&[1, 2, 3, 4, 5, 6, 7, 8])),
        ("userIp", Is::Address),
        ("registerTime", Is::Uint),
        ("businessId", Is::Uint),
    ],
    optional: CAPTCHA_OPTIONAL.split_at(CAPTCHA_OPTIONAL.len() - 1).0,
};

impl Is {
    pub(super) fn fits(&self, value: &str) -> bool {
        let uint = || {
            value
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| value.parse::<u64>().ok())
                .flatten()
        };
        match self {
            Self::Text => true,
            Self::Uint => uint().is_some(),
            Self::OneOf(values) => uint().is_some_and(|value| values.contains(&value)),
            Self::Degrees(most) => value.parse::<f64>().is_ok_and(|degrees| degrees.abs() <= *most),
            Self::Address => value.parse::<IpAddr>().is_ok(),
        }
    }
}
