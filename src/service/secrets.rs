//! Applies new secrets while the worker runs: they are read again when the content of one of their
//! files changes, and on SIGHUP.
//!
//! It compares contents, not times or names, because Kubernetes replaces a link. The invariants: if
//! a secret cannot be read or is refused, the worker goes on with the one in force; log lines name
//! keys and never have a value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::config::Config;
use crate::live::Live;
use crate::outbox::postgres::PostgresStore;
use crate::risk::Registry;

/// How often the files are read. A change counts when it was read twice in a row, so that it does
/// not use a half-written file, or only one of two files that belong together.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What uses the secrets.
pub(super) struct Secrets {
    /// The configuration that was read last and is in force.
    pub(super) config: Config,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<PostgresStore>,
    pub(super) page_token: Live<SecretString>,
}

type Contents = Vec<Option<[u8; 32]>>;

/// Watches the files and applies new secrets, for ever.
pub(super) async fn keep_secrets(mut secrets: Secrets) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    if !secrets.config.origin.can_be_read_again() {
        return;
    }
    let mut done = contents(&secrets.config).await;
    let (mut last, mut told) = (done.clone(), None);
    loop {
        let hangup = timeout(LOOK_EVERY, hangups.recv()).await.is_ok_and(|told| told.is_some());
        // The files that the configuration named when it was read last.
        let seen = contents(&secrets.config).await;
        let is_settled = seen == std::mem::replace(&mut last, seen.clone());
        if !hangup && !is_due(is_settled, seen != done, told.is_some()) {
            continue;
        }
        match secrets.renew().await {
            Ok(()) => (done, told) = (seen, None),
            Err(problem) if hangup || told.as_ref() != Some(&problem) => {
                error!(
                    "secrets: the present ones stay in use, next try in {LOOK_EVERY:?}: {problem}"
                );
                told = Some(problem);
            }
            Err(_) => {}
        }
    }
}

/// Whether to read the secrets, given two reads in a row. After a failure they are always read: a
/// missing file may be back unchanged, and the fault may be in a file of the configuration.
fn is_due(is_settled: bool, is_new: bool, has_failed: bool) -> bool {
    is_settled && (is_new || has_failed)
}

impl Secrets {
    /// Reads the configuration again and applies its secrets.
    async fn renew(&mut self) -> Result<(), String> {
        let file = self.config.origin.file().map(PathBuf::from);
        let read = move || Config::load(file.as_deref()).map_err(|error| error.to_string());
        let fresh =
            tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())??;
        // Whatever a start would refuse is refused here, too.
        fresh.risk_apis().map_err(|error| error.to_string())?;
        let changed = fresh.changed_secrets(&self.config);
        let (now, old) = (fresh, &mut self.config);
        self.registry.renew(&now.tencent_cloud, &now.wechat);
        old.tencent_cloud = now.tencent_cloud.clone();
        old.wechat = now.wechat.clone();
        self.page_token.replace(now.http.token.clone());
        old.http = now.http.clone();
        let (others, of_postgres): (Vec<&str>, Vec<&str>) =
            changed.into_iter().partition(|key| !key.starts_with("postgres."));
        tell(&others, "is in force from now on");
        if !of_postgres.is_empty() {
            self.store.renew(&now.postgres).await.map_err(|error| error.to_string())?;
            tell(&of_postgres, "is in force from now on");
        }
        tell(&now.changed_for_restart(&self.config), "has changed and needs a restart");
        // The next configuration is compared with this one, so that a setting that needs a restart
        // is logged once.
        self.config = now;
        Ok(())
    }
}

fn tell(keys: &[&str], what: &str) {
    for key in keys {
        warn!(key, "secrets: {key} {what}");
    }
}

/// Hashes of the files' contents, for comparison.
async fn contents(config: &Config) -> Contents {
    let files = config.origin.secret_files().to_vec();
    let hash = |file: &PathBuf| std::fs::read(file).ok().map(|text| Sha256::digest(text).into());
    let read = move || files.iter().map(hash).collect();
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// Waits until the token is this one.
    async fn takes_on(page_token: &Live<SecretString>, wanted: &str) {
        let has_it = || page_token.now().expose_secret() == wanted;
        for _ in 0..60 {
            if has_it() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{wanted} is not taken on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_file_that_is_named_later_is_watched() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let put = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        let name_token_file = |name: &str| {
            let all = "[postgres]\nurl = 'postgres://127.0.0.1/claims'\n\
                [tencent_cloud]\nsecret_id = 'id'\nsecret_key = 'key'\n\
                [wechat]\napp_id = 'wx'\napp_secret = 's'\n";
            put("toml", &format!("{all}[http]\ntoken_file = {:?}\n", path(name)));
        };
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(16));
        put("a", &one);
        put("b", &two);
        name_token_file("a");
        let config = Config::load(Some(&path("toml"))).expect("a configuration");
        let (registry, _) = config.risk_apis().expect("risk APIs");
        let store = PostgresStore::lazy(&config.postgres).expect("a store");
        let page_token = Live::from(config.http.token.clone());
        let (registry, store) = (Arc::new(registry), Arc::new(store));
        let secrets = Secrets { config, registry, store, page_token: page_token.clone() };
        let keeping = tokio::spawn(keep_secrets(secrets));
        takes_on(&page_token, &one).await;
        tokio::time::sleep(LOOK_EVERY).await;
        name_token_file("b");
        put("a", "another, so that the configuration is read");
        takes_on(&page_token, &two).await;
        put("b", &three);
        takes_on(&page_token, &three).await;
        keeping.abort();
    }

    #[test]
    fn a_failed_reload_is_retried_even_without_secret_files() {
        assert!(!is_due(true, false, false), "nothing has changed");
        assert!(is_due(true, true, false) && !is_due(false, true, false), "a file half written");
        assert!(
            is_due(true, false, true),
            "the configuration file was at fault at the last SIGHUP"
        );
    }
}
