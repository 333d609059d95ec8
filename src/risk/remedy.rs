//! What somebody can do about a fault that no retry mends: one half of a sentence for the log, by
//! reason.
//!
//! Owns no reason: those are the APIs' own. A reason without a remedy is one that mends itself.

/// What the likely cause is, and which key or place to look at.
pub fn remedy(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "request_expired" => {
            "a request signed a moment ago is expired to the API, so this host's clock is probably wrong by more \
             than 5 minutes: check its time service (NTP)"
        }
        "request_replayed" => {
            "a new nonce is a replay to the API, so something on the way probably sends requests twice, or this \
             host's clock is wrong: check the gateway and the time service (NTP)"
        }
        "bad_access_token" => {
            "the API refuses tokens that were just fetched: check that wechat.app_id is the app that the API was \
             bought for, that wechat.base_url and base_url of the risk.wechat_… sections lead to the same \
             servers, and that no other system fetches tokens with the same secret"
        }
        "bad_signature" => "check tencent_cloud.secret_key and tencent_cloud.signed_host",
        "bad_secret_id" => "check tencent_cloud.secret_id, which must be the owner account's",
        "bad_session_token" => "check tencent_cloud.token, which has an end",
        "no_permission" | "not_authorised" | "access_denied" => {
            "the account may not use this API: ask the provider, or who administers the account"
        }
        "insufficient_balance" | "consumption_failed" => {
            "the account's balance is used up: see the provider's bill"
        }
        "quota_exceeded" => "the account's quota is used up: ask the provider for a larger one",
        "service_not_bought" | "wrong_api_type" => {
            "the service market does not sell this API to wechat.app_id"
        }
        "bad_credentials" => {
            "check wechat.app_id, wechat.app_secret and the app's list of allowed addresses"
        }
        "bad_app_secret" => "check wechat.app_secret",
        "bad_app_id" => "check wechat.app_id",
        "bad_grant_type" => "check wechat.base_url and wechat.token_endpoint",
        "ip_not_allowed" => {
            "put this host's public address on the app's list of allowed addresses (IP whitelist)"
        }
        "ip_not_confirmed" => "the app's administrator has to confirm this host's address",
        "app_secret_frozen" => "the app's administrator has to unfreeze the secret",
        "http_4xx" => {
            "check base_url and path of the API's section, and what the gateway before it demands"
        }
        "redirected" => {
            "base_url or path leads to a page that sends callers elsewhere, such as a log-in page"
        }
        _ => return None,
    })
}
