//! Accounts with words in their id that tell the simulator which fault to make
//! (`docs/simulator.md`): each at least once.

use super::kind::Kind;

/// The result of an account's words for its claims.
pub(super) enum ExpectedEnd {
    /// They are assessed as the simulator says.
    Valued,
    /// The API says for good that it cannot assess them.
    Refused,
    /// The API never assesses them.
    Hopeless,
}

use ExpectedEnd::{Hopeless, Refused, Valued};

/// Accounts with a known result.
pub(super) const SCRIPTS: [(Kind, &str, ExpectedEnd); 56] = [
    (Kind::QrCode, "level-0", Valued),
    (Kind::QrCode, "level-1-risk-1", Valued),
    (Kind::QrCode, "level-2-risk-101-risk-201", Valued),
    (Kind::QrCode, "level-3-risk-102", Valued),
    (Kind::QrCode, "level-4-risk-2-risk-206", Valued),
    (Kind::QrCode, "level-0-risk-5", Valued),
    (Kind::QrCode, "level-3-risk-5", Valued),
    (Kind::QrCode, "level-0-risk-4", Valued),
    (Kind::QrCode, "level-2-risk-4-transient-1", Valued),
    (Kind::QrCode, "level-0-risk-3", Valued),
    (Kind::QrCode, "level-0-risk-104", Valued),
    (Kind::QrCode, "level-3-risk-104", Valued),
    (Kind::QrCode, "level-1-risk-999", Valued),
    (Kind::QrCode, "transient-1", Valued),
    (Kind::QrCode, "transient-2-code-7", Valued),
    (Kind::QrCode, "transient-2-http-503", Valued),
    (Kind::QrCode, "transient-1-http-429", Valued),
    (Kind::QrCode, "transient-1-reset", Valued),
    (Kind::QrCode, "transient-1-hang", Valued),
    (Kind::QrCode, "transient-1-cut", Valued),
    (Kind::QrCode, "transient-1-html", Valued),
    (Kind::QrCode, "transient-1-truncated-level-3", Valued),
    (Kind::QrCode, "transient-1-empty", Valued),
    (Kind::QrCode, "transient-1-no-level", Valued),
    (Kind::QrCode, "string-code-level-1", Valued),
    (Kind::QrCode, "level-space-level-2", Valued),
    (Kind::QrCode, "big-level-0", Valued),
    (Kind::QrCode, "slow-400ms-level-0", Valued),
    (Kind::QrCode, "nul-\0-level-0", Valued),
    (Kind::QrCode, "code-4000", Refused),
    (Kind::QrCode, "code-6000", Hopeless),
    (Kind::QrCode, "http-503", Hopeless),
    (Kind::MiniProgram, "level-0", Valued),
    (Kind::MiniProgram, "level-1-risk-101", Valued),
    (Kind::MiniProgram, "level-2-risk-202", Valued),
    (Kind::MiniProgram, "level-3-risk-203", Valued),
    (Kind::MiniProgram, "level-4-risk-201-risk-302", Valued),
    (Kind::MiniProgram, "level-0-risk-103", Valued),
    (Kind::MiniProgram, "transient-1", Valued),
    (Kind::WechatMarketing, "level-0", Valued),
    (Kind::WechatMarketing, "level-1", Valued),
    (Kind::WechatMarketing, "level-2", Valued),
    (Kind::WechatMarketing, "level-3", Valued),
    (Kind::WechatMarketing, "transient-2", Valued),
    (Kind::WechatMarketing, "transient-1-inner-truncated", Valued),
    (Kind::WechatMarketing, "inner-object-level-1", Valued),
    (Kind::WechatMarketing, "code-2", Refused),
    (Kind::WechatMarketing, "code-4", Hopeless),
    (Kind::WechatAccount, "level-3", Valued),
    (Kind::WechatAccount, "transient-1", Valued),
    (Kind::WechatAccount, "code-12", Refused),
    (Kind::Captcha, "transient-1", Valued),
    (Kind::Captcha, "transient-1-no-level", Valued),
    (Kind::CaptchaCheck, "level-3", Valued),
    (Kind::CaptchaCheck, "ticket-wrong", Valued),
    (Kind::CaptchaCheck, "transient-2", Hopeless),
];
