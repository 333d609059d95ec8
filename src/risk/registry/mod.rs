//! Which risk APIs there are, and which one serves which kind of claim.
//!
//! Owns the list of APIs and [`Registry`], built once from `[risk]`. Does not know what an API
//! does. The invariant: at most one API serves a kind, and every API in the registry has its
//! credentials, its limits and its policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config::Value;

use super::limits::Scope;
use super::section::{Section, SectionError};
use super::setup::Setup;
use super::{APIS, MakeTokens, RiskApi, TokenSource, tencent_cloud, wechat};
use crate::claim::{Claim, DeadLetterReason, EventError};
use crate::decision::{Decision, Levels, Policy, RiskType};
use crate::live::Live;

/// How an API is registered: the properties that are the same for every claim.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Its name in SQL, spans and metrics, and that of its section `[risk.<name>]`.
    pub name: &'static str,
    /// The kind of claim that it serves if its section does not say.
    pub kind: &'static str,
    /// The edition of the documents that its codes follow (`schemas/decision.v1.json`), such as
    /// `2021`.
    pub schema: &'static str,
    /// The decisions for its levels from 0 on, if `[risk.<name>.policy]` does not set them
    /// (`docs/risk-apis.md`, Policy); empty if it gives no levels.
    pub levels: &'static [Decision],
    /// Its own table of risk types: the same code means different things to different schemas.
    pub risk_types: &'static [RiskType],
    /// The most attempts at one claim, if the API has such a bound.
    pub max_attempts: Option<u32>,
    /// The source of the access tokens that its requests need ([`super::Attempt::token`]). The APIs
    /// of one vendor share a token.
    pub tokens: Option<MakeTokens>,
    /// Builds the API from its section.
    pub build: fn(&mut Setup<'_>) -> Result<Box<dyn RiskApi>, SectionError>,
}

impl Registration {
    /// The highest risk level that the API gives; `None` if it gives none.
    pub fn highest_level(&self) -> Option<u8> {
        u8::try_from(self.levels.len()).ok()?.checked_sub(1)
    }

    /// Looks a risk type up in the API's table.
    pub fn risk_type(&self, code: i32) -> Option<RiskType> {
        self.risk_types.iter().find(|risk_type| risk_type.code == code).copied()
    }

    /// The decisions for its levels by the given policy, or by its default; `None` if it gives no
    /// levels.
    ///
    /// # Errors
    /// One sentence: what is wrong with the policy.
    pub fn levels(&self, policy: Option<Levels>) -> Result<Option<Levels>, String> {
        match (self.highest_level(), policy) {
            (Some(highest), policy) => {
                let levels = policy.unwrap_or_else(|| Levels::of(self.levels));
                levels.check(highest).map(|()| Some(levels))
            }
            (None, Some(_)) => {
                Err("this API gives no levels that a policy could decide by".to_owned())
            }
            (None, None) => Ok(None),
        }
    }
}

/// The sections that several APIs share.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// `[tencent_cloud]`.
    pub tencent_cloud: Live<tencent_cloud::Settings>,
    /// `[wechat]`.
    pub wechat: Live<wechat::Settings>,
    /// `retry.transient_codes`: provider codes that are transient, even if an API's own table says
    /// otherwise.
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

/// A source of access tokens of a [`Registry`]: small numbers from 0, in the order of iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenId(usize);

impl TokenId {
    /// The number: the index into a list with one entry per source.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One API, and the limits on its calls.
pub struct Route {
    /// The API.
    pub api: Box<dyn RiskApi>,
    /// The source of the access token that its requests need.
    pub token: Option<TokenId>,
    /// Scheme, host and port of its server, or of the gateway before it.
    pub base_url: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls at once, at least 1.
    pub concurrency: u32,
    /// Whether the worker finds the best number of calls at once, up to `concurrency`.
    pub is_adaptive: bool,
    /// The scope of `concurrency`.
    pub concurrency_scope: Scope,
    /// Calls per second, more than 0; `None` means no limit.
    pub rate_limit: Option<f64>,
    /// The scope of `rate_limit`.
    pub rate_limit_scope: Scope,
    /// Which levels lead to which decision; `None` if the API gives no level.
    pub levels: Option<Levels>,
}

/// The APIs that serve a kind.
pub struct Registry {
    routes: Vec<Route>,
    by_kind: BTreeMap<String, ApiId>,
    tokens: Vec<Box<dyn TokenSource>>,
    shared: Shared,
    renewals: AtomicU64,
}

impl Registry {
    /// Builds every API that has a section in `[risk]` and serves a kind.
    ///
    /// # Errors
    /// Every fault, at least one, naming the whole key.
    pub fn new(
        sections: BTreeMap<String, Value>,
        shared: &Shared,
    ) -> Result<Self, Vec<SectionError>> {
        let mut faults = Vec::new();
        if shared.transient_codes.contains(&0) {
            faults.push(SectionError::new("retry.transient_codes", "0 is the code of success"));
        }
        let mut registry = Self {
            routes: Vec::new(),
            by_kind: BTreeMap::new(),
            tokens: Vec::new(),
            shared: shared.clone(),
            renewals: AtomicU64::new(0),
        };
        for (name, section) in sections {
            let Some(registration) = APIS.iter().find(|registration| registration.name == name)
            else {
                let names: Vec<_> = APIS.iter().map(|registration| registration.name).collect();
                let problem = format!("there is no such risk API; there are {}", names.join(", "));
                faults.push(SectionError::new(format!("risk.{name}"), problem));
                continue;
            };
            if let Some((section, own)) = Section::read(registration.name, section, &mut faults) {
                registry.add(registration, section, own, shared, &mut faults);
            }
        }
        // Several APIs may lack the same credential.
        let mut keys = BTreeSet::new();
        faults.retain(|fault: &SectionError| keys.insert(fault.key.clone()));
        if faults.is_empty() { Ok(registry) } else { Err(faults) }
    }

