//! Cleans the secrets and ids of vendors: accidental characters around one are removed, characters
//! that cannot be part of one are refused.
//!
//! Pure. The invariant: no message of this file holds a part of a secret.

use crate::findings::Finding;

/// A key that may be given as a file's path, with `_file` appended.
pub(super) struct Secret {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    alphabet: Alphabet,
}

/// The characters that a secret may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    /// The vendors' ids and secrets: visible ASCII, no quotation marks.
    Vendor,
    /// Anything, such as a passphrase or a URL.
    Any,
}

/// Every secret, and the ids and names that are signed or sent with one.
pub(super) const SECRETS: [Secret; 13] = [
    Secret { section: "audit", key: "former_subject_keys", alphabet: Alphabet::Any },
    Secret { section: "audit", key: "subject_key", alphabet: Alphabet::Any },
    Secret { section: "egress", key: "proxy", alphabet: Alphabet::Any },
    Secret { section: "http", key: "token", alphabet: Alphabet::Any },
    Secret { section: "postgres", key: "evidence_keys", alphabet: Alphabet::Any },
    Secret { section: "postgres", key: "url", alphabet: Alphabet::Any },
    Secret { section: "tencent_cloud", key: "region", alphabet: Alphabet::Vendor },
    Secret { section: "tencent_cloud", key: "secret_id", alphabet: Alphabet::Vendor },
    Secret { section: "tencent_cloud", key: "secret_key", alphabet: Alphabet::Vendor },
    Secret { section: "tencent_cloud", key: "signed_host", alphabet: Alphabet::Vendor },
    Secret { section: "tencent_cloud", key: "token", alphabet: Alphabet::Vendor },
    Secret { section: "wechat", key: "app_id", alphabet: Alphabet::Vendor },
    Secret { section: "wechat", key: "app_secret", alphabet: Alphabet::Vendor },
];

/// The text without white space and byte order marks at its ends, which editors and shells leave
/// there.
pub(super) fn without_ends(text: &str) -> &str {
    text.trim_matches(|character: char| {
        character.is_whitespace() || matches!(character, '\u{feff}' | '\u{200b}')
    })
}

/// The cleaned secret.
///
/// # Errors
/// The key, and the character that cannot be part of it.
pub(super) fn clean(secret: &Secret, text: &str) -> Result<String, Finding> {
    let text = without_ends(text);
    if secret.alphabet == Alphabet::Any {
        return Ok(text.to_owned());
    }
    let wrong = text.chars().find_map(|character| match character {
        '"' | '\'' | '`' | '“' | '”' | '‘' | '’' => Some("a quotation mark"),
        _ if character.is_whitespace() => Some("white space"),
        _ if !character.is_ascii_graphic() => Some("a character that is not visible ASCII"),
        _ => None,
    });
    match wrong {
        Some(wrong) => Err(Finding::wrong(
            format!("{}.{}", secret.section, secret.key),
            format!("this holds {wrong}, which no value of this vendor has; give the value alone"),
        )),
        None => Ok(text.to_owned()),
    }
}
