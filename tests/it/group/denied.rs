//! The right to read is taken away from a worker, and given back.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::exactly_once::simulator;
use crate::lab::{Lab, services};
use crate::oracle::{Expected, outcome};
use crate::service::Service;

const SOON: Duration = Duration::from_secs(30);
/// Every principal may do everything except what is denied.
const AUTHORIZER: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
    allow.everyone.if.no.acl.found=true\n";
/// librdkafka's admin client, as rdkafka has it, knows no ACLs; Kafka's own does.
const ACLS: &str = r#"
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.resource.*;

class Acls {
    public static void main(String[] args) throws Exception {
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", args[0]))) {
            ResourcePattern topic = new ResourcePattern(ResourceType.TOPIC, args[1], PatternType.LITERAL);
            AclBinding all = rule(topic, AclOperation.ALL, AclPermissionType.ALLOW);
            AclBinding read = rule(topic, AclOperation.READ, AclPermissionType.DENY);
            if (args[2].equals("deny")) {
                admin.createAcls(List.of(all, read)).all().get();
            } else {
                admin.deleteAcls(List.of(read.toFilter())).all().get();
            }
        }
    }

    static AclBinding rule(ResourcePattern topic, AclOperation operation, AclPermissionType permission) {
        return new AclBinding(topic, new AccessControlEntry("User:ANONYMOUS", "*", operation, permission));
    }
}
"#;

fn acls(lab: &Lab, what: &str) {
    let source = lab.folder.path().join("Acls.java");
    std::fs::write(&source, ACLS).expect("written");
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka-jars");
    let version =
        std::fs::read_dir(jars).expect("the jars").flatten().next().expect("a version").path();
    let mut command = Command::new("java");
    command.arg("-cp").arg(version.join("*")).arg(source).args([
        &lab.kafka,
        &lab.topic("claims"),
        what,
    ]);
    let output = command.output().expect("java runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_may_not_read_is_not_ready() {
    let Some((_, postgres)) = services() else { return };
    let Some((kafka, bootstrap)) = Service::start("kafka.sh") else { return };
    let properties = Path::new(&kafka.path("server.properties")).to_owned();
    if !properties.exists() {
        return eprintln!("left out: a broker in Docker has no file of settings to be edited");
    }
    let mut properties =
        std::fs::OpenOptions::new().append(true).open(properties).expect("settings");
    properties.write_all(AUTHORIZER.as_bytes()).expect("written");
    kafka.run("restart");
    let lab = Lab::at("denied", simulator(), bootstrap, postgres).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port");
    let mut worker = lab.worker("dynamic-1", &format!("[http]\nlisten = \"{free}\""));
    let ready = async || match reqwest::get(format!("http://{free}/readyz")).await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    let mut expected = Expected::default();
    expected.produce(&lab, (0..12).map(|number| format!("before-{number}")));
    lab.wait("decided", SOON, async || expected.is_complete(&outcome(&lab))).await;
    acls(&lab, "deny");
    lab.wait("not ready", SOON, async || {
        ready().await.contains("does not let this principal read")
    })
    .await;
    // Written by the lab, whose right to write stays; read only after the right is back.
    acls(&lab, "allow");
    lab.wait("ready again", SOON, async || ready().await == "ok" || ready().await.trim() == "ok")
        .await;
    expected.produce(&lab, (0..12).map(|number| format!("after-{number}")));
    lab.wait("decided", SOON, async || expected.is_complete(&outcome(&lab))).await;
    let log = std::fs::read_to_string(lab.log("dynamic-1")).expect("the log");
    assert_eq!(log.matches("does not let this principal read").count(), 1, "once: {log}");
    assert_eq!(worker.stop().await, Some(0));
    expected.verify(&lab).await;
}
