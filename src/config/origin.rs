//! Where a configuration came from, so that its secrets can be read again; and which secrets differ
//! from those of another configuration.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::Config;
use super::layers::SECRET_PROPERTIES;

/// The files behind a configuration.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The file that was named on the command line.
    pub(super) file: Option<PathBuf>,
    /// The files of secrets (`<key>_file`).
    pub(super) secret_files: Vec<PathBuf>,
    /// Whether the configuration came from files, and not from a text.
    pub(super) is_of_files: bool,
}

impl Origin {
    /// The file that was named on the command line.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The files of secrets.
    pub fn secret_files(&self) -> &[PathBuf] {
        &self.secret_files
    }

    /// Whether the configuration can be read again.
    pub fn can_be_read_again(&self) -> bool {
        self.is_of_files
    }
}

impl Config {
    /// The secrets that take effect while the worker runs and differ from those of `other`.
    pub fn changed_secrets(&self, other: &Self) -> Vec<&'static str> {
        differences(self.live_secrets(), &other.live_secrets())
    }

    /// The secrets that differ but take effect only at the next start.
    pub fn changed_for_restart(&self, other: &Self) -> Vec<&'static str> {
        differences(self.other_secrets(), &other.other_secrets())
    }

    fn live_secrets(&self) -> Vec<(&'static str, Option<&str>)> {
        let (tencent, wechat, postgres) = (&self.tencent_cloud, &self.wechat, &self.postgres);
        vec![
            ("tencent_cloud.secret_id", Some(&tencent.secret_id)),
            ("tencent_cloud.secret_key", Some(tencent.secret_key.expose_secret())),
            ("tencent_cloud.token", exposed(tencent.token.as_ref())),
            ("wechat.app_id", Some(&wechat.app_id)),
            ("wechat.app_secret", Some(wechat.app_secret.expose_secret())),
            ("http.token", Some(self.http.token.expose_secret())),
            ("postgres.url", exposed(postgres.url.as_ref())),
            ("postgres.evidence_keys", Some(postgres.evidence_keys.expose_secret())),
        ]
    }

    fn other_secrets(&self) -> Vec<(&'static str, Option<&str>)> {
        let mut secrets = vec![
            ("audit.subject_key", exposed(self.subject_key())),
            ("audit.former_subject_keys", Some(self.audit.former_subject_keys.expose_secret())),
            ("egress.proxy", exposed(self.egress.proxy.as_ref())),
        ];
        let property = |name| (name, self.kafka.properties.get(name).map(|value| value.as_str()));
        secrets.extend(SECRET_PROPERTIES.map(property));
        secrets
    }
}

fn exposed(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(|secret| secret.expose_secret())
}

fn differences(
    ours: Vec<(&'static str, Option<&str>)>,
    theirs: &[(&'static str, Option<&str>)],
) -> Vec<&'static str> {
    let differs = |((key, our), (_, their)): (_, &(_, _))| (our != *their).then_some(key);
    ours.into_iter().zip(theirs).filter_map(differs).collect()
}
