use config::Environment;

use super::*;

pub(super) const CREDENTIALS: &str = "[tencent_cloud]\nsecret_id = \"id\"\nsecret_key = \"key\"\n\
    [wechat]\napp_id = \"wx\"\napp_secret = \"s\"\n";

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
    for (text, key) in [
        ("[kafka]\ntopik = \"x\"", "topik"),
        ("[kafkaa]\nx = 1", "kafkaa"),
        ("[worker]\nmax = 1", "max"),
    ] {
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
        ("[kafka]\nguarantee = \"at_most_once\"", "`exactly_once` or `at_least_once`"),
        ("[kafka]\nguarantee = 1", "kafka.guarantee"),
        ("[worker]\nmax_batch = 1.9", "worker.max_batch"),
        ("[worker]\nmax_batch = true", "worker.max_batch"),
        ("[retry]\ntransient_codes = [4.6, true]", "retry.transient_codes"),
        ("[retry]\nmultiplier = true", "retry.multiplier"),
        ("[postgres]\nmigrate = 1", "postgres.migrate"),
        ("[dead_letters]\nmax_ratio = 0.0", "dead_letters.max_ratio"),
        ("[dead_letters]\nmax_ratio = nan", "dead_letters.max_ratio"),
        ("[dead_letters]\nmax_replays = 0", "max_replays"),
        ("[dead_letters]\nprobe_every = \"0s\"", "probe_every"),
        ("[kafka]\ntransaction_timeout = \"1h\"", "kafka.transaction_timeout"),
        (
            "[kafka.properties]\n\"enable.auto.commit\" = \"true\"",
            "kafka.properties.enable.auto.commit",
        ),
        (
            "[kafka.properties]\ndelivery_report_only_error = \"true\"",
            "kafka.properties.delivery.report.only.error",
        ),
        (
            "[kafka.properties]\nisolation_level = \"read_uncommitted\"",
            "kafka.properties.isolation.level",
        ),
    ];
    for (text, key) in wrong {
        assert!(error(text).contains(key), "{}", error(text));
    }
}

#[test]
fn a_guarantee_is_said_as_it_is_written() {
    for word in ["exactly_once", "at_least_once"] {
        let config = Config::from_toml(&format!("[kafka]\nguarantee = \"{word}\"")).expect("good");
        assert_eq!(config.kafka.guarantee.as_str(), word);
    }
}

