use super::*;
use crate::findings::Severity;

fn look(given: &[(&str, &str)]) -> Vec<Finding> {
    look_at(given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The only finding about one variable.
fn sentence(name: &str, value: &str) -> String {
    let findings = look(&[(name, value)]);
    assert_eq!(findings.len(), 1, "{name}={value}: {findings:?}");
    assert!(findings[0].place == name && findings[0].remedy.is_some(), "{findings:?}");
    findings[0].to_string()
}

#[test]
fn what_is_not_honoured_is_told_with_what_happens_instead() {
    for (name, value, instead) in [
        ("OTEL_METRICS_EXPORTER", "console", "exported by OTLP alone"),
        ("OTEL_LOGS_EXPORTER", "console", "exported by OTLP alone"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "no span is exported"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "spans go to the collector by OTLP alone"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10", "no such limit"),
        ("OTEL_PROPAGATORS", "tracecontext,baggage", "as telemetry.baggage says"),
        ("OTEL_SDK_DISABLED", "yes", "counts as false"),
        ("OTEL_LOG_LEVEL", "debug", "telemetry.log"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem", "system's authorities"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/etc/key.pem", "no certificate is shown"),
        ("OTEL_TRACES_SAMPLER", "always_on", "spans are not exported"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000", "spans are not exported"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "10", "spans are not exported"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000", "spans are not exported"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "nothing is exported"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000", "nothing is exported"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "nothing is exported"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true", "nothing is exported"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000", "metrics are not exported"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "1000", "log lines are not exported"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1000", "metrics are not exported"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc", "log lines are not exported"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on", "no exemplars"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "3", "no such limit"),
        ("OTEL_CONFIG_FILE", "otel.yaml", "no such file is read"),
        ("OTEL_RESOURCE_ATTRIBUTES", "env:prod", "1 of 1 entries"),
    ] {
        let told = sentence(name, value);
        assert!(told.starts_with("warn "), "{told}");
        assert!(told.contains(&format!("{value:?}")) && told.contains(instead), "{told}");
    }
}

/// The same where everything is exported.
#[test]
fn what_is_not_honoured_of_an_export_is_told() {
    let exporters = ["TRACES", "METRICS", "LOGS"].map(|signal| format!("OTEL_{signal}_EXPORTER"));
    for (name, value, instead) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "exported by http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp", "exported by http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "nonsense", "parentbased_always_on is used"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote", "parentbased_always_on is used"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5", "the sampler parentbased_always_on takes none"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "abc", "16384 is used"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "16384 is used"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", "512 is used"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s", "5000 is used"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1s", "10000 is used"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "10000 is used"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many", "the limit is 1024"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "many", "the limit is 128"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true", "in the endpoint"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m", "60000 is used"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "0", "10000 is used"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sum", "cumulative is used"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
            "the buckets that /metrics has",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "udp", "metrics are exported by http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "10s", "10000 is used"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0", "2048 is used"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "all", "512 is used"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "1s", "1000 is used"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "30s", "10000 is used"),
    ] {
        let exporters = exporters.iter().map(|name| (name.as_str(), "otlp"));
        let given: Vec<_> = exporters.chain([(name, value)]).collect();
        let findings = look(&given);
        assert_eq!(findings.len(), 1, "{name}={value}: {findings:?}");
        assert!(findings[0].to_string().contains(instead), "{findings:?}");
    }
}

/// Otherwise people would find out from a bill, or from a collector that understands nothing.
#[test]
fn an_unknown_compression_prevents_the_start() {
    let severity = |given: &[(&str, &str)]| look(given).first().map(|finding| finding.severity);
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    let (all, own) = ("OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION");
    for value in ["zstd", "gzip9", "true"] {
        assert_eq!(severity(&[collector, (all, value)]), Some(Severity::Wrong));
        assert_eq!(severity(&[collector, (own, value)]), Some(Severity::Wrong));
        assert_eq!(severity(&[collector, (all, value), (own, "gzip")]), None);
        assert_eq!(severity(&[(all, value)]), Some(Severity::Warning), "nothing is sent");
    }
    let of_logs = ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "zstd");
    assert_eq!(severity(&[of_logs]), Some(Severity::Warning), "nothing of them is sent");
    assert_eq!(severity(&[of_logs, ("OTEL_LOGS_EXPORTER", "otlp")]), Some(Severity::Wrong));
}

#[test]
fn what_counts_is_not_told() {
    let good = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, c=d"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp, prometheus"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("OTEL_SERVICE_NAME", "claims"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,k8s.pod.name=$(POD)"),
        ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "claimgate-0"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1000"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "0"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_SDK_DISABLED", "False"),
        ("OTEL_LOG_LEVEL", ""),
        ("PATH", "/bin"),
    ];
    assert_eq!(look(&good), []);
}