    fn add(
        &mut self,
        registration: &'static Registration,
        section: Section,
        own: config::Map<String, Value>,
        shared: &Shared,
        faults: &mut Vec<SectionError>,
    ) {
        let name = registration.name;
        let kinds = section.serves.clone().unwrap_or_else(|| vec![registration.kind.to_owned()]);
        if kinds.is_empty() {
            return;
        }
        let id = ApiId(self.routes.len());
        for kind in kinds {
            let problem = format!("`{kind}` is served already");
            if self.by_kind.insert(kind, id).is_some() {
                faults.push(SectionError::new(format!("risk.{name}.serves"), problem));
            }
        }
        let mut setup = Setup::new(registration, &section, own, shared);
        let api = (registration.build)(&mut setup);
        let base_url = setup.server();
        faults.extend(setup.finish());
        let (concurrency, is_adaptive) = section.concurrency();
        let levels = registration.levels(section.policy).unwrap_or_else(|problem| {
            faults.push(SectionError::new(format!("risk.{name}.policy"), problem));
            None
        });
        let api = match api {
            Ok(api) => api,
            Err(fault) => return faults.push(fault),
        };
        let Section { timeout, concurrency_scope, rate_limit, rate_limit_scope, .. } = section;
        let token = registration.tokens.map(|tokens| self.token_id(tokens(shared)));
        self.routes.push(Route {
            api,
            token,
            base_url,
            timeout,
            concurrency,
            is_adaptive,
            concurrency_scope,
            rate_limit,
            rate_limit_scope,
            levels,
        });
    }

    fn token_id(&mut self, source: Box<dyn TokenSource>) -> TokenId {
        let known = self.tokens.iter().position(|known| known.vendor() == source.vendor());
        TokenId(known.unwrap_or_else(|| {
            self.tokens.push(source);
            self.tokens.len() - 1
        }))
    }

    /// The API that serves this claim, after the API's checks of the claim.
    ///
    /// # Errors
    /// [`DeadLetterReason`]: a kind that no API serves, or what [`RiskApi::check`] found.
    pub fn route(&self, claim: &Claim) -> Result<ApiId, DeadLetterReason> {
        let Some(id) = self.by_kind.get(&claim.kind) else {
            let shown: String = claim.kind.chars().take(64).collect();
            return Err(DeadLetterReason::field(
                EventError::UnknownKind,
                "kind",
                format!("no risk API serves {shown:?}"),
            ));
        };
        self.api(*id).check(claim)?;
        Ok(*id)
    }

    /// The route of an API.
    pub fn get(&self, id: ApiId) -> &Route {
        &self.routes[id.0]
    }

    /// An API.
    pub fn api(&self, id: ApiId) -> &dyn RiskApi {
        self.get(id).api.as_ref()
    }

    /// The API with this name, if it serves a kind.
    pub fn find(&self, name: &str) -> Option<ApiId> {
        self.routes.iter().position(|route| route.api.name() == name).map(ApiId)
    }

    /// Applies the credentials of these sections to all requests from now on.
    pub fn renew(&self, tencent_cloud: &tencent_cloud::Settings, wechat: &wechat::Settings) {
        let Shared { tencent_cloud: tencent, wechat: app, .. } = &self.shared;
        tencent.replace(tencent.now().with_credentials_of(tencent_cloud));
        app.replace(app.now().with_credentials_of(wechat));
        self.renewals.fetch_add(1, Ordering::Release);
    }

    /// How often new credentials were applied.
    pub fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Acquire)
    }

    /// Every API that serves a kind.
    pub fn iter(&self) -> impl Iterator<Item = (ApiId, &Route)> {
        self.routes.iter().enumerate().map(|(index, route)| (ApiId(index), route))
    }

    /// The number of APIs that serve a kind.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether no API serves any kind, so that every claim would be malformed.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every kind that is served, and by which API.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, ApiId)> {
        self.by_kind.iter().map(|(kind, id)| (kind.as_str(), *id))
    }

    /// The policy in force: the levels of every API, and the effects of its risk types.
    pub fn policy(&self, on_unassessed: Decision) -> Policy {
        let levels = self
            .routes
            .iter()
            .filter_map(|route| Some((route.api.name().to_owned(), route.levels.clone()?)));
        let policy = Policy::new(levels.collect(), on_unassessed);
        self.routes.iter().fold(policy, |policy, route| {
            policy.with_risk_types(route.api.name(), route.api.registration().risk_types)
        })
    }

    /// The sources of the access tokens that APIs need.
    pub fn token_sources(&self) -> impl Iterator<Item = (TokenId, &dyn TokenSource)> {
        self.tokens.iter().enumerate().map(|(index, source)| (TokenId(index), source.as_ref()))
    }

    /// One of them.
    pub fn token_source(&self, id: TokenId) -> &dyn TokenSource {
        self.tokens[id.0].as_ref()
    }
}

#[cfg(test)]
mod tests;