#[test]
fn librdkafka_properties_may_be_written_with_dots() {
    let config = Config::from_toml("[kafka.properties]\n\"security.protocol\" = \"SASL_SSL\"")
        .expect("good");
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
    let config =
        Config::from_toml(&format!("[wechat]\napp_secret_file = {:?}", file.path())).expect("good");
    use secrecy::ExposeSecret;
    assert_eq!(config.wechat.app_secret.expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(error("[wechat]\napp_secret_file = \"/nowhere\"").contains("wechat.app_secret_file"));
}

/// The configuration from a file with this TOML and an environment with these variables, in the
/// form in which the environment's source passes them on.
fn layered(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let given =
        environment.iter().map(|(key, value)| (format!("CLAIMGATE__{key}"), (*value).to_owned()));
    let source = Environment::with_prefix(PREFIX).prefix_separator("__").separator("__");
    let mut layers: Vec<_> =
        [DEFAULTS, toml].map(|text| read(File::from_str(text, FileFormat::Toml))).into();
    layers.push(read(source.source(Some(given.collect()))));
    Config::whole(Config::of(layers))
}

#[test]
fn every_key_can_come_from_the_environment() {
    for text in ["4,5,6", " 4, 5 ,6 ", "[4,5,6]", "[\"4\", 5, 6]"] {
        let config = layered("", &[("RETRY__TRANSIENT_CODES", text)]).expect("a list");
        assert_eq!(config.retry.transient_codes, [4, 5, 6], "{text}");
    }
    let none = layered("", &[("RETRY__TRANSIENT_CODES", "")]).expect("an empty list");
    assert!(none.retry.transient_codes.is_empty());
    let policy = ["APPROVE", "CHALLENGE", "REVIEW", "REJECT"]
        .map(|key| format!("RISK__INTELLIGENT_QR_CODE__POLICY__{key}"));
    let levels = ["0,1", "[2]", "", "3,4"];
    let environment: Vec<(&str, &str)> = policy.iter().map(String::as_str).zip(levels).collect();
    let config = layered(CREDENTIALS, &environment).expect("good");
    let (registry, _) = config.risk_apis().expect("the levels are whole");
    let id = registry.find("intelligent_qr_code").expect("it serves");
    let levels = registry.get(id).levels.clone().expect("levels");
    assert_eq!(
        (levels.approve, levels.challenge, levels.reject),
        (vec![0, 1], vec![2], vec![3, 4])
    );
    let scalars = [
        ("WORKER__MAX_BATCH", "7"),
        ("RETRY__MULTIPLIER", "3"),
        ("POSTGRES__MIGRATE", "false"),
        ("KAFKA__GUARANTEE", "at_least_once"),
    ];
    let config = layered("", &scalars).expect("texts");
    assert_eq!((config.worker.max_batch, config.retry.multiplier), (7, 3.0));
    assert!(!config.postgres.migrate && config.kafka.guarantee == kafka::Guarantee::AtLeastOnce);
    for (variable, text, key) in [
        ("WORKER__MAX_BATCH", "true", "worker.max_batch"),
        ("RETRY__TRANSIENT_CODES", "[4.6]", "retry.transient_codes"),
    ] {
        let named = layered("", &[(variable, text)]).expect_err("no number").to_string();
        assert!(named.contains(key), "{named}");
    }
    let named = layered("", &[("RETRY__TRANSIENT_CODES", "[4,")]).expect_err("no JSON").to_string();
    assert!(named.contains("retry.transient_codes"), "{named}");
    let named =
        layered("", &[("RETRY__TRANSIENT_CODES", "four")]).expect_err("no number").to_string();
    assert!(named.contains("retry.transient_codes"), "{named}");
}

#[test]
fn a_kafka_secret_can_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "\u{feff}hunter2\r\n").expect("written");
    let path = file.path().display().to_string();
    let quoted = format!("[kafka.properties]\n\"sasl.password_file\" = {path:?}");
    let underscored = format!("[kafka.properties]\nsasl_password_file = {path:?}");
    let from_environment = ("KAFKA__PROPERTIES__SASL_PASSWORD_FILE", path.as_str());
    for config in
        [layered(&quoted, &[]), layered(&underscored, &[]), layered("", &[from_environment])]
    {
        let config = config.expect("good");
        assert_eq!(config.kafka.client().get("sasl.password"), Some("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let missing = error("[kafka.properties]\n\"ssl.key.password_file\" = \"/nowhere\"");
    assert!(
        missing.contains("kafka.properties.ssl.key.password_file") && missing.contains("/nowhere"),
        "{missing}"
    );
}

#[test]
fn the_last_source_wins_whatever_its_spelling() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "from-file").expect("written");
    let path = file.path().display().to_string();
    use secrecy::ExposeSecret;
    let config = layered(
        &format!("[wechat]\napp_secret_file = {path:?}"),
        &[("WECHAT__APP_SECRET", "direct")],
    );
    assert_eq!(config.expect("good").wechat.app_secret.expose_secret(), "direct");
    let config = layered("[wechat]\napp_secret = 'direct'", &[("WECHAT__APP_SECRET_FILE", &path)]);
    assert_eq!(config.expect("good").wechat.app_secret.expose_secret(), "from-file");
    let config = layered(
        "[kafka.properties]\n\"client.rack\" = 'a'",
        &[("KAFKA__PROPERTIES__CLIENT_RACK", "b")],
    );
    assert_eq!(config.expect("good").kafka.client().get("client.rack"), Some("b"));
    let both = error(&format!("[wechat]\napp_secret = 'direct'\napp_secret_file = {path:?}"));
    assert!(both.contains("wechat.app_secret_file") && !both.contains("direct"), "{both}");
}

