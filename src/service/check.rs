//! `claimgate check`: everything a worker needs, looked at without a billed call.

use std::time::Duration;

use futures::future::join_all;

use super::set_up;
use crate::assess::exchange::Http;
use crate::assess::http::Client;
use crate::config::Config;
use crate::findings::{Finding, Grade};
use crate::outbox::postgres::PostgresStore;
use crate::outbox::producer::check_producer;
use crate::risk::{Answer, Route, TokenSource};

/// How long a server of a risk API has to answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Variables that lead other programs through a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Looks at everything a worker needs, and says of each thing in one line whether it is well.
///
/// # Errors
/// How many things are wrong; what they are was printed.
pub async fn check(config: &Config) -> Result<(), String> {
    let mut findings = risk_apis(config).await;
    findings.push(postgres(config).await);
    findings.extend(config.audit.warning().map(|words| Finding::warning("audit", words)));
    let topics = config.kafka.look_at_topics(config.retry.give_up_after).await;
    let answers =
        topics.iter().all(|finding| finding.what != "Kafka" || finding.grade != Grade::Wrong);
    findings.extend(topics);
    if let Err(words) = check_producer(&config.kafka) {
        findings.push(Finding::wrong("producer (kafka.properties)", words));
    }
    if answers {
        findings.extend(config.kafka.try_rights().await);
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    let wrong = findings.iter().filter(|finding| finding.grade == Grade::Wrong).count();
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} of {} checks failed", findings.len())) }
}

async fn risk_apis(config: &Config) -> Vec<Finding> {
    let (registry, policy) = match config.risk_apis() {
        Ok(built) => built,
        Err(error) => return vec![Finding::wrong("risk APIs", error.to_string())],
    };
    let client = match Client::new(&config.egress) {
        Ok(client) => client,
        Err(error) => return vec![Finding::wrong("egress", format!("egress.proxy: {error}"))],
    };
    let built = format!("{} built, policy {}", registry.len(), policy.version());
    let mut findings = vec![Finding::ok("risk APIs", built)];
    findings.extend(egress(config));
    findings.extend(join_all(registry.iter().map(|(_, route)| reach(&client, route))).await);
    for (_, source) in registry.token_sources() {
        findings.push(access_token(&client, source).await);
    }
    findings
}

/// By which way calls leave.
pub(super) fn egress(config: &Config) -> Option<Finding> {
    if let Some(proxy) = config.egress.place() {
        return Some(Finding::ok(
            "egress",
            format!("risk APIs are called through {proxy} (egress.proxy)"),
        ));
    }
    let variable = PROXY_VARIABLES
        .iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))?;
    let words = format!(
        "{variable} is set and does not count for risk APIs; set egress.proxy if they are to go through it"
    );
    Some(Finding::warning("egress", words))
}

async fn reach(client: &Client, route: &Route) -> Finding {
    let key = format!("risk.{}", route.api.name());
    let base_url = &route.base_url;
    let reached = client.reach(base_url, REACH_TIMEOUT).await;
    let reached =
        reached.map(|status| format!("{base_url} answers (HTTP {status}, nothing was asked)"));
    Finding::of(
        &key,
        reached.map_err(|cause| format!("{base_url} ({key}.base_url) cannot be reached: {cause}")),
    )
}

/// Fetches an access token as the worker does.
async fn access_token(client: &Client, source: &dyn TokenSource) -> Finding {
    let what = format!("{} access token", source.vendor());
    if let Some(setting) = source.invalidates_others() {
        let words =
            format!("not fetched: with {setting} each fetch ends the token that the workers have");
        return Finding::warning(&what, words);
    }
    let (key, place) = source.place();
    let fetch = async {
        let reached = client.reach(place, REACH_TIMEOUT).await;
        reached.map_err(|cause| format!("{place} ({key}) cannot be reached: {cause}"))?;
        let exchange = client.send(source.token_request(false), REACH_TIMEOUT).await;
        let response =
            exchange.result.map_err(|failure| format!("{place} ({key}): {}", failure.reason()))?;
        let answer = Answer { status: response.status, body: &response.body };
        let token = source.read_token(&answer).map_err(|fault| {
            let code = fault.provider_code.map(|code| format!(", code {code}")).unwrap_or_default();
            let more = [source.words(&answer), fault.reason.remedy().map(str::to_owned)];
            let more: String =
                more.into_iter().flatten().map(|words| format!(": {words}")).collect();
            let status = answer.status;
            format!("{place} gives none ({}, HTTP {status}{code}){more}", fault.reason)
        })?;
        let life = humantime::format_duration(token.expires_in);
        Ok(format!("{place} gives one, good for {life}"))
    };
    Finding::of(&what, fetch.await)
}

async fn postgres(config: &Config) -> Finding {
    let look = async {
        let store =
            PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
        store.check_schema().await.map_err(|error| error.to_string())?;
        store.check_rights().await.map_err(|error| error.to_string())?;
        set_up::refuse_ownership(config, &store).await?;
        store.close().await;
        Ok("answers, its schema is up to date, and its tables take rows".to_owned())
    };
    Finding::of("Postgres", look.await)
}
