//! Why an attempt or a claim has no result, in one word, and what to do about it.
//!
//! Pure. The words and the remedies are also in `docs/risk-apis.md`, Reasons; a test compares the
//! two.

use crate::words::words;

words! {
    /// How an attempt ended: the word of `risk_calls.outcome` and of metric labels.
    pub enum AttemptOutcome {
        Assessed = "assessed": "The API assessed the claim.",
        Transient = "transient": "Asking again may help.",
        Unassessable = "unassessable": "The API cannot assess this claim.",
        AccessDenied = "access_denied": "The API denies us access.",
        Unknown = "unknown": "Sent, and no whole answer came: the API may have acted upon it.",
    }
}

words! {
    /// How the fetch of an access token ended: the word of `token_exchanges.outcome`.
    pub enum FetchOutcome {
        Fetched = "fetched": "There is a token.",
        Failed = "failed": "There is none.",
    }
}

words! {
    /// Why an attempt brought no assessment, why a token was not given, why a claim is deferred.
    pub enum FaultReason {
        BadParameter = "bad_parameter": "A parameter is missing or ill-formed.",
        BadRequest = "bad_request": "The request has not the form that is demanded.",
        BadProtocol = "bad_protocol": "HTTPS is demanded.",
        BadOpenid = "bad_openid": "The openid is none, or another app's.",
        NotLoggedIn = "not_logged_in": "The user is not logged in.",
        BadServiceId = "bad_service_id": "The product's number is wrong.",
        ResourceMissing = "resource_missing": "A resource is missing.",
        PurchaseFailed = "purchase_failed": "A purchase failed.",
        PartlyFailed = "partly_failed": "The request failed in part.",
        NotQualified = "not_qualified": "The account does not qualify.",

        BadSignature = "bad_signature": "The signature is wrong.",
        BadSecretId = "bad_secret_id": "The key pair is not known or not in use.",
        BadSessionToken = "bad_session_token": "The temporary credentials are not good.",
        NoPermission = "no_permission": "The account may not use this API.",
        NotAuthorised = "not_authorised": "The app may not use this API, or is banned.",
        AccessDenied = "access_denied": "The service was not opened for the account.",
        UnknownPath = "unknown_path": "The server has nothing at this path.",
        BadCredentials = "bad_credentials": "App, secret or address of the caller is not good.",
        ServiceNotBought = "service_not_bought": "The app did not buy this API.",
        WrongApiType = "wrong_api_type": "The API is of another type than the one bought.",
        InsufficientBalance = "insufficient_balance": "The account's balance is used up.",
        ConsumptionFailed = "consumption_failed": "The call could not be billed.",
        QuotaExceeded = "quota_exceeded": "The account's quota is used up.",
        RequestExpired = "request_expired": "The request's timestamp is too old.",
        RequestReplayed = "request_replayed": "The request's nonce was used before.",
        BadAccessToken = "bad_access_token": "The access token is outdated or not known.",

        BadAppSecret = "bad_app_secret": "The app's secret is wrong.",
        BadAppId = "bad_app_id": "There is no such app.",
        BadGrantType = "bad_grant_type": "The token endpoint was asked for something else.",
        IpNotAllowed = "ip_not_allowed": "This host's address is not on the app's list.",
        IpNotConfirmed = "ip_not_confirmed": "This host's address waits to be confirmed.",
        AppSecretFrozen = "app_secret_frozen": "The app's secret is frozen.",

        Busy = "busy": "The provider is busy.",
        RateLimited = "rate_limited": "The provider's limit of frequency is reached.",
        InternalError = "internal_error": "The provider failed.",
        ServiceFailed = "service_failed": "The market could not call the service.",
        ServiceTimeout = "service_timeout": "The service did not answer the market in time.",
        SaveFailed = "save_failed": "The market could not save something.",
        ResultCheckFailed = "result_check_failed": "The market's check of the result failed.",
        OperationFailed = "operation_failed": "An operation failed.",
        Maintenance = "maintenance": "The API is under maintenance.",
        UnsupportedOrMaintenance = "unsupported_or_maintenance": "The API is not there, or not now.",
        ErrorCallback = "error_callback": "The answer calls the page's function for errors.",
        UnknownCode = "unknown_code": "The code is in no document.",
        MalformedAnswer = "malformed_answer": "The answer is not what the API promises.",

        Redirected = "redirected": "HTTP 3xx.",
        Http4xx = "http_4xx": "HTTP 4xx without an envelope, other than 429.",
        Http429 = "http_429": "HTTP 429.",
        Http5xx = "http_5xx": "HTTP 5xx.",
        Connect = "connect": "No connection, or it ended too early: the API has not seen the call.",
        Timeout = "timeout": "No answer came in time; whether the API acted is unknown.",
        BrokenConnection = "broken_connection": "It broke; whether the API acted is unknown.",

        BreakerOpen = "breaker_open": "The API's breaker is open.",
        NoAccessToken = "no_access_token": "There is no access token.",
        NoPermit = "no_permit": "The API is asked as often as it may be.",
        NoRoom = "no_room": "The API has as many claims in the worker as it may have.",
        SubjectBusy = "subject_busy": "Too many claims of the subject wait.",
        SentAgain = "sent_again": "Another record of the claim is on its way.",
        PartitionMoves = "partition_moves": "The claim's partition goes to another worker.",
        TicketExpired = "ticket_expired": "The captcha's ticket may have ended while the claim \
            waited.",
    }
}