#[test]
fn secrets_are_trimmed_and_impossible_characters_refused() {
    use secrecy::ExposeSecret;
    let file = tempfile::NamedTempFile::new().expect("a file");
    for around in ["\u{feff}@\r\n", " @\t", "\n@\n\n", "@\u{a0}"] {
        let text = around.replace('@', "hunter2");
        std::fs::write(file.path(), &text).expect("written");
        let path = file.path().display().to_string();
        for environment in
            [("WECHAT__APP_SECRET", text.as_str()), ("WECHAT__APP_SECRET_FILE", &path)]
        {
            let config = layered("", &[environment]).expect("good");
            assert_eq!(config.wechat.app_secret.expose_secret(), "hunter2", "{around:?}");
        }
    }
    let keys = [
        ("WECHAT__APP_ID", "wechat.app_id"),
        ("WECHAT__APP_SECRET", "wechat.app_secret"),
        ("TENCENT_CLOUD__SECRET_ID", "tencent_cloud.secret_id"),
        ("TENCENT_CLOUD__SECRET_KEY", "tencent_cloud.secret_key"),
        ("TENCENT_CLOUD__TOKEN", "tencent_cloud.token"),
    ];
    for (variable, key) in keys {
        for value in ["\"hunter2\"", "'hunter2'", "hunter 2", "hunter\n2", "hunter2é", "“hunter2”"]
        {
            let refusal = layered("", &[(variable, value)]).expect_err(value).to_string();
            assert!(refusal.contains(key) && !refusal.contains("hunter"), "{refusal}");
        }
    }
    std::fs::write(file.path(), " \n").expect("written");
    let empty = error(&format!("[tencent_cloud]\nsecret_key_file = {:?}", file.path()));
    assert!(empty.contains("tencent_cloud.secret_key_file") && empty.contains("empty"), "{empty}");
    std::fs::write(file.path(), [0xff, 0xfe, b'h', 0]).expect("written");
    let utf_16 = error(&format!("[tencent_cloud]\nsecret_key_file = {:?}", file.path()));
    assert!(utf_16.contains("not UTF-8"), "{utf_16}");
}

#[test]
fn a_file_that_is_no_toml_is_told_without_its_lines() {
    let refusal = error("[wechat]\napp_secret = \"hunter2\n");
    assert!(
        !refusal.contains("hunter2") && refusal.contains("line 2") && refusal.lines().count() == 1,
        "{refusal}"
    );
}

/// Each of these was once accepted, and could not work.
#[test]
fn review_low_a_value_that_cannot_work_is_refused() {
    let wrong = [
        ("[retry]\nmax_waiting = 0", "retry.max_waiting"),
        ("[retry]\ndefer_interval = \"0s\"", "retry.defer_interval"),
        ("[retry]\ndefer_interval = \"2h\"", "retry.defer_interval"),
        ("[retry]\ndefer_max_interval = \"0s\"", "retry.defer_max_interval"),
        ("[retry]\ngive_up_after = \"0s\"", "retry.give_up_after"),
        ("[retry]\ngive_up_after = \"100000years\"", "retry.give_up_after"),
        ("[retry.budget]\nper_second = nan", "retry.budget.per_second"),
        ("[retry.budget]\nper_second = inf", "retry.budget.per_second"),
        ("[retry.budget]\nper_second = -1.0", "retry.budget.per_second"),
        ("[retry.budget]\nreserve = 0.5", "retry.budget.reserve"),
        ("[retry.budget]\nratio = nan", "retry.budget.ratio"),
        ("[breaker]\nfailure_ratio = 0.0", "breaker.failure_ratio"),
        ("[breaker]\nwindow = \"0s\"", "breaker.window"),
        ("[breaker]\naccess_denied_for = \"0s\"", "breaker.access_denied_for"),
        ("[breaker]\naccess_denied_for = \"10m\"", "breaker.access_denied_for"),
        ("[breaker]\naccess_denied_max = \"0s\"", "breaker.access_denied_max"),
        ("[breaker]\nopen_for = \"1m\"", "breaker.open_for"),
        ("[worker]\ndrain_timeout = \"0s\"", "worker.drain_timeout"),
        ("[worker]\ndrain_timeout = \"1day\"", "worker.drain_timeout"),
        ("[worker]\nmax_linger = \"2s\"", "worker.max_linger"),
        (
            "[kafka]\nretry_topic = \"reward.claims.dead-letter\"",
            "kafka.dead_letter_topic and kafka.retry_topic",
        ),
        ("[kafka]\noutput_topic = \"reward.claims\"", "kafka.output_topic and kafka.input_topic"),
        ("[kafka]\ninstance_id = \" \"", "kafka.instance_id"),
        ("[kafka]\ngroup_id = \"claimgate \"", "kafka.group_id"),
        ("[kafka]\nretry_topic = \"reward.claims.retry\\n\"", "kafka.retry_topic"),
        ("[kafka]\ninput_topic = \"reward\\u0000claims\"", "kafka.input_topic"),
        ("[kafka]\noutput_topic = \"reward/decisions\"", "kafka.output_topic"),
        ("[tencent_cloud]\nsigned_host = \"'csec.api.qcloud.com'\"", "tencent_cloud.signed_host"),
        ("[kafka]\nrequest_timeout = \"0s\"", "kafka.request_timeout"),
        ("[kafka]\nrequest_timeout = \"30days\"", "kafka.request_timeout"),
        ("[kafka]\nsession_timeout = \"2h\"", "kafka.session_timeout"),
        ("[worker]\nthreads = 100000", "worker.threads"),
        ("[kafka]\ntransaction_timeout = \"0s\"", "kafka.transaction_timeout"),
        ("[kafka]\nmax_message_bytes = 100", "kafka.max_message_bytes"),
        ("[kafka]\noffset_metadata_max_bytes = 63", "kafka.offset_metadata_max_bytes"),
        ("[kafka]\noffset_metadata_max_bytes = 32768", "kafka.offset_metadata_max_bytes"),
        ("[postgres]\nmax_connections = 0", "postgres.max_connections"),
        ("[postgres]\nstatement_timeout = \"0s\"", "postgres.statement_timeout"),
        ("[egress]\nproxy = \"socks5://proxy\"", "egress.proxy"),
        ("[egress]\nno_proxy = [\".internal\", \"*.example\"]", "egress.no_proxy: \"*.example\""),
        ("[egress]\nhttp2_connections = 65", "egress.http2_connections"),
        ("[http]\nlisten = \"nonsense\"", "http.listen"),
        ("[http]\nlisten = \"127.0.0.1\"", "http.listen"),
        ("[http]\nlisten = \":9464\"", "http.listen"),
        ("[http]\nlisten = \"http://127.0.0.1:9464\"", "http.listen"),
        ("[http]\nlisten = \"[::1]\"", "http.listen"),
        ("[http]\nlisten = \"127.0.0.1:70000\"", "http.listen"),
    ];
    for (text, key) in wrong {
        assert!(error(text).contains(key), "{text}: {}", error(text));
    }
}

