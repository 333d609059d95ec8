//! Which risk APIs there are, and which one serves which kind of claim.
//!
//! Owns the list of APIs and [`Registry`], built once from `[risk]`. Knows nothing of what an API
//! does. The invariant: every kind leads to one API at most, and every API in the registry has its
//! credentials, its bounds and its policy.

use std::collections::BTreeMap;
use std::time::Duration;

use config::Value;

use super::section::{ConfigError, Scope, Section, Setup};
use super::{RiskApi, tencent_cloud, wechat};
use crate::claim::{Claim, DeadLetterReason};
use crate::decision::{Decision, Levels, Policy};

/// Every risk API. A new one is its file, its `mod` and a line here.
pub(super) const APIS: &[Registration] = &[
    super::intelligent_qr_code::REGISTRATION,
    super::mini_program::REGISTRATION,
    super::wechat_marketing::REGISTRATION,
    super::wechat_account::REGISTRATION,
    super::captcha_query::REGISTRATION,
    super::captcha_check::REGISTRATION,
];

/// How an API enters the registry.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// [`RiskApi::name`], and the name of its section `[risk.<name>]`.
    pub name: &'static str,
    /// The kind of claim that it serves where its section does not say.
    pub kind: &'static str,
    /// Builds the API from its section.
    pub build: fn(&mut Setup<'_>) -> Result<Box<dyn RiskApi>, ConfigError>,
}

/// The sections that several APIs share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// `[tencent_cloud]`.
    pub tencent_cloud: tencent_cloud::Settings,
    /// `[wechat]`.
    pub wechat: wechat::Settings,
    /// `retry.transient_codes`: provider codes that are transient whatever an API's own table says.
    pub transient_codes: Vec<i64>,
}

/// An API of a [`Registry`]: small numbers from 0, in the order of iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiId(usize);

impl ApiId {
    /// The number: the index into a list with one entry per API.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One API, and within which bounds it is asked.
pub struct Route {
    /// The API.
    pub api: Box<dyn RiskApi>,
    /// Scheme, host and port of its server, or of the gateway before it.
    pub base_url: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls at once, at least 1.
    pub concurrency: u32,
    /// Whose bound `concurrency` is.
    pub concurrency_scope: Scope,
    /// Calls per second, more than 0; `None` means no limit.
    pub rate_limit: Option<f64>,
    /// Whose bound `rate_limit` is.
    pub rate_limit_scope: Scope,
    /// Which levels lead to which decision; `None` where the API gives no level.
    pub levels: Option<Levels>,
}

/// The APIs that serve something.
pub struct Registry {
    routes: Vec<Route>,
    by_kind: BTreeMap<String, ApiId>,
    tokens: Option<wechat::TokenSource>,
}

impl Registry {
    /// Builds every API that has a section in `[risk]` and serves something.
    ///
    /// # Errors
    /// [`ConfigError`], naming the whole key.
    pub fn new(sections: BTreeMap<String, Value>, shared: &Shared) -> Result<Self, ConfigError> {
        if shared.transient_codes.contains(&0) {
            return Err(ConfigError::new("retry.transient_codes", "0 is the code of success"));
        }
        let mut registry = Self { routes: Vec::new(), by_kind: BTreeMap::new(), tokens: None };
        for (name, section) in sections {
            let Some(registration) = APIS.iter().find(|registration| registration.name == name)
            else {
                let names: Vec<_> = APIS.iter().map(|registration| registration.name).collect();
                let problem = format!("there is no such risk API; there are {}", names.join(", "));
                return Err(ConfigError::new(format!("risk.{name}"), problem));
            };
            let (section, own) = Section::read(registration.name, section)?;
            registry.add(registration, section, own, shared)?;
        }
        if registry.routes.iter().any(|route| route.api.needs_token()) {
            registry.tokens = Some(wechat::TokenSource::new(&shared.wechat));
        }
        Ok(registry)
    }

    fn add(
        &mut self,
        registration: &Registration,
        section: Section,
        own: config::Map<String, Value>,
        shared: &Shared,
    ) -> Result<(), ConfigError> {
        let name = registration.name;
        let kinds = section.serves.clone().unwrap_or_else(|| vec![registration.kind.to_owned()]);
        if kinds.is_empty() {
            return Ok(());
        }
        let id = ApiId(self.routes.len());
        for kind in kinds {
            let problem = format!("`{kind}` is served already");
            if self.by_kind.insert(kind, id).is_some() {
                return Err(ConfigError::new(format!("risk.{name}.serves"), problem));
            }
        }
        let mut setup = Setup::new(name, &section, own, shared);
        let api = (registration.build)(&mut setup)?;
        let base_url = setup.server();
        setup.finish()?;
        let levels = levels(api.as_ref(), section.policy)
            .map_err(|problem| ConfigError::new(format!("risk.{name}.policy"), problem))?;
        let Section {
            timeout, concurrency, concurrency_scope, rate_limit, rate_limit_scope, ..
        } = section;
        self.routes.push(Route {
            api,
            base_url,
            timeout,
            concurrency,
            concurrency_scope,
            rate_limit,
            rate_limit_scope,
            levels,
        });
        Ok(())
    }

    /// The API that serves this claim, which holds all that the API demands of it.
    ///
    /// # Errors
    /// [`DeadLetterReason`]: a kind that no API serves, or what [`RiskApi::check`] found.
    pub fn route(&self, claim: &Claim) -> Result<ApiId, DeadLetterReason> {
        let Some(id) = self.by_kind.get(&claim.kind) else {
            let shown: String = claim.kind.chars().take(64).collect();
            return Err(DeadLetterReason::field(
                "unknown_kind",
                "kind",
                format!("no risk API serves {shown:?}"),
            ));
        };
        self.get(*id).api.check(claim)?;
        Ok(*id)
    }

    /// The route of an API.
    pub fn get(&self, id: ApiId) -> &Route {
        &self.routes[id.0]
    }

    /// The API with this name, if it serves anything.
    pub fn find(&self, name: &str) -> Option<ApiId> {
        self.routes.iter().position(|route| route.api.name() == name).map(ApiId)
    }

    /// Every API that serves something.
    pub fn iter(&self) -> impl Iterator<Item = (ApiId, &Route)> {
        self.routes.iter().enumerate().map(|(index, route)| (ApiId(index), route))
    }

    /// How many APIs serve something.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether no API serves anything, so that every claim would be malformed.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every kind that is served, and by which API.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, ApiId)> {
        self.by_kind.iter().map(|(kind, id)| (kind.as_str(), *id))
    }

    /// The policy in force: every route's levels, and what its types of risk do.
    pub fn policy(&self, on_unassessed: Decision) -> Policy {
        let levels = self
            .routes
            .iter()
            .filter_map(|route| Some((route.api.name().to_owned(), route.levels.clone()?)));
        let policy = Policy::new(levels.collect(), on_unassessed);
        self.routes.iter().fold(policy, |policy, route| {
            policy.with_risk_types(route.api.name(), route.api.risk_types())
        })
    }

    /// Where access tokens come from, if an API needs one.
    pub fn token_source(&self) -> Option<&wechat::TokenSource> {
        self.tokens.as_ref()
    }
}

fn levels(api: &dyn RiskApi, policy: Option<Levels>) -> Result<Option<Levels>, String> {
    match (api.highest_level(), policy.or_else(|| api.default_levels())) {
        (Some(highest), Some(levels)) => levels.check(highest).map(|()| Some(levels)),
        (Some(_), None) => Err("this API gives levels and has no policy for them".to_owned()),
        (None, Some(_)) => Err("this API gives no levels that a policy could decide by".to_owned()),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
