//! A risk API as its callers' spans name it.

/// What replaces the values of a URL's query in a span.
const REDACTED: &str = "?REDACTED";

/// The server that calls go to. Made once per API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The API's name or, for token fetches, the vendor's.
    pub(super) api: &'static str,
    /// Scheme, host and path. The query is dropped: it carries accounts, tokens and signatures.
    pub(super) url: String,
    pub(super) address: String,
    pub(super) port: Option<i64>,
}

impl Peer {
    /// The API called `api`, at `url`.
    pub fn new(api: &'static str, url: &str) -> Self {
        let Ok(parsed) = reqwest::Url::parse(url) else {
            return Self { api, url: String::new(), address: String::new(), port: None };
        };
        let address = parsed.host_str().unwrap_or_default().to_owned();
        let port = parsed.port_or_known_default().map(i64::from);
        let shown = parsed.port().map_or(String::new(), |port| format!(":{port}"));
        let query = if parsed.query().is_some() { REDACTED } else { "" };
        let url = format!("{}://{address}{shown}{}{query}", parsed.scheme(), parsed.path());
        Self { api, url, address, port }
    }
}