#[test]
fn the_endpoints_may_be_at_any_address_or_none() {
    for listen in ["", "127.0.0.1:0", "0.0.0.0:9464", "[::1]:9464", "localhost:9464"] {
        let read = Config::from_toml(&format!("[http]\nlisten = {listen:?}"));
        assert_eq!(read.expect("good").http.listen, listen);
    }
}

#[test]
fn review_low_a_call_may_not_outlast_a_drain() {
    let text = format!("{CREDENTIALS}[risk.captcha_query]\ntimeout = \"11s\"");
    let refusal = Config::from_toml(&text)
        .expect("read later")
        .risk_apis()
        .err()
        .expect("too long")
        .to_string();
    assert!(
        refusal.contains("risk.captcha_query.timeout") && refusal.contains("worker.drain_timeout"),
        "{refusal}"
    );
}

#[test]
fn encrypted_evidence_requires_a_subject_key() {
    let encrypted = format!("{CREDENTIALS}[postgres]\nevidence_keys = \"{}\"\n", "0a".repeat(32));
    let config = Config::from_toml(&encrypted).expect("whoever asks nothing of it needs no key");
    let refusal = config.risk_apis().err().expect("refused").to_string();
    assert!(
        refusal.contains("audit.subject_key") && refusal.contains("evidence_keys"),
        "{refusal}"
    );
    let own = format!("{encrypted}[audit]\nsubject_key = \"own\"\n");
    assert!(Config::from_toml(&own).expect("read").risk_apis().is_ok());
}

/// Otherwise each start would report only one of them.
#[test]
fn all_faults_are_reported_at_once_without_consequences() {
    let text = "[worker]\nthreads = 0\nmax_in_flight = \"many\"\n\
                [kafka]\ntopik = 1\ngroup_id = \"a b\"\nsession_timeout = \"soon\"\n\
                transaction_timeout = \"30s\"\n\
                [wechat]\napp_secret = \"a b\"\n[retry]\ntransient_codes = \"[4,\"\n\
                [tencent_cloud]\nsecret_id_file = \"/nowhere\"";
    let error = Config::from_toml(text).expect_err("wrong");
    let said = error.to_string();
    assert!(said.lines().count() == 1 && said.contains("7 more"), "{said}");
    let mut places: Vec<String> =
        error.into_findings().into_iter().map(|fault| fault.place).collect();
    places.sort();
    let expected = [
        "kafka.group_id",
        "kafka.session_timeout",
        "kafka.topik",
        "retry.transient_codes",
        "tencent_cloud.secret_id_file",
        "wechat.app_secret",
        "worker.max_in_flight",
        "worker.threads",
    ];
    assert_eq!(places, expected);
}

