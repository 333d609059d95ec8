//! The two envelopes of a service-market answer: the outer one of the market, and in it that of the
//! product.
//!
//! The invariant: an answer becomes a verdict only when `errcode`, the inner `code` and the level
//! are all there and readable.
//!
//! Source: WeChat "小程序风控 API", 返回.

use serde::de::{IgnoredAny, MapAccess};

use super::codes::{classify_inner, classify_outer};
use crate::decision::Assessment;
use crate::risk::tolerant::{self, Found, Keys, Readable, read_text};
use crate::risk::{Answer, ApiResult, Fault, FaultReason};

/// Reads both envelopes, the outer one of the market and the inner one of the product.
pub(super) fn read(answer: &Answer<'_>, highest: Option<u8>, transient_codes: &[i64]) -> ApiResult {
    let Some(outer) = tolerant::read::<Outer>(answer.body) else {
        return answer.unreadable();
    };
    match outer.errcode {
        Found::Given(0) if answer.is_success() => {}
        Found::Given(code) if code != 0 => return classify_outer(code).or_listed(transient_codes),
        _ => return answer.unreadable(),
    }
    let inner = outer.data.given().unwrap_or_default();
    let level = inner.data.given().and_then(|data| data.risklevel.given());
    let level = level.and_then(|level| u8::try_from(level).ok());
    match (inner.code.given(), level.filter(|level| Some(*level) <= highest)) {
        (None, _) => ApiResult::transient(FaultReason::MalformedAnswer),
        (Some(0), Some(level)) => {
            let assessment = Assessment::Level { level, risk_types: Vec::new() };
            ApiResult::Assessed { assessment, provider_code: 0 }
        }
        (Some(0), None) => ApiResult::transient(Fault::coded(FaultReason::MalformedAnswer, 0)),
        (Some(code), _) => classify_inner(code).or_listed(transient_codes),
    }
}

#[derive(Default)]
struct Outer {
    errcode: Found<i64>,
    data: Found<Inner>,
}

impl Readable for Outer {
    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut outer = Self::default();
        while let Some(key) = object.next_key_seed(Keys(&["errcode", "data"]))? {
            match key {
                "errcode" => outer.errcode.merge(object.next_value()?),
                "data" => outer.data.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(outer))
    }
}

#[derive(Default, PartialEq)]
struct Inner {
    code: Found<i64>,
    data: Found<InnerData>,
}

impl Readable for Inner {
    /// In every sample the inner envelope is JSON within a text.
    fn text(text: &str) -> Option<Self> {
        read_text::<NotText<Self>>(text).map(|inner| inner.0)
    }

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut inner = Self::default();
        while let Some(key) = object.next_key_seed(Keys(&["code", "data"]))? {
            match key {
                "code" => inner.code.merge(object.next_value()?),
                "data" => inner.data.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(inner))
    }
}

#[derive(Default, PartialEq)]
struct InnerData {
    risklevel: Found<i64>,
}

impl Readable for InnerData {
    fn text(text: &str) -> Option<Self> {
        read_text::<NotText<Self>>(text).map(|data| data.0)
    }

    fn object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut data = Self::default();
        while let Some(key) = object.next_key_seed(Keys(&["risklevel"]))? {
            match key {
                "risklevel" => data.risklevel.merge(object.next_value()?),
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(data))
    }
}

/// An object that is not wrapped in a text again: nested texts must not cause recursion.
struct NotText<T>(T);

impl<T: Readable> Readable for NotText<T> {
    fn object<'de, A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        Ok(T::object(object)?.map(Self))
    }
}