#[test]
fn a_ratio_that_is_none_is_told_with_what_it_counts_as() {
    for (value, counts_as) in [("abc", 1), ("2", 1), ("-0.5", 0), ("NaN", 0)] {
        let findings = look(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", value),
        ]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.ends_with(&format!("counts as {counts_as}")), "{findings:?}");
    }
}

#[test]
fn the_variable_of_traces_wins_over_that_of_all_signals() {
    let given = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "long"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "100"),
    ];
    assert_eq!(look(&given), []);
}

/// As the exporter does; see `otlp::tests::an_endpoint_that_is_wrong_ends_the_start`.
#[test]
fn an_endpoint_that_keeps_the_worker_from_starting_is_wrong() {
    let severity = |url: &str| {
        let findings = look(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
        findings.first().map(|finding| finding.severity)
    };
    assert_eq!(severity("http://collector:4318"), None);
    assert_eq!(severity("collector:4318"), Some(Severity::Wrong));
    assert_eq!(severity("http://coll ector"), Some(Severity::Wrong));
    assert_eq!(severity("ftp://collector"), Some(Severity::Warning));
    let unused = [("OTEL_EXPORTER_OTLP_ENDPOINT", "x y"), ("OTEL_TRACES_EXPORTER", "none")];
    assert_eq!(look(&unused), []);
    let findings = look(&[unused[0], ("OTEL_TRACES_EXPORTER", "none,console")]);
    let places: Vec<_> = findings.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["OTEL_TRACES_EXPORTER"], "{findings:?}");
}

#[test]
fn grpc_is_built_in_without_tls() {
    let severity = |url: &str, more: &[(&str, &str)]| {
        let given = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
        let findings = look(&[&given, more].concat());
        findings.first().map(|finding| finding.severity)
    };
    assert_eq!(severity("http://collector:4317", &[]), None);
    assert_eq!(severity("https://collector:4317", &[]), Some(Severity::Wrong));
    assert_eq!(severity("collector:4317", &[]), Some(Severity::Wrong), "the standard: with TLS");
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    assert_eq!(severity("collector:4317", &[insecure]), None);
    let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false");
    assert_eq!(severity("collector:4317", &[insecure, of_traces]), Some(Severity::Wrong));
}

#[test]
fn a_value_that_may_be_a_secret_is_not_shown() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: hunter2"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://user:hunter2@host"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "authorization=hunter2"),
        ("OTEL_EXPORTER_OTPL_HEADERS", "authorization=hunter2"),
    ] {
        let told = sentence(name, value);
        assert!(told.contains(name) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn a_header_that_is_not_sent_is_told() {
    let told = |headers: &str| {
        let given =
            [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", headers)];
        look(&given).into_iter().map(|finding| finding.message).collect::<Vec<_>>()
    };
    for good in ["api-key=a", "Authorization=Bearer%20a, x=b=c,"] {
        assert_eq!(told(good), Vec::<String>::new(), "{good}");
    }
    for (wrong, count) in [("api-key=", "1 of 1"), ("api key=a,b=c", "1 of 2"), ("=a,b", "2 of 2")]
    {
        let [told] = told(wrong).try_into().expect("one");
        assert!(told.contains(count), "{told}");
    }
}

#[test]
fn a_mistyped_variable_is_told() {
    assert!(sentence("OTEL_EXPORTER_OTPL_ENDPOINT", "x").contains("no such variable"));
}

#[test]
fn nothing_is_said_where_all_is_switched_off() {
    let given = [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_METRICS_EXPORTER", "otlp")];
    assert_eq!(look(&given), []);
    let given = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ];
    assert_eq!(look(&given), []);
}

/// The first line that matches counts, so a pattern must not come before a name that it covers.
#[test]
fn every_line_of_the_table_can_be_reached() {
    let covers = |earlier: &str, pattern: &str| match earlier.strip_suffix('*') {
        Some(start) => pattern.starts_with(start),
        None => earlier == pattern,
    };
    for (index, (pattern, _)) in VARIABLES.iter().enumerate() {
        let pattern = &pattern.replace(SIGNAL, Signal::Logs.word());
        let covers = |earlier: &str| covers(&earlier.replace(SIGNAL, Signal::Logs.word()), pattern);
        let covered = VARIABLES[..index].iter().find(|(earlier, _)| covers(earlier));
        assert!(covered.is_none(), "{pattern} is never reached");
    }
}

/// The variables that the page explains, as its table writes them.
#[test]
fn the_page_names_what_counts() {
    let page = include_str!("../../../docs/telemetry.md");
    for (name, with_use) in VARIABLES {
        let name = name.trim_end_matches("_*");
        if !matches!(with_use, Ignored(_) | IgnoredUnseen(_)) {
            assert!(page.contains(name), "docs/telemetry.md does not name {name}");
        }
    }
}
