//! What the APIs of WeChat's service market share: the access token, the JSON envelope, the error
//! codes.
//!
//! Owns `[wechat]` and everything that is the same for every product. Knows no risk except a level.
//! The invariant: no secret, no access token and no user's token is in [`Request::redacted`], and
//! an answer becomes a verdict only when `errcode`, the inner `code` and the level are all there
//! and readable.
//!
//! Sources: WeChat "小程序风控 API" (outer and inner envelope), `auth.getAccessToken` and
//! `getStableAccessToken`.

use std::borrow::Cow;
use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::base_url::check_base_url;
use super::setup::Setup;
use super::signature::encode;
use super::{Answer, ApiResult, Attempt, Method, Registration, Request, RiskApi, SectionError};
use crate::claim::{AccountType, Claim, DeadLetterReason, EventError, Secret, required};
use crate::decision::Decision;

mod body;
mod codes;
mod envelope;
mod token;

pub use token::tokens;

/// The path on the product's page; WeChat's general pages say `/wxa/servicemarket`.
const PATH: &str = "/tcb/servicemarket";
/// `login.source` of a mobile app.
const MOBILE_APP: i64 = 3;
/// The content type of every body.
const JSON: &str = "application/json";
/// The default decisions for the levels of the service market's products.
pub const LEVELS: &[Decision] = &Decision::ALL;
/// [`Registration::schema`] of all its products.
pub const SCHEMA: &str = "servicemarket";

/// `[wechat]`: the app that calls WeChat.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `appid`.
    pub app_id: String,
    /// `secret`. Sent only to fetch access tokens, never shown.
    pub app_secret: SecretString,
    /// Scheme and host of WeChat's server or of the gateway before it.
    pub base_url: String,
    /// Whether `http://` to another host is allowed: the app's secret and its tokens are then sent
    /// unencrypted.
    pub allow_http: bool,
    /// Where access tokens are fetched.
    pub token_endpoint: TokenEndpoint,
}

impl Settings {
    /// The same app, or another one, with the credentials of `other`.
    #[must_use]
    pub fn with_credentials_of(&self, other: &Self) -> Self {
        let Self { app_id, app_secret, .. } = other.clone();
        Self { app_id, app_secret, ..self.clone() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_id: String::new(),
            app_secret: SecretString::default(),
            base_url: "https://api.weixin.qq.com".to_owned(),
            allow_http: false,
            token_endpoint: TokenEndpoint::default(),
        }
    }
}

/// Where access tokens are fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpoint {
    /// `/cgi-bin/stable_token`: every caller gets the same token, so workers do not invalidate each
    /// other's.
    #[default]
    Stable,
    /// `/cgi-bin/token`: each fetch invalidates the token before it within five minutes.
    Classic,
}

/// The properties of a product of the service market.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// `api`.
    pub api: &'static str,
    /// `serviceid`.
    pub service_id: u8,
    /// The key of the risk object, which must be present even when it is empty.
    pub risk_key: &'static str,
}

/// One product of the service market: its address, its requests, and the reading of its codes.
#[derive(Debug)]
pub struct ServiceMarket {
    registration: &'static Registration,
    product: Product,
    url: String,
    transient_codes: Vec<i64>,
}

impl ServiceMarket {
    /// The API of a product.
    ///
    /// # Errors
    /// [`SectionError`], naming the URL at fault.
    pub fn build(
        product: Product,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn RiskApi>, SectionError> {
        let settings = setup.shared.wechat.now();
        setup.require("wechat.app_id", &settings.app_id);
        setup.require("wechat.app_secret", settings.app_secret.expose_secret());
        check_base_url("wechat.base_url", &settings.base_url)?;
        let base_url = setup.base_url(&settings.base_url);
        let urls = [
            ("wechat.base_url".to_owned(), &settings.base_url),
            (setup.key("base_url"), &base_url),
        ];
        for (key, url) in urls {
            if !settings.allow_http && !is_private(url) {
                let problem = "the app's secret or its access token would travel in clear: use \
                               https://, or set wechat.allow_http = true if this is only a simulator";
                return Err(SectionError::new(key, problem));
            }
        }
        let url = format!("{base_url}{}?access_token=", setup.path(PATH));
        let transient_codes = setup.shared.transient_codes.clone();
        Ok(Box::new(Self { registration: setup.registration, product, url, transient_codes }))
    }
}

impl RiskApi for ServiceMarket {
    fn registration(&self) -> &'static Registration {
        self.registration
    }

    fn check(&self, claim: &Claim) -> Result<(), DeadLetterReason> {
        if claim.account.kind != AccountType::Wechat {
            return Err(DeadLetterReason::field(
                EventError::InvalidValue,
                "account.type",
                "this API takes WeChat openids only",
            ));
        }
        if claim.login.source == Some(MOBILE_APP) {
            required("login.token", claim.login.token.as_ref())?;
        }
        Ok(())
    }

    fn request(&self, claim: &Claim, attempt: &Attempt<'_>) -> Request {
        let of_app = claim.login.source == Some(MOBILE_APP);
        let user_token = claim.login.token.as_ref().filter(|_| of_app).map(Secret::expose);
        let body = body::body(self.product, claim, attempt.number, user_token);
        let stored: Cow<'_, str> = match user_token {
            Some(_) => body::body(self.product, claim, attempt.number, Some("***")).into(),
            None => body.as_str().into(),
        };
        let redacted = format!("POST {}***\n\n{stored}", self.url);
        let url = format!("{}{}", self.url, encode(attempt.token.unwrap_or_default()));
        Request { method: Method::Post, url, body: Some((JSON, body)), redacted }
    }

    fn read(&self, answer: &Answer<'_>) -> ApiResult {
        envelope::read(answer, self.registration.highest_level(), &self.transient_codes)
    }

    /// The product's codes are below 1000, the market's are not.
    fn answer_of_code(&self, provider_code: i64) -> String {
        if (0..1_000).contains(&provider_code) {
            format!("{{\"errcode\":0,\"data\":{{\"code\":{provider_code}}}}}")
        } else {
            format!("{{\"errcode\":{provider_code}}}")
        }
    }
}

/// Whether no third party can read the requests: they are encrypted, or do not leave this host.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
