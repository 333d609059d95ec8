//! Compares a bound of the brokers with the configuration.

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::Settings;
use crate::findings::Finding;

const BOUND: &str = "offset.metadata.max.bytes";

impl Settings {
    /// Whether a broker accepts commits as large as a worker makes them. If the broker does not
    /// tell its bound, there is no finding: few principals may ask for it, and most brokers have
    /// the default.
    pub async fn look_at_commit_bound(&self) -> Option<Finding> {
        let settings = self.clone();
        let broker = tokio::task::spawn_blocking(move || settings.any_broker()).await.ok()??;
        let admin: AdminClient<DefaultClientContext> = self.client().create().ok()?;
        let options = AdminOptions::new().request_timeout(Some(self.request_timeout));
        let asked = [ResourceSpecifier::Broker(broker)];
        let described = admin.describe_configs(&asked, &options).await.ok()?;
        let configuration = described.into_iter().next()?.ok()?;
        let bound = configuration.get(BOUND)?.value.as_deref()?.parse().ok()?;
        too_little(bound, self.offset_metadata_max_bytes)
    }

    fn any_broker(&self) -> Option<i32> {
        let consumer = self.quiet_consumer("read_committed").ok()?;
        let metadata = self.ask(&consumer, &self.input_topic).ok()?;
        metadata.brokers().first().map(rdkafka::metadata::MetadataBroker::id)
    }
}

fn too_little(bound: usize, configured: usize) -> Option<Finding> {
    (bound < configured).then(|| {
        let sentence = format!(
            "the brokers' {BOUND} is {bound}, less than this ({configured}): they would refuse \
             a longer commit, and the worker would stop; lower this, or raise that on all \
             brokers"
        );
        Finding::wrong("kafka.offset_metadata_max_bytes", sentence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_would_refuse_a_commit_are_told() {
        assert_eq!(too_little(4_096, 4_096), None);
        let finding = too_little(1_024, 4_096).expect("a fault");
        assert!(finding.sentence().contains("offset.metadata.max.bytes is 1024"), "{finding:?}");
    }
}