impl FaultReason {
    /// The likely cause, and the key or place to check: half a sentence for the log. `None` if the
    /// fault goes away by itself, or concerns one claim.
    pub const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::RequestExpired => {
                "a request signed a moment ago is expired to the API, so this host's clock is \
                 probably wrong by more than 5 minutes: check its time service (NTP)"
            }
            Self::RequestReplayed => {
                "a new nonce is a replay to the API, so something on the way probably sends \
                 requests twice, or this host's clock is wrong: check the gateway and the time \
                 service (NTP)"
            }
            Self::BadAccessToken => {
                "the API refuses tokens that were just fetched: check that wechat.app_id is the \
                 app that the API was bought for, that wechat.base_url and base_url of the \
                 risk.wechat_… sections lead to the same servers, and that no other system \
                 fetches tokens with the same secret"
            }
            Self::BadSignature => "check tencent_cloud.secret_key and tencent_cloud.signed_host",
            Self::BadSecretId => "check tencent_cloud.secret_id, which must be the owner account's",
            Self::BadSessionToken => "check tencent_cloud.token, which has an end",
            Self::NoPermission | Self::NotAuthorised | Self::AccessDenied => {
                "the account may not use this API: ask the provider, or who administers the account"
            }
            Self::InsufficientBalance | Self::ConsumptionFailed => {
                "the account's balance is used up: see the provider's bill"
            }
            Self::QuotaExceeded => {
                "the account's quota is used up: ask the provider for a larger one"
            }
            Self::UnknownPath => {
                "check wechat.base_url, and base_url and path of the risk.wechat_… sections: the \
                 documents have both /tcb/servicemarket, which is the default, and \
                 /wxa/servicemarket"
            }
            Self::ServiceNotBought | Self::WrongApiType => {
                "the service market does not sell this API to wechat.app_id"
            }
            Self::BadCredentials => {
                "check wechat.app_id, wechat.app_secret and the app's list of allowed addresses"
            }
            Self::BadAppSecret => "check wechat.app_secret",
            Self::BadAppId => "check wechat.app_id",
            Self::BadGrantType => "check wechat.base_url and wechat.token_endpoint",
            Self::IpNotAllowed => {
                "put this host's public address on the app's list of allowed addresses (IP \
                 whitelist)"
            }
            Self::IpNotConfirmed => "the app's administrator has to confirm this host's address",
            Self::AppSecretFrozen => "the app's administrator has to unfreeze the secret",
            Self::Http4xx => {
                "check base_url and path of the API's section, and what the gateway before it \
                 demands"
            }
            Self::Redirected => {
                "base_url or path leads to a page that sends callers elsewhere, such as a log-in \
                 page"
            }
            _ => return None,
        })
    }

    /// Whether fetches of an access token that fail for this reason will fail until somebody fixes
    /// the configuration.
    pub const fn denies_token(self) -> bool {
        !matches!(
            self,
            Self::Busy
                | Self::Connect
                | Self::Timeout
                | Self::BrokenConnection
                | Self::RateLimited
                | Self::Http429
                | Self::Http5xx
                | Self::MalformedAnswer
                | Self::UnknownCode
        )
    }
}
