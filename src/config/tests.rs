use super::*;

const CREDENTIALS: &str = "[tencent_cloud]\nsecret_id = \"id\"\nsecret_key = \"key\"\n[wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n";

fn error(overrides: &str) -> String {
    Config::from_toml(overrides).expect_err("wrong").to_string()
}

#[test]
fn the_defaults_are_whole_and_build_every_api() {
    let config = Config::from_toml(CREDENTIALS).expect("the defaults are good");
    let (registry, policy) = config.risk_apis().expect("every API builds");
    assert_eq!(
        registry.len(),
        config.risk.len(),
        "each section of the defaults is an API that serves something"
    );
    assert!(policy.version().starts_with("sha256:"));
}

#[test]
fn an_unknown_key_is_named() {
    for (text, key) in
        [("[kafka]\ntopik = \"x\"", "topik"), ("[kafkaa]\nx = 1", "kafkaa"), ("[worker]\nmax = 1", "max")]
    {
        assert!(error(text).contains(key), "{}", error(text));
    }
    let config = Config::from_toml(&format!("{CREDENTIALS}[risk.intelligent_qr_code]\nfoo = 1"))
        .expect("read by the API");
    let message = config.risk_apis().err().expect("unknown").to_string();
    assert!(message.contains("risk.intelligent_qr_code.foo"), "{message}");
}

#[test]
fn a_wrong_value_is_named_by_its_key() {
    let wrong = [
        ("[worker]\nmax_in_flight = \"many\"", "worker.max_in_flight"),
        ("[worker]\nmax_in_flight = 0", "worker.max_in_flight"),
        ("[retry]\nmax_interval = \"soon\"", "retry.max_interval"),
        ("[kafka]\nguarantee = \"at_most_once\"", "kafka.guarantee"),
        ("[dead_letters]\nmax_ratio = 0.0", "dead_letters.max_ratio"),
        ("[dead_letters]\nmax_ratio = nan", "dead_letters.max_ratio"),
        ("[dead_letters]\nmax_replays = 0", "max_replays"),
        ("[dead_letters]\nprobe_every = \"0s\"", "probe_every"),
        ("[kafka]\ntransaction_timeout = \"1h\"", "kafka.transaction_timeout"),
        ("[kafka.properties]\n\"enable.auto.commit\" = \"true\"", "kafka.properties.enable.auto.commit"),
        ("[kafka.properties]\nisolation_level = \"read_uncommitted\"", "kafka.properties.isolation_level"),
    ];
    for (text, key) in wrong {
        assert!(error(text).contains(key), "{}", error(text));
    }
}

#[test]
fn librdkafka_properties_may_be_written_with_dots() {
    let config = Config::from_toml("[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"").expect("good");
    assert_eq!(config.kafka.client().get("security.protocol"), Some("SASL_SSL"));
}

#[test]
fn a_missing_secret_is_named_by_its_key() {
    let config = Config::from_toml("").expect("good but for the secrets");
    let message = config.risk_apis().err().expect("no secrets").to_string();
    assert!(message.contains("tencent_cloud.secret_id"), "{message}");
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_never_printed() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "hunter2\n").expect("written");
    let config = Config::from_toml(&format!("[wechat]\napp_secret_file = {:?}", file.path())).expect("good");
    use secrecy::ExposeSecret;
    assert_eq!(config.wechat.app_secret.expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(error("[wechat]\napp_secret_file = \"/nowhere\"").contains("wechat.app_secret_file"));
}
