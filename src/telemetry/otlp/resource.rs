//! The resource that telemetry names: the service, its process, its host and, in Kubernetes, its
//! pod.
//!
//! The library's detectors are not used: they run the program `hostname`, send the command line,
//! and call any host a pod.

use std::env;
use std::fs::read_to_string;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};

/// The namespace of the pod, as Kubernetes puts it into each container.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const OS_RELEASE: &str = "/proc/sys/kernel/osrelease";

/// The resource. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over what is detected.
pub(in crate::telemetry) fn resource(service_instance: &str) -> Resource {
    let environment = |key: &str| env::var(key).ok().filter(|value| !value.is_empty());
    let resource = Resource::builder_empty()
        .with_service_name("claimgate")
        .with_attributes(attributes(service_instance, environment, content))
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match environment("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// The content of a file of one line.
fn content(path: &str) -> Option<String> {
    let text = read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What is known of the process and its surroundings.
fn attributes(
    service_instance: &str,
    environment: impl Fn(&str) -> Option<String>,
    content: impl Fn(&str) -> Option<String>,
) -> Vec<KeyValue> {
    let path = env::current_exe().ok();
    let file = path.as_ref().and_then(|path| path.file_name());
    let host = content(HOST_NAME).or_else(|| environment("HOSTNAME"));
    let known = [
        ("service.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("service.instance.id", Some(service_instance.to_owned())),
        ("host.name", host.clone()),
        ("host.arch", Some(arch(env::consts::ARCH).to_owned())),
        ("os.type", Some(os(env::consts::OS).to_owned())),
        ("os.version", content(OS_RELEASE)),
        ("process.executable.name", file.map(|name| name.to_string_lossy().into_owned())),
        ("process.executable.path", path.as_ref().map(|path| path.to_string_lossy().into_owned())),
        ("process.runtime.name", Some("rust".to_owned())),
    ];
    let known = known.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?)));
    let pid = KeyValue::new("process.pid", i64::from(std::process::id()));
    known.chain([pid]).chain(pod(host, environment, content)).collect()
}

/// The pod: from the variables that OpenTelemetry's Kubernetes operator sets as well, or else from
/// the host's name, which in Kubernetes is the pod's.
fn pod(
    host: Option<String>,
    environment: impl Fn(&str) -> Option<String>,
    content: impl Fn(&str) -> Option<String>,
) -> Vec<KeyValue> {
    if environment("KUBERNETES_SERVICE_HOST").is_none() {
        return Vec::new();
    }
    let given = |what: &str| environment(&format!("OTEL_RESOURCE_ATTRIBUTES_{what}"));
    let known = [
        ("k8s.pod.name", given("POD_NAME").or(host)),
        ("k8s.pod.uid", given("POD_UID")),
        ("k8s.node.name", given("NODE_NAME")),
        ("k8s.namespace.name", given("NAMESPACE_NAME").or_else(|| content(NAMESPACE))),
    ];
    known.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))).collect()
}

/// The name of this architecture in OpenTelemetry's conventions.
fn arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "x86",
        other => other,
    }
}

/// The same for the operating system.
fn os(rust: &str) -> &str {
    match rust {
        "macos" => "darwin",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_says_whose_it_is() {
        let resource = resource("worker-1");
        let value = |key: &'static str| resource.get(&key.into()).map(|value| value.to_string());
        assert_eq!(value("service.name").as_deref(), Some("claimgate"));
        assert_eq!(value("service.instance.id").as_deref(), Some("worker-1"));
        assert_eq!(value("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(value("process.pid"), Some(std::process::id().to_string()));
        for key in ["host.arch", "os.type", "process.executable.name"] {
            assert!(value(key).is_some_and(|value| !value.is_empty()), "{key}");
        }
        assert_eq!(value("process.command_args"), None, "it may hold what is nobody's business");
    }

    #[test]
    fn a_host_whose_name_is_hidden_is_named_by_the_unit() {
        let unit = include_str!("../../../deploy/systemd/claimgate.service");
        let line = unit.lines().find_map(|line| line.strip_prefix("Environment=HOSTNAME="));
        let environment = |key: &str| line.filter(|_| key == "HOSTNAME").map(str::to_owned);
        let known = attributes("worker-1", environment, |_| None);
        let host = known.iter().find(|attribute| attribute.key.as_str() == "host.name");
        assert_eq!(host.map(|host| host.value.to_string()).as_deref(), Some("%H"));
    }

    fn of_pod(variables: &[(&str, &str)]) -> Vec<String> {
        let environment = |key: &str| {
            let found = variables.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| (*value).to_owned())
        };
        let content = |path: &str| (path == NAMESPACE).then(|| "rewards".to_owned());
        let pod = pod(Some("claimgate-0".to_owned()), environment, content);
        pod.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect()
    }

    #[test]
    fn a_pod_is_known_where_there_is_one() {
        let (inside, node) =
            (("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("OTEL_RESOURCE_ATTRIBUTES_NODE_NAME", "n1"));
        assert_eq!(of_pod(&[node]), [""; 0]);
        assert_eq!(of_pod(&[inside]), ["k8s.pod.name=claimgate-0", "k8s.namespace.name=rewards"]);
        let named = ("OTEL_RESOURCE_ATTRIBUTES_POD_NAME", "pod-7");
        let all = ["k8s.pod.name=pod-7", "k8s.node.name=n1", "k8s.namespace.name=rewards"];
        assert_eq!(of_pod(&[inside, node, named]), all);
    }
}
