//! The sections of a claim, in which every field may be absent.
//!
//! A whole number is read as an `i64`. So a number outside its field's range gets another error
//! than a value of another type.

use serde::{Deserialize, Serialize};

use super::given::given;
use super::secret::Secret;

macro_rules! optional_fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $(@$rename:literal)? $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* $(#[serde(rename = $rename)])?
            #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)*
        }
    };
}

optional_fields! {
    /// The device and connection that the claim came from.
    Client {
        /// The public IP address at the time of the claim; required, so never `None` in a `Claim`.
        ip: String,
        /// The device id for WeChat's APIs: the IMEI on Android, the IDFA on iOS.
        device_id: String,
        /// IMEI or IDFA.
        imei: String,
        /// MAC address.
        mac: String,
        /// BSSID of the WiFi network.
        wifi_bssid: String,
        /// The HTTP cookie, hashed twice.
        cookie_hash: String,
        /// The HTTP referer.
        referer: String,
        /// The HTTP `X-Forwarded-For`.
        forwarded_for: String,
        /// Where the user is, in words.
        address: String,
        /// Degrees, -90 to 90.
        latitude: f64,
        /// Degrees, -180 to 180.
        longitude: f64,
    }
}
optional_fields! {
    /// How the user logged in.
    Login {
        /// 0 other, 1 password, 2 SMS, 3 QR scan; on the wire `type`.
        @"type" method: i64,
        /// 0 other, 1 PC web, 2 mobile web, 3 app, 4 WeChat official account.
        source: i64,
        /// 1 official account, 2 mini-program.
        wechat_subtype: i64,
        /// The random text that is signed by `token`.
        nonce: String,
        /// The login's token: a session signature or a user's access token.
        token: Secret,
    }
}
optional_fields! {
    /// The reward and the campaign's own limits.
    Reward {
        /// What was bought, free text or (mini-programs) a goods id.
        goods: String,
        /// Unique hash of the prize code.
        code_hash: String,
        /// How many users may share one red packet.
        share: i64,
        /// Claims allowed per account and day.
        daily_limit: i64,
        /// Claims allowed per account and campaign.
        total_limit: i64,
        /// Merchant number.
        merchant: String,
    }
}
optional_fields! {
    /// Identity papers.
    Identity {
        /// Number of the certificate.
        certificate_id: String,
    }
}
optional_fields! {
    /// The captcha that is requested or answered.
    Captcha {
        /// 1–8, the eight kinds of captcha pictures; on the wire `type`.
        @"type" picture: i64,
        /// The business that requests it.
        business_id: i64,
        /// The scene within the business.
        scene_id: i64,
        /// The ticket that the user got for the answer.
        ticket: Secret,
    }
}

/// Whether no field of a section was given.
pub(super) fn is_empty<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}
