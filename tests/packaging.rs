//! What builds and packages claimgate agrees with itself: versions, and what goes into an image.

use std::fs;

/// A file of the repository.
fn text(name: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).expect(&path)
}

/// The patterns of a file such as `.gitignore`.
fn patterns(name: &str) -> Vec<String> {
    let lines = text(name);
    let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The value of the first line that begins so, without quotation marks.
fn value(name: &str, start: &str) -> String {
    let text = text(name);
    let rest = text.lines().find_map(|line| line.strip_prefix(start));
    rest.expect(start).trim_matches('"').to_owned()
}

#[test]
fn an_image_is_built_without_what_git_ignores() {
    // Secrets of docs/getting-started.md among them: they would be in the layers of the build.
    let left_out = patterns(".dockerignore");
    let is_left_out = |path: &str| {
        left_out.iter().any(|folder| {
            path.strip_prefix(folder.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let sent: Vec<_> =
        patterns(".gitignore").into_iter().filter(|path| !is_left_out(path)).collect();
    assert_eq!(sent, Vec::<String>::new());
}

#[test]
fn a_secret_of_the_documentation_is_made_where_git_ignores_it() {
    // And so is in no image, by the test above.
    let ignored = patterns(".gitignore");
    let is_ignored = |file: &str| {
        let mut folders = ignored.iter().filter_map(|pattern| pattern.strip_prefix('/'));
        folders.any(|folder| file.starts_with(&format!("{folder}/")))
    };
    let mut made = 0;
    for page in fs::read_dir(format!("{}/docs", env!("CARGO_MANIFEST_DIR"))).expect("docs/") {
        let page = page.expect("a page").path();
        if page.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("text");
        let files = text.lines().filter_map(|line| line.split_once("openssl rand -hex 32 > "));
        for (_, file) in files {
            made += 1;
            assert!(is_ignored(file), "{}: {file}", page.display());
        }
    }
    assert!(made >= 3, "{made}");
}

#[test]
fn one_version_of_rust_and_of_claimgate_is_named_everywhere() {
    let rust = value("Cargo.toml", "rust-version = ");
    assert_eq!(value("rust-toolchain.toml", "channel = "), format!("{rust}.0"));
    let image = value("Dockerfile", "FROM rust:");
    assert!(image.starts_with(&format!("{rust}-")), "{image}");
    assert_eq!(
        value("deploy/helm/claimgate/Chart.yaml", "appVersion: "),
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn each_image_has_the_tls_library_that_its_program_is_linked_with() {
    let dockerfile = text("Dockerfile");
    for (stage, package) in [("simulator", "crates/simulator/Cargo.toml"), ("worker", "Cargo.toml")]
    {
        assert!(text(package).contains("native-tls"), "{package} has another TLS library");
        let start = format!("FROM debian:bookworm-slim AS {stage}\n");
        let (_, rest) = dockerfile.split_once(&start).expect(stage);
        let made = rest.split("\nFROM ").next().expect("what makes it");
        assert!(made.contains(" libssl3 "), "the image of the {stage} lacks libssl3");
    }
}

/// The cache of one build is there for the next, whose files may be older: another commit's program
/// would be in its image.
#[test]
fn an_image_has_the_program_of_its_own_sources() {
    let dockerfile = text("Dockerfile");
    let builds: Vec<_> =
        dockerfile.split("\nFROM ").filter(|stage| stage.contains("cargo build")).collect();
    assert_eq!(builds.len(), 2);
    for (stage, sources) in builds.iter().zip(["crates/simulator/src/*.rs", "src/*.rs"]) {
        let (before, _) = stage.split_once("cargo build").expect("it builds");
        assert!(before.contains("/build/target"), "it has a cache: {stage}");
        let touched = before.lines().find_map(|line| line.trim().strip_prefix("touch "));
        let touched = touched.expect("it touches its sources").trim_end_matches(" \\");
        assert!(touched.split(' ').any(|files| files == sources), "{touched}");
    }
}

/// Kubernetes would stop it after two minutes, and the migration would start again each time.
#[test]
fn a_worker_that_migrates_in_a_cluster_gets_the_time_for_it() {
    let template = text("deploy/helm/claimgate/templates/statefulset.yaml");
    let (_, probe) = template.split_once("startupProbe:").expect("it has one");
    let (probe, _) = probe.split_once("livenessProbe:").expect("behind it");
    let bound = "{{ else }}{{ div .Values.migration.timeoutSeconds 2 }}{{ end }}";
    assert!(probe.contains("periodSeconds: 2\n") && probe.contains(bound), "{probe}");
}

#[test]
fn a_build_in_this_folder_has_the_allocators_settings() {
    // Of .cargo/config.toml: they are in the environment of whatever cargo builds.
    assert!(option_env!("JEMALLOC_SYS_WITH_MALLOC_CONF").is_some_and(|text| !text.is_empty()));
}
