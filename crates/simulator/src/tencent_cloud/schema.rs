//! Finds the API of a request, and checks its parameters.

use std::net::IpAddr;

use super::super::api::Api;
use super::super::form::Form;
use super::super::plan::Refusal;
use super::parameters::{CAPTCHA_CHECK, CAPTCHA_QUERY, COMMON, MINI_PROGRAM, QR_CODE, Schema};

/// The parameters of every action.
#[derive(Debug)]
pub(super) struct Common<'a> {
    pub(super) secret_id: &'a str,
    pub(super) signature: &'a str,
    pub(super) timestamp: i64,
    pub(super) nonce: u64,
}

impl Schema {
    /// The schema of a request. The two of `IntelligentQRCode` are distinguished by their parameter
    /// names.
    pub(super) fn of(form: &Form<'_>) -> Result<&'static Self, Refusal> {
        let given = |keys: &[&str]| keys.iter().any(|key| form.get(key).is_some());
        match form.get("Action") {
            None | Some("") => Err(missing("Action")),
            Some("IntelligentQRCode") if given(&["userIp", "goodInfo"]) => Ok(&QR_CODE),
            Some("IntelligentQRCode") if given(&["userIP", "accessToken", "Type"]) => {
                Ok(&MINI_PROGRAM)
            }
            Some("IntelligentQRCode") => Ok(&QR_CODE),
            Some("CaptchaQuery") => Ok(&CAPTCHA_QUERY),
            Some("CaptchaCheck") => Ok(&CAPTCHA_CHECK),
            Some(_) => Err(Refusal::new(6100, "no such Action on this domain")),
        }
    }

    /// Refuses, with 4000 and the parameter's name, a request that lacks a required parameter, or
    /// has an empty or ill-formed one or, unless `lenient`, one that the API's documents do not
    /// name.
    pub(super) fn check(&self, form: &Form<'_>, lenient: bool) -> Result<(), Refusal> {
        if let Some((name, _)) = self.required.iter().find(|(name, _)| form.get(name).is_none()) {
            return Err(missing(name));
        }
        for (key, value) in form.iter() {
            if value.is_empty() {
                return Err(Refusal::new(
                    4000,
                    format!("(100004)parameter {key} must not be empty"),
                ));
            }
            match self.required.iter().chain(self.optional).find(|(name, _)| *name == key) {
                Some((_, form)) if form.fits(value) => {}
                Some(_) => return Err(invalid(key)),
                None if lenient || COMMON.contains(&key) => {}
                None => return Err(Refusal::new(4000, format!("(100004)unknown parameter {key}"))),
            }
        }
        self.check_conditions(form)
    }

    fn check_conditions(&self, form: &Form<'_>) -> Result<(), Refusal> {
        let needs = |name| {
            if form.get(name).is_some() { Ok(()) } else { Err(missing(name)) }
        };
        match (self.api, form.get("accountType"), form.get("wxSubType")) {
            (Api::IntelligentQrCode, Some("1"), _) => needs("appId"),
            (Api::IntelligentQrCode, _, Some("2")) => needs("randNum"),
            (Api::CaptchaQuery | Api::CaptchaCheck, Some("1" | "2"), _) => needs("appId"),
            _ => Ok(()),
        }
    }
}

impl<'a> Common<'a> {
    /// Refuses with 4000 a request that lacks one of them.
    pub(super) fn read(form: &'a Form<'_>) -> Result<Self, Refusal> {
        let given =
            |name| form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| missing(name));
        given("Region")?;
        let timestamp = given("Timestamp")?;
        let nonce = given("Nonce")?;
        Ok(Self {
            secret_id: given("SecretId")?,
            signature: given("Signature")?,
            timestamp: timestamp.parse().map_err(|_| invalid("Timestamp"))?,
            nonce: nonce.parse().ok().filter(|nonce| *nonce > 0).ok_or_else(|| invalid("Nonce"))?,
        })
    }
}

