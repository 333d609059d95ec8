//! The account that claims.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::words::words;

/// The account that claims. [`Account::kind`] and [`Account::id`] identify the subject, whose
/// claims are assessed in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// The type of `id`; on the wire `type`.
    #[serde(rename = "type")]
    pub kind: AccountType,
    /// The identifier: an openid, a phone number, a device id.
    pub id: String,
    /// The app that the openid belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The business's own account linked with the openid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub associate_id: Option<String>,
    /// The phone number, if the account is not a phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// When the account was registered, UNIX seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<i64>,
}

words! {
    /// The type of an account id. Each API has its own numbers for these types and accepts only
    /// some.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    pub enum AccountType {
        Qq = "qq": "A QQ openid.",
        Wechat = "wechat": "A WeChat openid or unionid.",
        Phone = "phone": "A phone number.",
        Device = "device": "An IMEI or IDFA, or the MD5 of one.",
        Other = "other": "Anything else.",
        PhoneMd5 = "phone_md5": "The MD5 of a phone number.",
        PhoneCode = "phone_code": "A one-time code sent to a phone (captcha APIs).",
        Email = "email": "An e-mail address (captcha APIs).",
    }
}

impl<'de> Deserialize<'de> for AccountType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = AccountType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of the words ")?;
                let words = AccountType::ALL.map(AccountType::as_str);
                f.write_str(&words.join(", "))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<AccountType, E> {
                let found = AccountType::from_word(value);
                found.ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Word)
    }
}
