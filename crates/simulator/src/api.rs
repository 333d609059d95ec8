//! The names of the simulated APIs: the same words as in claimgate's configuration, SQL and
//! metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One simulated API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Tencent Cloud `IntelligentQRCode`, 2021 schema.
    IntelligentQrCode,
    /// Tencent Cloud `IntelligentQRCode`, 2018-12 mini-program schema.
    MiniProgram,
    /// WeChat `weopensecriskservice`, serviceid 3.
    WechatMarketing,
    /// WeChat `weopensecuseracctrisklevel`, serviceid 2.
    WechatAccount,
    /// Tencent Cloud `CaptchaQuery`.
    CaptchaQuery,
    /// Tencent Cloud `CaptchaCheck`, 2016 edition.
    CaptchaCheck,
    /// WeChat's `/cgi-bin/token` and `/cgi-bin/stable_token`.
    AccessToken,
    /// A request to a known path that names none of the above.
    Unknown,
}

impl Api {
    /// Every API, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::IntelligentQrCode,
        Self::MiniProgram,
        Self::WechatMarketing,
        Self::WechatAccount,
        Self::CaptchaQuery,
        Self::CaptchaCheck,
        Self::AccessToken,
        Self::Unknown,
    ];

    /// The name in `/control/…`, in the log and in `Faults`.
    pub fn name(self) -> &'static str {
        match self {
            Self::IntelligentQrCode => "intelligent_qr_code",
            Self::MiniProgram => "mini_program",
            Self::WechatMarketing => "wechat_marketing",
            Self::WechatAccount => "wechat_account",
            Self::CaptchaQuery => "captcha_query",
            Self::CaptchaCheck => "captcha_check",
            Self::AccessToken => "access_token",
            Self::Unknown => "unknown",
        }
    }

    /// The API of that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.name() == name)
    }

    /// Whether it is answered by the WeChat service market.
    pub(super) fn is_wechat(self) -> bool {
        matches!(self, Self::WechatMarketing | Self::WechatAccount)
    }

    /// Whether its answers carry a risk level.
    pub(super) fn has_level(self) -> bool {
        self.is_wechat() || matches!(self, Self::IntelligentQrCode | Self::MiniProgram)
    }

    /// The code of the word `transient-N`, if the account names no other.
    pub(super) fn transient_code(self) -> i64 {
        match self {
            Self::WechatMarketing | Self::WechatAccount => 4,
            Self::AccessToken => -1,
            _ => 6000,
        }
    }

    /// The transient codes of random faults, unless the settings name others. Codes to which a
    /// client rightly reacts with a long pause or an alarm (4400, 9, 13, 45009 …) come only if the
    /// settings name them.
    pub(super) fn transient_codes(self) -> &'static [i64] {
        match self {
            Self::WechatMarketing | Self::WechatAccount => {
                &[4, 5, 6, 7, 8, 10, -1, 9_301_002, 9_301_012]
            }
            Self::AccessToken => &[-1],
            Self::CaptchaCheck => &[6000, 4, 5, 6, 7, 8, 10],
            _ => &[6000, 5100, 4, 5, 6, 7, 8, 10],
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
