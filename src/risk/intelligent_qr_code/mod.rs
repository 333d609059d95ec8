//! `IntelligentQRCode`, the schema of 2021: scanned codes and red packets.
//!
//! Owns the wire names of this schema and its table of risk types. Signature, envelope and error
//! codes are in [`super::tencent_cloud`]. The invariant: a code of this table is never read with
//! another schema's meaning. [`super::mini_program`] uses the same `Action` and the same numbers
//! with other meanings.
//!
//! Source: Tencent Cloud 营销风控 "API 文档", `IntelligentQRCode`.

use super::Registration;
use super::tencent_cloud::{LEVELS, LevelApi, Parameters};
use crate::claim::{AccountType, Claim, DeadLetterReason, EventError, Secret, required};
use crate::decision::{Effect, RiskType};

/// `[risk.intelligent_qr_code]`.
pub const REGISTRATION: Registration = Registration {
    name: "intelligent_qr_code",
    kind: "qr_code",
    schema: "2021",
    levels: LEVELS,
    risk_types: &RISK_TYPES,
    max_attempts: None,
    tokens: None,
    build: |setup| LevelApi::build("IntelligentQRCode", check, parameters, setup),
};

/// `accountType` (输入参数).
fn account_type(kind: AccountType) -> Option<u32> {
    match kind {
        AccountType::Other => Some(0),
        AccountType::Qq => Some(1),
        AccountType::Wechat => Some(2),
        AccountType::Phone => Some(4),
        AccountType::Device => Some(8),
        AccountType::PhoneMd5 => Some(10004),
        AccountType::PhoneCode | AccountType::Email => None,
    }
}

/// The input parameters (输入参数), by wire name and claim field. `totaltimes` is spelled so, unlike
/// `dayTimes`.
fn parameters(claim: &Claim) -> Parameters<'_> {
    let Claim { account, client, login, reward, .. } = claim;
    // Required only if the account is not a phone number.
    let phone = account.phone.as_deref().filter(|_| account.kind != AccountType::Phone);
    let mut parameters = Parameters::default();
    parameters
        .number("accountType", "account.type", account_type(account.kind))
        .text("uid", "account.id", Some(&account.id))
        .text("userIp", "client.ip", client.ip.as_deref())
        .number("postTime", "claimed_at", Some(claim.claimed_at))
        .text("appId", "account.app_id", account.app_id.as_deref())
        .text("goodInfo", "reward.goods", reward.goods.as_deref())
        .text("encryptedCode", "reward.code_hash", reward.code_hash.as_deref())
        .text("cookie", "client.cookie_hash", client.cookie_hash.as_deref())
        .number("share", "reward.share", reward.share)
        .number("dayTimes", "reward.daily_limit", reward.daily_limit)
        .number("totaltimes", "reward.total_limit", reward.total_limit)
        .text("phoneNumber", "account.phone", phone)
        .text("address", "client.address", client.address.as_deref())
        .number("latitude", "client.latitude", client.latitude)
        .number("longitude", "client.longitude", client.longitude)
        .text("imei", "client.imei", client.imei.as_deref())
        .text("referer", "client.referer", client.referer.as_deref())
        .number("loginType", "login.type", login.method)
        .number("loginSource", "login.source", login.source)
        .number("wxSubType", "login.wechat_subtype", login.wechat_subtype)
        .text("randNum", "login.nonce", login.nonce.as_deref())
        .text("wxToken", "login.token", login.token.as_ref().map(Secret::expose))
        .text("associateAccount", "account.associate_id", account.associate_id.as_deref());
    parameters
}

fn check(claim: &Claim) -> Result<(), DeadLetterReason> {
    let Claim { account, login, reward, .. } = claim;
    if account_type(account.kind).is_none() {
        let detail = "IntelligentQRCode does not take this type";
        return Err(DeadLetterReason::field(EventError::InvalidValue, "account.type", detail));
    }
    if account.kind == AccountType::Qq {
        required("account.app_id", account.app_id.as_ref())?;
    }
    required("reward.goods", reward.goods.as_ref())?;
    // A mini-program: its session key signs the nonce.
    if login.wechat_subtype == Some(2) {
        required("login.nonce", login.nonce.as_ref())?;
    }
    Ok(())
}

/// The types of risk (riskType 详细说明). 202 and 203 of earlier revisions were dropped in 2020.
const RISK_TYPES: [RiskType; 12] = [
    RiskType { code: 1, name: "low_credit", group: "account", effect: Effect::Explains },
    RiskType { code: 2, name: "junk_account", group: "account", effect: Effect::Explains },
    RiskType { code: 3, name: "invalid_account", group: "account", effect: Effect::NotAssessed },
    RiskType { code: 4, name: "blacklist", group: "account", effect: Effect::Rejects },
    RiskType { code: 5, name: "whitelist", group: "account", effect: Effect::Approves },
    RiskType { code: 101, name: "batch_operation", group: "behaviour", effect: Effect::Explains },
    RiskType { code: 102, name: "bot", group: "behaviour", effect: Effect::Explains },
    RiskType { code: 103, name: "abnormal_scanning", group: "behaviour", effect: Effect::Explains },
    RiskType {
        code: 104,
        name: "login_state_invalid",
        group: "behaviour",
        effect: Effect::NotAssessed,
    },
    RiskType {
        code: 201,
        name: "abnormal_environment",
        group: "environment",
        effect: Effect::Explains,
    },
    RiskType {
        code: 205,
        name: "not_a_public_ip",
        group: "environment",
        effect: Effect::NotAssessed,
    },
    RiskType { code: 206, name: "abnormal_device", group: "device", effect: Effect::Explains },
];

#[cfg(test)]
mod tests;
