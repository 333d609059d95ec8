//! What the two captcha APIs of Tencent Cloud share: their parameters and their checks of a claim.
//!
//! Owns the wire names of both. Knows no answer. The invariant: `CaptchaCheck` sends the same
//! `userIp`, `businessId`, `captchaType`, `uid` and `sceneId` as `CaptchaQuery` did for the same
//! user, because the ticket is bound to them.
//!
//! Sources: Tencent Cloud 天御 "拉取验证码JavaScript" (2017-10) and "验证验证码票据" (2016).

use super::tencent_cloud::Parameters;
use crate::claim::{AccountType, Claim, DeadLetterReason, EventError, required};

/// `accountType` (输入参数). The values differ from those of `IntelligentQRCode`.
fn account_type(kind: AccountType) -> Option<u32> {
    match kind {
        AccountType::Other => Some(0),
        AccountType::Qq => Some(1),
        AccountType::Wechat => Some(2),
        AccountType::Phone => Some(4),
        AccountType::PhoneCode => Some(6),
        AccountType::Email => Some(7),
        AccountType::Device | AccountType::PhoneMd5 => None,
    }
}

/// The parameters of both APIs, by wire name and claim field.
pub(super) fn parameters(claim: &Claim) -> Parameters<'_> {
    let Claim { account, client, captcha, .. } = claim;
    let mut parameters = Parameters::default();
    parameters
        .number("accountType", "account.type", account_type(account.kind))
        .text("uid", "account.id", Some(&account.id))
        .text("appId", "account.app_id", account.app_id.as_deref())
        .text("associateAccount", "account.associate_id", account.associate_id.as_deref())
        .number("registerTime", "account.registered_at", account.registered_at)
        .text("userIp", "client.ip", client.ip.as_deref())
        .text("xForwardedFor", "client.forwarded_for", client.forwarded_for.as_deref())
        .text("macAddress", "client.mac", client.mac.as_deref())
        .text("imei", "client.imei", client.imei.as_deref())
        .number("captchaType", "captcha.type", captcha.picture)
        .number("businessId", "captcha.business_id", captcha.business_id)
        .number("sceneId", "captcha.scene_id", captcha.scene_id);
    parameters
}

/// The checks of a claim for both APIs.
pub(super) fn check(claim: &Claim) -> Result<(), DeadLetterReason> {
    let Claim { account, captcha, .. } = claim;
    if account_type(account.kind).is_none() {
        let detail = "the captcha APIs do not take this type";
        return Err(DeadLetterReason::field(EventError::InvalidValue, "account.type", detail));
    }
    if matches!(account.kind, AccountType::Qq | AccountType::Wechat) {
        required("account.app_id", account.app_id.as_ref())?;
    }
    required("account.registered_at", account.registered_at)?;
    required("captcha.type", captcha.picture)?;
    required("captcha.business_id", captcha.business_id).map(drop)
}
