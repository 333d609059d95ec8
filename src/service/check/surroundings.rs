//! Checks the systems that a worker talks to, without a billed call.

use std::time::Duration;

use futures::future::join_all;

use crate::assess::exchange::Http;
use crate::assess::http::Client;
use crate::config::Config;
use crate::findings::{Finding, Severity};
use crate::outbox::postgres::PostgresStore;
use crate::outbox::producer::{check_producer, check_properties};
use crate::risk::{Answer, Fetch, Registry, Route, TokenSource};
use crate::service::set_up;

/// How long a server of a risk API has to answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the systems that a worker talks to: the risk APIs' servers, Postgres, Kafka. APIs that
/// cannot be built were reported already.
pub(super) async fn look_at(config: &Config, apis: Option<&(Registry, Client)>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((registry, client)) = apis {
        findings.extend(risk_apis(registry, client).await);
    }
    // A missing URL was reported already.
    if PostgresStore::lazy(&config.postgres).is_ok() {
        findings.push(postgres(config).await);
    }
    let topics = config.kafka.look_at_topics(config.retry.give_up_after).await;
    let answers = topics
        .iter()
        .all(|finding| finding.place != "Kafka" || finding.severity != Severity::Wrong);
    findings.extend(topics);
    if let (Ok(()), Err(sentence)) =
        (check_properties(&config.kafka), check_producer(&config.kafka))
    {
        findings.push(Finding::wrong("producer (kafka.properties)", sentence));
    }
    if answers {
        findings.extend(config.kafka.look_at_commit_bound().await);
        findings.extend(config.kafka.try_rights().await);
    }
    findings
}

async fn risk_apis(registry: &Registry, client: &Client) -> Vec<Finding> {
    let mut findings = join_all(registry.iter().map(|(_, route)| reach(client, route))).await;
    for (_, source) in registry.token_sources() {
        findings.push(access_token(client, source).await);
    }
    findings
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
    let mut fallback = None;
    let fetch = async {
        let reached = client.reach(place, REACH_TIMEOUT).await;
        reached.map_err(|cause| format!("{place} ({key}) cannot be reached: {cause}"))?;
        let exchange = client.send(source.token_request(Fetch::Plain), REACH_TIMEOUT).await;
        let response =
            exchange.result.map_err(|failure| format!("{place} ({key}): {}", failure.reason()))?;
        let answer = Answer { status: response.status, body: &response.body };
        let token = source.read_token(&answer).map_err(|fault| {
            fallback = source.fall_back(&answer);
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
    let found = fetch.await;
    // The workers will fetch one; fetching one here would end theirs.
    fallback.map_or_else(|| Finding::of(&what, found), |words| Finding::warning(&what, words))
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::assess::http::tests::full_queue;
    use crate::service::check::configuration;

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_take_as_long_as_the_workers() {
        let (address, _full) = full_queue();
        let others = [
            "mini_program",
            "wechat_marketing",
            "wechat_account",
            "captcha_query",
            "captcha_check",
        ]
        .map(|api| format!("[risk.{api}]\nserves = []\n"))
        .concat();
        let config = Config::from_toml(&format!(
            "[tencent_cloud]\nsecret_id = \"id\"\nsecret_key = \"key\"\n{others}\
             [risk.intelligent_qr_code]\nbase_url = \"http://{address}\"\ntimeout = \"600ms\"\n"
        ))
        .expect("good");
        let (apis, _) = configuration::look_at(&config);
        let (registry, client) = apis.expect("one API");
        let begun = Instant::now();
        let findings = risk_apis(&registry, &client).await;
        let wrong: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
        assert_eq!(wrong, [Severity::Wrong]);
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}
