//! Over HTTP.

use futures::future::join_all;

use super::*;

const PAGE: [&str; 4] = ["/", "/status.json", "/decisions.json", "/claims/a.json"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_decisions_and_stories_without_identities() {
    let Some((lab, viewer, mut worker)) = at_home("page", SimulatorOptions::default()).await else {
        return;
    };
    lab.produce(&[of_somebody("clm-1", ""), of_somebody(HOSTILE, "")]);
    let decided = async || viewer.json("/decisions.json").await.as_array().map_or(0, Vec::len);
    lab.wait("decisions", LONG, async || decided().await == 2).await;

    let decisions = viewer.json("/decisions.json").await;
    let row = &decisions.as_array().expect("rows")[1];
    assert_eq!(row["kind"], "qr_code", "{row}");
    assert_eq!(row["decision_in_force"], row["decision"], "{row}");

    let story = viewer.json(&story_of("clm-1")).await;
    let steps: Vec<_> = story["steps"].as_array().expect("steps").iter().collect();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().expect("a word")).collect();
    assert_eq!(names, ["received", "called", "decided", "recorded"], "{story}");
    assert_eq!(steps[1]["outcome"], "assessed");
    assert!(steps[1]["latency_ms"].as_f64().is_some_and(|latency| latency > 0.0), "{story}");
    assert!(steps[3]["seal"].is_i64(), "{story}");
    assert_eq!(story["claim"]["account_id"], "oPD***iw");
    assert_eq!(story["claim"]["network"], "121.14.96.0/24");
    assert_eq!(viewer.json(&story_of(HOSTILE)).await["claim_id"], HOSTILE);

    let report = async || viewer.json("/status.json").await;
    lab.wait("rates", LONG, async || report().await["seconds"].as_f64() > Some(0.5)).await;
    assert_eq!(report().await["workers"][0]["ready"], true);
    assert_eq!(report().await["apis"][0]["open_breakers"], 0);

    for path in ["/", "/status.json", "/decisions.json", &story_of("clm-1"), &story_of(HOSTILE)] {
        let (status, body) = viewer.told(path).await;
        assert_eq!(status, 200, "{path}");
        for secret in [OPENID, PHONE, ADDRESS, LOGIN].iter().chain(&SECRETS) {
            assert!(!body.contains(secret), "{path} shows {secret}: {body}");
        }
    }
    assert_eq!(worker.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_has_no_answer_is_told_why() {
    let Some((lab, viewer, mut worker)) = at_home("pageodd", SimulatorOptions::default()).await
    else {
        return;
    };
    let long = "é".repeat(129);
    for (id, status, words) in [
        ("nowhere", 404, "nothing about this claim"),
        (HOSTILE, 404, "nothing about this claim"),
        ("\0", 404, "nothing about this claim"),
        ("' or true; drop table verdicts; --", 404, "nothing about this claim"),
        (&long[2..], 404, "nothing about this claim"),
        (&long, 400, "128 characters"),
    ] {
        let (found, said) = viewer.told(&story_of(id)).await;
        assert!(found == status && said.contains(words), "{id}: {found} {said}");
        assert!(!said.contains('<'), "{said}");
    }
    assert_eq!(viewer.status("/claims/a", &[]).await, 404);
    let (status, _) = viewer.told(&format!("/claims/{}.json", "a".repeat(10_000))).await;
    assert_eq!(status, 400);
    let posted = viewer.client.post(format!("{}/decisions.json", viewer.base)).send().await;
    assert_eq!(posted.expect("an answer").status(), 405);

    for path in PAGE {
        let answer = viewer.get(path, &[]).await.expect("an answer");
        let header = |name: &str| answer.headers().get(name).and_then(|it| it.to_str().ok());
        let policy = header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(header("cache-control"), Some("no-store"), "{path}");
        // A name that was made to mean this machine; the orchestrator asks by any name.
        assert_eq!(viewer.status(path, &[("host", "evil.example")]).await, 403, "{path}");
    }
    assert_eq!(viewer.status("/livez", &[("host", "10.0.0.7:9464")]).await, 200);
    assert_eq!(viewer.status("/decisions.json", &[("sec-fetch-site", "cross-site")]).await, 403);

    // Many viewers share one connection.
    let paths: Vec<String> = (0..100).map(|number| story_of(&number.to_string())).collect();
    let asked = paths.iter().map(|path| viewer.status(path, &[]));
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|status| [404, 503].contains(status)), "{answers:?}");
    let at_most = 4 + 1;
    assert!(connections(&lab).await <= at_most, "postgres.max_connections is 4");

    // So do viewers that hang up while the database is slow.
    let mut slow = lab.database.begin().await.expect("a transaction");
    let lock = sqlx::query("lock table verdicts in access exclusive mode");
    lock.execute(&mut *slow).await.expect("locked");
    for path in &paths[..30] {
        drop(tokio::time::timeout(Duration::from_millis(20), viewer.status(path, &[])).await);
    }
    let open = connections(&lab).await;
    slow.rollback().await.expect("unlocked");
    assert!(open <= at_most, "{open}");
    assert!(viewer.is_ready().await);
    assert_eq!(worker.stop().await, Some(0));
}

