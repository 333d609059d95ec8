//! The base URL of an API: scheme, host and port, to which paths are appended. Pure.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::SectionError;

/// Checks a URL that paths are appended to.
///
/// # Errors
/// [`SectionError`] with this key.
pub(super) fn check_base_url(key: &str, base_url: &str) -> Result<(), SectionError> {
    let host = base_url
        .strip_prefix("https://")
        .or_else(|| base_url.strip_prefix("http://"))
        .unwrap_or_default();
    let authority = host.split('/').next().unwrap_or_default();
    if !is_authority(authority) || host.contains('@') || host.contains(is_no_path) {
        return Err(SectionError::new(
            key,
            "this must be a URL such as `https://host:port`, without credentials",
        ));
    }
    Ok(())
}

/// Whether it is a host with an optional port: with anything else no request could be made.
fn is_authority(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').unwrap_or_default();
            (address.parse::<Ipv6Addr>().is_ok(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_host(host), port)
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Whether it may be the name of a host, or its IPv4 address. What ends in a number is an address;
/// one with fewer than four parts, such as `127.1`, is left to the client.
fn is_host(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let ends_in_number = parts.last().is_some_and(|last| last.parse::<u64>().is_ok());
    !text.is_empty()
        && !text.contains(['[', ']', '%', '\\', '<', '>', '^', '|'])
        && (!ends_in_number || parts.len() < 4 || text.parse::<Ipv4Addr>().is_ok())
}

/// Whether a path in a configuration may not have this character.
pub(super) fn is_no_path(character: char) -> bool {
    matches!(character, '?' | '#') || character.is_whitespace() || character.is_control()
}