#[test]
fn every_fault_of_the_risk_apis_is_found_at_once() {
    let text = "[risk.captcha_check]\ntimeout = \"0s\"\nconcurrency = 0\nticket_lifetime = \"0s\"\n\
                [risk.mini_program]\nfoo = 1\nbar = 2\n[risk.seventh]\n";
    let error = Config::from_toml(text).expect("read later").risk_apis().err().expect("wrong");
    let mut places: Vec<String> =
        error.into_findings().into_iter().map(|fault| fault.place).collect();
    places.sort();
    let expected = [
        "risk.captcha_check.concurrency",
        "risk.captcha_check.ticket_lifetime",
        "risk.captcha_check.timeout",
        "risk.mini_program.bar",
        "risk.mini_program.foo",
        "risk.seventh",
        "tencent_cloud.secret_id",
        "tencent_cloud.secret_key",
        "wechat.app_id",
        "wechat.app_secret",
    ];
    assert_eq!(places, expected);
}

#[test]
fn a_shadow_policy_inherits_what_it_does_not_set() {
    let shadow = |text: &str| {
        let config = Config::from_toml(&format!("{CREDENTIALS}{text}")).expect("read");
        let (_, in_force) = config.risk_apis().expect("good");
        (config.shadow(&in_force), in_force)
    };
    assert_eq!(shadow("").0, None);
    let (same, in_force) = shadow("[policy.shadow]");
    assert_eq!(same, Some(in_force.clone()));
    let wechat = "approve = []\nchallenge = []\nreview = [0, 1]\nreject = [2, 3]\n";
    let other = format!(
        "[policy.shadow]\non_unassessed = \"reject\"\n[policy.shadow.levels.wechat_account]\n\
        {wechat}"
    );
    let (other, _) = shadow(&other);
    let set =
        format!("[retry]\non_unassessed = \"reject\"\n[risk.wechat_account.policy]\n{wechat}");
    assert_eq!(other, Some(shadow(&set).1), "as if it had been put in force");
    let environment = ["APPROVE", "CHALLENGE", "REVIEW", "REJECT"]
        .map(|key| format!("POLICY__SHADOW__LEVELS__WECHAT_ACCOUNT__{key}"));
    let levels = ["", "", "0,1", "[2, 3]"];
    let mut environment: Vec<(&str, &str)> =
        environment.iter().map(String::as_str).zip(levels).collect();
    environment.push(("POLICY__SHADOW__ON_UNASSESSED", "reject"));
    let config = layered(CREDENTIALS, &environment).expect("good");
    assert_eq!(config.shadow(&in_force), other, "from the environment");
}

#[test]
fn a_policy_in_shadow_is_checked_as_the_one_in_force_is() {
    let levels = |api: &str, reject: &str| {
        let lists = "approve = [0]\nchallenge = [1]\nreview = [2]\nreject = ";
        format!("{CREDENTIALS}[policy.shadow.levels.{api}]\n{lists}{reject}\n")
    };
    let config = Config::from_toml(&levels("wechat_account", "[3]")).expect("read");
    assert!(config.risk_apis().is_ok());
    for (api, reject, said) in [
        ("wechat_account", "[]", "level 3 has no decision"),
        ("wechat_account", "[2, 3]", "level 2 has more than one decision"),
        ("wechat_account", "[3, 4]", "level 4 does not exist"),
        ("captcha_check", "[3]", "gives no levels"),
        ("wechat", "[3]", "no such risk API serves anything; there are captcha_check, "),
    ] {
        let config = Config::from_toml(&levels(api, reject)).expect("read");
        let message = config.risk_apis().err().expect("wrong").to_string();
        let key = format!("policy.shadow.levels.{api}: ");
        assert!(message.contains(&key) && message.contains(said), "{message}");
    }
    for (text, key) in [
        ("[policy]\nshadows = 1", "shadows"),
        ("[policy.shadow]\nlevel = 1", "level"),
        ("[policy.shadow]\non_unassessed = \"challenge\"", "policy.shadow.on_unassessed"),
        (&levels("wechat_account", "3"), "policy.shadow.levels.wechat_account.reject"),
    ] {
        assert!(error(text).contains(key), "{}", error(text));
    }
}