/// The connections that claimgate has to the database.
async fn connections(lab: &Lab) -> i64 {
    let connections = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'claimgate'",
    );
    connections.fetch_one(&lab.database).await.expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elsewhere_than_on_this_machine_a_token_is_needed() {
    let Some(lab) = Lab::new("pagetoken").await else { return };
    let [open, closed] = [free_port(), free_port()];
    let listen = |port: u16| format!("[http]\nlisten = \"0.0.0.0:{port}\"\n");
    let file = lab.folder.path().join("page-token");
    std::fs::write(&file, TOKEN).expect("written");
    let given = format!("{}token = ''\ntoken_file = 'page-token'\n", listen(open));
    let mut workers = [lab.worker("w1", &given), lab.worker("w2", &listen(closed))];
    let [open, closed] = [open, closed].map(Viewer::of);
    lab.wait("readiness", LONG, async || open.is_ready().await && closed.is_ready().await).await;

    for path in PAGE {
        let (status, said) = closed.told(path).await;
        assert_eq!(status, 403, "{path}");
        assert!(said.contains("set http.token"), "{said}");
        let bearer = ("authorization", "Bearer ");
        assert_eq!(closed.status(path, &[bearer]).await, 403, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(closed.status(path, &[]).await, 200, "{path}");
        assert_eq!(open.status(path, &[]).await, 200, "{path}");
    }
    assert_eq!(open.status("/", &[]).await, 200, "it asks for the token");
    let with = |token: &str| format!("Bearer {token}");
    let [right, wrong] = [with(TOKEN), with(&TOKEN[1..])];
    for path in &PAGE[1..3] {
        assert_eq!(open.status(path, &[]).await, 401, "{path}");
        assert_eq!(open.status(path, &[("authorization", &wrong)]).await, 401, "{path}");
        assert_eq!(open.status(path, &[("authorization", &right)]).await, 200, "{path}");
    }
    let story = open.get(PAGE[3], &[]).await.expect("an answer");
    assert_eq!(story.headers()["www-authenticate"], "Bearer");
    assert_eq!(open.status(PAGE[3], &[("authorization", &right)]).await, 404);

    let next = TOKEN.replace('0', "9");
    std::fs::write(&file, &next).expect("written");
    let next = with(&next);
    let is_new = async || open.status("/status.json", &[("authorization", &next)]).await == 200;
    lab.wait("the new token", LONG, is_new).await;
    assert_eq!(open.status("/status.json", &[("authorization", &right)]).await, 401);
    for name in ["w1", "w2"] {
        let log = std::fs::read_to_string(lab.log(name)).expect("a log");
        assert!(!log.contains(TOKEN), "{log}");
    }
    for worker in &mut workers {
        assert_eq!(worker.stop().await, Some(0));
    }
}
