//! Keys and secrets, by every source.

use super::claimgate;

/// The one sentence with which `run` ends.
fn refusal(settings: &[(&str, &str)]) -> String {
    let output = claimgate("run", settings);
    let error = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && error.lines().count() == 1, "{error}");
    error
}

/// Whether the settings were taken: the start then ends at the database, which is nowhere.
fn is_taken(settings: &[(&str, &str)]) -> bool {
    let refusal = refusal(settings);
    refusal.contains("postgres.url")
        || !refusal.contains("configuration:") && panic!("an end of another kind: {refusal}")
}

#[test]
fn secrets_are_trimmed_or_refused() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().display().to_string();
    let keys = [
        ("TENCENT_CLOUD__SECRET_ID", "tencent_cloud.secret_id"),
        ("TENCENT_CLOUD__SECRET_KEY", "tencent_cloud.secret_key"),
        ("WECHAT__APP_ID", "wechat.app_id"),
        ("WECHAT__APP_SECRET", "wechat.app_secret"),
    ];
    for (variable, key) in keys {
        let (direct, by_file) =
            (format!("CLAIMGATE__{variable}"), format!("CLAIMGATE__{variable}_FILE"));
        for around in ["@\n", "\u{feff}@\r\n", " @ "] {
            let text = around.replace('@', "hunter2");
            std::fs::write(file.path(), &text).expect("written");
            assert!(is_taken(&[(&direct, &text)]), "{key} {around:?}");
            let empty = (direct.as_str(), "");
            assert!(is_taken(&[empty, (&by_file, &path)]), "{key}_file {around:?}");
        }
        for wrong in ["\"hunter2\"", "hunt er2", "'hunter2'"] {
            let refusal = refusal(&[(&direct, wrong)]);
            assert!(refusal.contains(key), "{wrong}: {refusal}");
        }
    }
}

#[test]
fn every_key_can_come_from_every_source() {
    for codes in ["4,5,6", "[4, 5, 6]", ""] {
        assert!(is_taken(&[("CLAIMGATE__RETRY__TRANSIENT_CODES", codes)]), "{codes:?}");
    }
    let levels = ["APPROVE", "CHALLENGE", "REVIEW", "REJECT"]
        .map(|list| format!("CLAIMGATE__RISK__INTELLIGENT_QR_CODE__POLICY__{list}"));
    let levels: Vec<(&str, &str)> =
        levels.iter().map(String::as_str).zip(["0", "1,2", "", "3,4"]).collect();
    assert!(is_taken(&levels), "a policy");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "hunter2\n").expect("written");
    let path = file.path().display().to_string();
    assert!(is_taken(&[("CLAIMGATE__KAFKA__PROPERTIES__SASL_PASSWORD_FILE", &path)]));
    let missing = refusal(&[("CLAIMGATE__KAFKA__PROPERTIES__SASL_PASSWORD_FILE", "/nowhere")]);
    assert!(missing.contains("kafka.properties.sasl.password_file"), "{missing}");
}

#[test]
fn review_low_what_cannot_work_is_refused() {
    for (key, value, named) in [
        ("RETRY__MAX_WAITING", "0", "retry.max_waiting"),
        ("RETRY__DEFER_INTERVAL", "0s", "retry.defer_interval"),
        ("KAFKA__RETRY_TOPIC", "reward.claims.dead-letter", "kafka.retry_topic"),
        ("KAFKA__GROUP_ID", "claimgate ", "kafka.group_id"),
        ("RISK__CAPTCHA_CHECK__TIMEOUT", "1m", "risk.captcha_check.timeout"),
        ("RISK__CAPTCHA_CHECK__CONCURRENCY", "0", "risk.captcha_check.concurrency"),
        (
            "RISK__CAPTCHA_CHECK__CONCURRENCY",
            "many",
            "risk.captcha_check.concurrency: this must be",
        ),
        ("RISK__CAPTCHA_CHECK__CONCURRENCY_MAX", "9", "concurrency_max: this needs concurrency"),
        ("RISK__CAPTCHA_CHECK__TIMEOUT", "0s", "risk.captcha_check.timeout"),
        ("RISK__CAPTCHA_CHECK__RATE_LIMIT", "NaN", "risk.captcha_check.rate_limit"),
        ("RISK__CAPTCHA_CHECK__RATE_LIMIT", "-1", "risk.captcha_check.rate_limit"),
        ("RETRY__BUDGET__PER_SECOND", "NaN", "retry.budget.per_second"),
        ("BREAKER__WINDOW", "0s", "breaker.window"),
        ("WORKER__DRAIN_TIMEOUT", "0s", "worker.drain_timeout"),
        ("RETRY__GIVE_UP_AFTER", "100000years", "retry.give_up_after"),
    ] {
        let variable = format!("CLAIMGATE__{key}");
        let refusal = refusal(&[(&variable, value)]);
        assert!(refusal.contains(named), "{key}={value}: {refusal}");
    }
}

/// The parser of TOML would print the line.
#[test]
fn a_secret_in_a_broken_file_is_not_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "[wechat]\napp_secret = \"hunter2\n").expect("written");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_claimgate"));
    let output =
        command.arg("--config").arg(&file).arg("check").env_clear().output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("broken.toml") && !error.contains("hunter2") && error.lines().count() == 1,
        "{error}"
    );
}
