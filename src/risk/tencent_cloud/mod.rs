//! What Tencent Cloud's APIs (API v2) share: credentials, the signed request, the envelope, the
//! error codes.
//!
//! Owns `[tencent_cloud]` and everything that is the same for every `Action`. Knows no claim and no
//! risk type: an API passes its [`Parameters`] and gets an [`Envelope`]. The invariant: no secret
//! and no user's token is in [`Request::redacted`], and an answer whose `code` is not a readable 0
//! never becomes an envelope.
//!
//! Sources: risk-API documents of Tencent Cloud (`公共参数`, `接口鉴权`, `错误码`), see
//! `docs/adding-a-risk-api.md`.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::setup::Setup;
use super::signature::{SignatureMethod, sign, string_to_sign};
use super::{Attempt, Method, Request};
use crate::claim::{DeadLetterReason, EventError};
use crate::decision::Decision;
use crate::live::Live;

mod envelope;
mod level_api;
mod parameters;

pub use envelope::{Envelope, answer_of_code, without_result};
pub use level_api::LevelApi;
use parameters::Parameter;
pub use parameters::Parameters;

/// Tencent Cloud's host before it was closed. Deployments set `base_url` to their own gateway.
const BASE_URL: &str = "https://csec.api.qcloud.com";
/// The path of API 2.0, which is signed as well.
const PATH: &str = "/v2/index.php";
/// The longest parameters of a GET and of a POST: 32 KB and 1 MB for signatures of this version,
/// less the common ones.
const LONGEST_GET: usize = 31 << 10;
const LONGEST_POST: usize = 1023 << 10;
/// The default decisions for Tencent Cloud's levels. Tencent's own advice is to intercept 3 and 4.
pub const LEVELS: &[Decision] = &[
    Decision::Approve,
    Decision::Challenge,
    Decision::Challenge,
    Decision::Reject,
    Decision::Reject,
];

/// `[tencent_cloud]`: the account that signs.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `SecretId` of the owner account: Tencent Cloud does not accept keys of sub-accounts.
    pub secret_id: String,
    /// The key that signs. Never sent, never shown.
    pub secret_key: SecretString,
    /// `Region`, a common parameter that Tencent Cloud demands and does not use.
    pub region: String,
    /// `Token`, for temporary credentials of STS.
    pub token: Option<SecretString>,
    /// The host in the text to sign, independent of `base_url`: there may be a gateway in between.
    pub signed_host: String,
}

impl Settings {
    /// The same account with the credentials of `other`.
    #[must_use]
    pub fn with_credentials_of(&self, other: &Self) -> Self {
        let Self { secret_id, secret_key, token, .. } = other.clone();
        Self { secret_id, secret_key, token, ..self.clone() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret_id: String::new(),
            secret_key: SecretString::default(),
            region: "ap-guangzhou".to_owned(),
            token: None,
            signed_host: "csec.api.qcloud.com".to_owned(),
        }
    }
}

/// The keys that the section of every Tencent Cloud API has: how the request is sent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// GET, or POST for parameters that would make a long URL.
    pub method: Method,
    /// `HmacSHA1` (then the parameter is left out) or `HmacSHA256`.
    pub signature_method: SignatureMethod,
}

/// One Tencent Cloud API: its address, its requests, and the reading of its codes.
#[derive(Debug)]
pub struct Client {
    action: &'static str,
    settings: Live<Settings>,
    api: ApiSettings,
    base_url: String,
    path: String,
    transient_codes: Vec<i64>,
}

impl Client {
    /// The client for `Action=action`, which requires credentials.
    pub fn new(action: &'static str, api: ApiSettings, setup: &Setup<'_>) -> Self {
        let settings = setup.shared.tencent_cloud.now();
        setup.require("tencent_cloud.secret_id", &settings.secret_id);
        setup.require("tencent_cloud.secret_key", settings.secret_key.expose_secret());
        setup.require("tencent_cloud.region", &settings.region);
        setup.require("tencent_cloud.signed_host", &settings.signed_host);
        Self {
            action,
            settings: setup.shared.tencent_cloud.clone(),
            api,
            base_url: setup.base_url(BASE_URL),
            path: setup.path(PATH),
            transient_codes: setup.shared.transient_codes.clone(),
        }
    }

    /// Checks what the protocol requires of any parameter.
    ///
    /// # Errors
    /// [`DeadLetterReason`], naming the claim's field: a value that begins with `@` on POST, where
    /// signers and servers disagree whether it is signed, or values too long to be sent.
    pub fn check(&self, parameters: &Parameters<'_>) -> Result<(), DeadLetterReason> {
        let longest = match self.api.method {
            Method::Get => LONGEST_GET,
            Method::Post => LONGEST_POST,
        };
        if self.api.method == Method::Post
            && let Some(parameter) =
                parameters.iter().find(|parameter| parameter.value.starts_with('@'))
        {
            let detail = "a value sent by POST must not begin with `@`";
            return Err(DeadLetterReason::field(EventError::InvalidValue, parameter.field, detail));
        }
        // Most parameters are too short to need measuring.
        if parameters.iter().map(Parameter::longest).sum::<usize>() <= longest {
            return Ok(());
        }
        let (mut length, mut largest) = (0, ("", 0));
        for parameter in parameters.iter() {
            length += parameter.length();
            if parameter.length() > largest.1 {
                largest = (parameter.field, parameter.length());
            }
        }
        if length > longest {
            let detail = format!(
                "with this value the parameters are longer than {longest} bytes, which cannot be \
                 sent"
            );
            return Err(DeadLetterReason::field(EventError::OutOfRange, largest.0, detail));
        }
        Ok(())
    }

    /// The signed request: common parameters, the parameters of the API, and the signature over all
    /// of them.
    pub fn request(&self, parameters: Parameters<'_>, attempt: &Attempt<'_>) -> Request {
        // One set of credentials for the whole request, even if they change meanwhile.
        let settings = self.settings.now();
        // A new binding, so that it may borrow from these credentials, too.
        let mut parameters: Parameters<'_> = parameters;
        parameters.common("Action", self.action);
        parameters.common("Region", &settings.region);
        parameters.common("Timestamp", attempt.now.to_string());
        // The documents ask for a positive integer.
        parameters.common("Nonce", attempt.nonce.max(1).to_string());
        parameters.common("SecretId", &settings.secret_id);
        if self.api.signature_method == SignatureMethod::HmacSha256 {
            parameters.common("SignatureMethod", "HmacSHA256");
        }
        if let Some(token) = settings.token.as_ref().map(ExposeSecret::expose_secret) {
            parameters.text("Token", "", Some(token));
        }
        parameters.sort();
        let text =
            string_to_sign(self.api.method, &settings.signed_host, &self.path, parameters.pairs());
        let signature = sign(self.api.signature_method, settings.secret_key.expose_secret(), &text);
        parameters.common("Signature", signature);
        let (wire, redacted) = parameters.encoded();
        let method = self.api.method;
        let target = [self.base_url.as_str(), &self.path].concat();
        match method {
            Method::Get => Request {
                method,
                url: [&target, "?", &wire].concat(),
                body: None,
                redacted: ["GET ", &target, "?", &redacted].concat(),
            },
            Method::Post => Request {
                method,
                redacted: ["POST ", &target, "\n\n", &redacted].concat(),
                url: target,
                body: Some(("application/x-www-form-urlencoded", wire)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
