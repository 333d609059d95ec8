//! The one file of the page, and the headers that restrict what a browser does with it. Pure.

use std::sync::LazyLock;

use axum::http::header::{self, HeaderName};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page, with its style and its script within.
pub(super) static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    include_str!("page.html").replace("{{style}}", STYLE).replace("{{script}}", SCRIPT)
});

/// What a browser may load: nothing but this style and this script, and answers of this server.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

/// The headers of the page and of every answer that it shows.
pub(super) fn headers() -> [(HeaderName, &'static str); 6] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_external_and_escapes_texts() {
        assert!(!DOCUMENT.contains("{{") && !POLICY.contains("unsafe"));
        let namespace = "http://www.w3.org/2000/svg";
        let page = DOCUMENT.replace(namespace, "");
        for foreign in ["http:", "https:", "//cdn", "@import", "url(", " src="] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for markup in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("sessionStorage") && !page.contains("localStorage"));
    }
}
