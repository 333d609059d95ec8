//! The criteria of a search: the addresses and texts of an event.

use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;

use crate::claim::{Claim, Network, SubjectKey, SubjectKeys};

/// The most networks that are looked up one by one. Each needs an index scan.
const MOST_NETWORKS: usize = 16;

/// What the event of a claim must hold. All that is given must hold, and something must be given.
#[derive(Debug, Clone, Default, Args)]
#[group(required = true, multiple = true)]
pub struct Wanted {
    /// The client's address is this one, or of this range: 121.14.96.121, 121.14.96.0/24
    #[arg(long, value_name = "ADDRESS", value_parser = parse_range)]
    ip: Option<IpNet>,
    /// The account's phone number is this
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// The number of the certificate is this
    #[arg(long, value_name = "NUMBER")]
    certificate: Option<String>,
    /// The merchant number is this
    #[arg(long, value_name = "TEXT")]
    merchant: Option<String>,
    /// The goods are this
    #[arg(long, value_name = "TEXT")]
    goods: Option<String>,
}

/// Reads an address or a range of addresses.
fn parse_range(text: &str) -> Result<IpNet, String> {
    let address = |text: &str| text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
    text.parse().map(canonical).or_else(|_| address(text)).map_err(|_| {
        "a range is an address and the length of its prefix, such as 121.14.96.0/24 or \
         2001:db8::/32"
            .to_owned()
    })
}

/// A range of IPv4 addresses that is written as one of IPv6: events are compared in canonical form.
fn canonical(range: IpNet) -> IpNet {
    match (range.addr().to_canonical(), range.prefix_len()) {
        (IpAddr::V4(address), length @ 96..) => {
            IpNet::new(address.into(), length - 96).unwrap_or(range)
        }
        _ => range,
    }
}

impl Wanted {
    /// Whether a claim matches.
    pub(in crate::audit) fn matches(&self, claim: &Claim) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        self.ip.is_none_or(|range| holds(&range, claim.ip()))
            && is(&self.phone, claim.phone())
            && is(&self.certificate, claim.identity.certificate_id.as_deref())
            && is(&self.merchant, claim.reward.merchant.as_deref())
            && is(&self.goods, claim.reward.goods.as_deref())
    }

    /// The columns of `claim_events` in which the event of a match must have one of these hashes;
    /// none if all events must be read.
    pub(in crate::audit) fn hashes(&self, keys: &SubjectKeys) -> Vec<(&'static str, Vec<i64>)> {
        let phone = self.phone.as_ref().map(|phone| keys.each(|key| key.phone(phone)));
        let certificate =
            self.certificate.as_ref().map(|number| keys.each(|key| key.certificate(number)));
        let networks = self.ip.and_then(|range| Network::all_of(range, MOST_NETWORKS));
        let networks = networks.map(|networks| {
            let under = |key: &SubjectKey| {
                networks.iter().map(|network| key.network(*network)).collect::<Vec<_>>()
            };
            keys.each(under).concat()
        });
        let columns =
            [("phone_hash", phone), ("certificate_hash", certificate), ("network_hash", networks)];
        columns.into_iter().filter_map(|(column, hashes)| Some((column, hashes?))).collect()
    }
}

/// Events may hold any text as an address; a text that is no address is in no range.
fn holds(range: &IpNet, address: &str) -> bool {
    address.parse().is_ok_and(|ip: IpAddr| range.contains(&ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(ip: &str) -> Claim {
        let event = json!({
            "claim_id": "a", "kind": "qr_code", "claimed_at": 1_632_994_480,
            "account": { "type": "wechat", "id": "o", "phone": "15912345687" },
            "client": { "ip": ip },
            "reward": { "merchant": "m-1", "goods": "red packet" },
        });
        Claim::parse(Some(event.to_string().as_bytes()), usize::MAX).expect("a claim")
    }

    #[test]
    fn an_address_is_found_by_itself_and_by_its_range() {
        let found = |range: &str, ip: &str| {
            let ip_range = parse_range(range).expect("a range");
            Wanted { ip: Some(ip_range), ..Wanted::default() }.matches(&claim(ip))
        };
        for (range, ip, is_found) in [
            ("121.14.96.121", "121.14.96.121", true),
            ("121.14.96.121", "121.14.96.122", false),
            ("121.14.96.0/24", "121.14.96.122", true),
            ("121.14.96.77/24", "121.14.96.122", true),
            ("121.14.96.0/24", "::ffff:121.14.96.122", true),
            ("::ffff:121.14.96.122", "121.14.96.122", true),
            ("::ffff:121.14.96.0/120", "121.14.96.122", true),
            ("::ffff:121.14.96.0/120", "121.14.97.122", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:DB8:0::1", true),
            ("0.0.0.0/0", "unknown", false),
        ] {
            assert_eq!(found(range, ip), is_found, "{range} {ip}");
        }
        for wrong in ["", "121.14.96", "121.14.96.0/33", "10.0.0.1-10.0.0.9"] {
            assert!(parse_range(wrong).is_err_and(|said| said.contains("/24")), "{wrong}");
        }
    }

    #[test]
    fn all_that_is_wanted_must_hold() {
        let claim = claim("1.2.3.4");
        let text = |text: &str| Some(text.to_owned());
        let wanted =
            Wanted { merchant: text("m-1"), goods: text("red packet"), ..Wanted::default() };
        assert!(wanted.matches(&claim));
        assert!(!Wanted { goods: text("red"), ..wanted.clone() }.matches(&claim));
        assert!(Wanted { phone: text("15912345687"), ..wanted.clone() }.matches(&claim));
        assert!(!Wanted { phone: text("o"), ..wanted }.matches(&claim));
    }
}
