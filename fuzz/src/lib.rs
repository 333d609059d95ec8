//! What every fuzz target does with its bytes: no reader may panic, guess a level, or find a
//! verdict where the status is no success.

use std::sync::OnceLock;

use claimgate::claim::Claim;
use claimgate::decision::{Decision, Assessment};
use claimgate::risk::{Answer, ApiResult, Registry, Shared, tencent_cloud, wechat};
use config::{Config, File, FileFormat};

fn registry(api: &str, keys: &str) -> Registry {
    let toml = format!(
        "[tencent_cloud]\nsecret_id = 'id'\nsecret_key = 'key'\n[wechat]\napp_id = 'wx'\n\
         app_secret = 'secret'\n[risk.{api}]\n{keys}"
    );
    let config = Config::builder().add_source(File::from_str(&toml, FileFormat::Toml)).build().expect("TOML");
    let shared = Shared {
        tencent_cloud: config.get::<tencent_cloud::Settings>("tencent_cloud").expect("read").into(),
        wechat: config.get::<wechat::Settings>("wechat").expect("read").into(),
        transient_codes: vec![4, 5, 6, 7, 8, 9, 10, 13],
    };
    let sections = config.get_table("risk").expect("read").into_iter().collect();
    Registry::new(sections, &shared).unwrap_or_else(|error| panic!("{error}"))
}

/// One risk API's reader. A target reads for one API, so that one registry is enough.
pub fn reader(api: &str, keys: &str, body: &[u8]) {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    let registry = REGISTRY.get_or_init(|| registry(api, keys));
    let (_, route) = registry.iter().next().expect("one API");
    let policy = registry.policy(Decision::Review);
    for status in [200, 400, 403] {
        let reading = route.api.read(&Answer { status, body });
        let ApiResult::Assessed { assessment, .. } = &reading else { continue };
        if let Assessment::Level { level, .. } = assessment {
            assert!(status == 200 && Some(*level) <= route.api.registration().highest_level());
        }
        policy.rule(route.api.name(), assessment, |code| route.api.risk_type(code));
    }
}

/// The reader of the access token's answers.
pub fn access_token(body: &[u8]) {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    let registry = REGISTRY.get_or_init(|| registry("wechat_account", ""));
    let (_, source) = registry.token_sources().next().expect("an API that needs a token");
    if let Ok(token) = source.read_token(&Answer { status: 200, body }) {
        assert!(!token.expires_in.is_zero());
    }
}

/// The reader of claim events.
pub fn claim_event(body: &[u8]) {
    if let Ok(claim) = Claim::parse(Some(body), 1 << 20) {
        claim.fingerprint();
    }
}
