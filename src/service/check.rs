//! `claimgate check`: everything a worker needs, looked at without a billed call.

use std::time::Duration;

use futures::future::join_all;

use crate::assess::exchange::Http;
use crate::assess::http::Client;
use crate::config::Config;
use crate::findings::{Finding, Grade};
use crate::outbox::postgres::PostgresStore;
use crate::outbox::producer::check_producer;
use crate::risk::wechat::TokenSource;
use crate::risk::{Answer, Route};

/// How long a server of a risk API has to answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a provider's message is shown.
const MESSAGE_MAX_CHARS: usize = 200;
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
    if let Some(source) = registry.token_source() {
        findings.push(access_token(&client, source, config).await);
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
async fn access_token(client: &Client, source: &TokenSource, config: &Config) -> Finding {
    const WHAT: &str = "WeChat access token";
    if source.invalidates_others() {
        let words = "not fetched: with wechat.token_endpoint = \"classic\" each fetch ends the token that the workers have";
        return Finding::warning(WHAT, words);
    }
    let place = &config.wechat.base_url;
    if let Err(cause) = client.reach(place, REACH_TIMEOUT).await {
        return Finding::wrong(
            WHAT,
            format!("{place} (wechat.base_url) cannot be reached: {cause}"),
        );
    }
    let exchange = client.send(source.token_request(false), REACH_TIMEOUT).await;
    let response = match exchange.result {
        Ok(response) => response,
        Err(failure) => {
            return Finding::wrong(
                WHAT,
                format!("{place} (wechat.base_url): {}", failure.reason()),
            );
        }
    };
    match source.read_token(&Answer { status: response.status, body: &response.body }) {
        Ok(token) => {
            let life = humantime::format_duration(token.expires_in);
            Finding::ok(WHAT, format!("{place} gives one, good for {life}"))
        }
        Err(fault) => {
            let code = fault.provider_code.map(|code| format!(", code {code}")).unwrap_or_default();
            let said = message(&response.body).map(|said| format!(": {said}")).unwrap_or_default();
            let words = format!(
                "{place} gives none ({}, HTTP {}{code}){said}; check wechat.app_id and wechat.app_secret",
                fault.reason, response.status
            );
            Finding::wrong(WHAT, words)
        }
    }
}

/// WeChat's own words; an answer with a token has none.
fn message(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let said = answer.get("errmsg")?.as_str()?;
    Some(said.chars().filter(|character| !character.is_control()).take(MESSAGE_MAX_CHARS).collect())
}

async fn postgres(config: &Config) -> Finding {
    let look = async {
        let store =
            PostgresStore::connect(&config.postgres).await.map_err(|error| error.to_string())?;
        store.check_schema().await.map_err(|error| error.to_string())?;
        store.check_rights().await.map_err(|error| error.to_string())?;
        store.close().await;
        Ok("answers, its schema is up to date, and its tables take rows".to_owned())
    };
    Finding::of("Postgres", look.await)
}