/// Whether an address is one of the public internet. The documentation ranges (203.0.113.0/24 …)
/// count as public, because made-up traffic should use them.
pub(super) fn is_public(address: &str) -> bool {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(v4)) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let special =
                v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast();
            !(special || shared || v4.octets()[0] == 0 || v4.octets()[0] >= 240)
        }
        Ok(IpAddr::V6(v6)) => {
            let local = v6.is_unique_local() || v6.is_unicast_link_local();
            !(local || v6.is_loopback() || v6.is_unspecified() || v6.is_multicast())
        }
        Err(_) => false,
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new(4000, format!("(100004)missing parameter {name}"))
}

fn invalid(name: &str) -> Refusal {
    Refusal::new(4000, format!("(100004)invalid value of parameter {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QR: &str = "Action=IntelligentQRCode&accountType=2&uid=u&userIp=121.14.96.121&postTime=1632994480&goodInfo=g";
    const MINI: &str = "Action=IntelligentQRCode&accountType=2&uid=u&accessToken=t&userIP=1.2.3.4&postTime=1&Type=1";

    fn check(wire: &str) -> Result<Api, String> {
        let form = Form::read(wire).unwrap();
        let checked =
            Schema::of(&form).and_then(|schema| schema.check(&form, false).map(|()| schema.api));
        checked.map_err(|refusal| refusal.message.trim_start_matches("(100004)").to_owned())
    }

    #[test]
    fn the_names_tell_the_two_schemas_apart_and_never_mix() {
        assert_eq!(check(QR), Ok(Api::IntelligentQrCode));
        assert_eq!(check(MINI), Ok(Api::MiniProgram));
        assert_eq!(check(&format!("{QR}&userIP=1.2.3.4")).unwrap_err(), "unknown parameter userIP");
        assert_eq!(
            check(&format!("{QR}&totalTimes=1")).unwrap_err(),
            "unknown parameter totalTimes"
        );
        assert_eq!(check(&format!("{MINI}&share=1")).unwrap_err(), "unknown parameter share");
    }

    #[test]
    fn what_is_missing_or_ill_formed_is_named() {
        let query =
            "Action=CaptchaQuery&registerTime=1&userIp=1.2.3.4&captchaType=1&script=0&businessId=1";
        assert_eq!(check(query), Ok(Api::CaptchaQuery));
        for (wire, problem) in [
            ("Action=CaptchaQuery".to_owned(), "missing parameter registerTime"),
            (
                query.replace("captchaType=1", "captchaType=9"),
                "invalid value of parameter captchaType",
            ),
            (format!("{query}&accountType=2"), "missing parameter appId"),
            (format!("{query}&accountType=10004"), "invalid value of parameter accountType"),
            (QR.replace("uid=u", "uid="), "parameter uid must not be empty"),
            (QR.replace("accountType=2", "accountType=1"), "missing parameter appId"),
            (QR.replace("121.14.96.121", "here"), "invalid value of parameter userIp"),
            (QR.replace("postTime=", "postTime=-"), "invalid value of parameter postTime"),
            (format!("{QR}&latitude=90.1"), "invalid value of parameter latitude"),
            (format!("{QR}&longitude=NaN"), "invalid value of parameter longitude"),
            (format!("{QR}&wxSubType=2"), "missing parameter randNum"),
            ("uid=1".to_owned(), "missing parameter Action"),
            ("Action=Nonesuch".to_owned(), "no such Action on this domain"),
        ] {
            assert_eq!(check(&wire).unwrap_err(), problem, "{wire}");
        }
    }

    #[test]
    fn public_addresses_are_told_from_others() {
        assert!(["121.14.96.121", "203.0.113.9", "2409:8080::1"].into_iter().all(is_public));
        let others = [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "::1",
            "x",
        ];
        assert!(!others.into_iter().any(is_public));
        assert!(!is_public("::ffff:10.0.0.1") && !is_public("fe80::1") && !is_public("fd00::1"));
    }
}
