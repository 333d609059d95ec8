//! The differences between two claims, by the paths of their fields.

use serde_json::{Map, Value};

use super::Claim;

impl Claim {
    /// The paths of the fields that differ, such as `claimed_at` and `account.id`. It returns no
    /// values, because they are personal.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let value = |claim: &Self| serde_json::to_value(claim).unwrap_or_default();
        let mut paths = Vec::new();
        compare("", &value(self), &value(other), &mut paths);
        paths
    }
}

fn compare(path: &str, one: &Value, other: &Value, paths: &mut Vec<String>) {
    let none = Map::new();
    match (one.as_object(), other.as_object()) {
        (None, None) => {
            if one != other {
                paths.push(path.to_owned());
            }
        }
        (one, other) => {
            let (one, other) = (one.unwrap_or(&none), other.unwrap_or(&none));
            let more = other.keys().filter(|name| !one.contains_key(*name));
            for name in one.keys().chain(more) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let value = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                compare(&path, &value(one), &value(other), paths);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(account: &str, more: &str) -> Claim {
        let event = format!(
            r#"{{"claim_id":"c","kind":"qr_code","claimed_at":1,"account":{{"type":"qq","id":"{account}"}},"client":{{"ip":"1.2.3.4"}}{more}}}"#
        );
        Claim::parse(Some(event.as_bytes()), usize::MAX).expect("well-formed")
    }

    #[test]
    fn each_field_that_differs_is_named_by_its_path() {
        assert_eq!(claim("a", "").differences(&claim("a", r#","extra":1"#)), [""; 0]);
        let other = claim(
            "b",
            r#","reward":{"goods":"red packet","share":1},"identity":{"certificate_id":"1"}"#,
        );
        let expected = ["account.id", "identity.certificate_id", "reward.goods", "reward.share"];
        for mut paths in [claim("a", "").differences(&other), other.differences(&claim("a", ""))] {
            paths.sort();
            assert_eq!(paths, expected);
        }
    }
}
