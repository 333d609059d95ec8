//! Checks the configuration alone: it connects to no broker, no database and no other host.

use std::time::Duration;

use crate::assess::http::Client;
use crate::config::{Config, mistyped_variables};
use crate::decision::Policy;
use crate::findings::Finding;
use crate::outbox::postgres::PostgresStore;
use crate::outbox::producer::check_properties;
use crate::risk::Registry;
use crate::service::set_up::shortest_timeout;
use crate::telemetry;

/// Variables that lead other programs through a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Checks all sections. Returns the risk APIs and the client that calls them, if both can be
/// built.
pub(super) fn look_at(config: &Config) -> (Option<(Registry, Client)>, Vec<Finding>) {
    let mut findings = Vec::new();
    let registry = match config.risk_apis() {
        Ok((registry, policy)) => {
            let built = format!("{} built, policy {}", registry.len(), policy.version());
            findings.push(Finding::ok("risk APIs", built));
            findings.extend(config.shadow(&policy).map(|shadow| in_shadow(&policy, &shadow)));
            Some(registry)
        }
        Err(error) => {
            findings.extend(error.into_findings());
            None
        }
    };
    let shortest = registry.as_ref().map_or(Duration::MAX, shortest_timeout);
    let client = Client::for_calls(&config.egress, shortest).inspect_err(|error| {
        findings.push(Finding::wrong(error.key(), error.to_string()));
    });
    findings.extend(egress(config));
    if let Err(error) = PostgresStore::lazy(&config.postgres) {
        findings.push(Finding::wrong("postgres.url", error.to_string()));
    }
    if let Err(sentence) = check_properties(&config.kafka) {
        findings.push(Finding::wrong("kafka.properties", sentence));
    }
    findings.extend(telemetry::look_at(&config.telemetry));
    findings.extend(mistyped_variables());
    findings.extend(config.audit.warning().map(|words| Finding::warning("audit", words)));
    (registry.zip(client.ok()), findings)
}

/// Which policy rules in shadow.
fn in_shadow(policy: &Policy, shadow: &Policy) -> Finding {
    if shadow.version() == policy.version() {
        let same = "this is the policy in force: there is nothing that it would decide otherwise";
        return Finding::warning("policy.shadow", same);
    }
    Finding::ok("policy.shadow", format!("{} rules in shadow", shadow.version()))
}

/// The route of outgoing calls.
pub(in crate::service) fn egress(config: &Config) -> Option<Finding> {
    if let Some(proxy) = config.egress.place() {
        return Some(Finding::ok(
            "egress",
            format!("risk APIs are called through {proxy} (egress.proxy)"),
        ));
    }
    let variable = PROXY_VARIABLES
        .iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    let sentence = format!(
        "{variable} is set and does not count for risk APIs; set egress.proxy if they are to go \
         through it"
    );
    Some(Finding::warning("egress", sentence))
}
