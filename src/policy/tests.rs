use super::*;
use crate::config::Config;
use crate::decision::Decision;

const EXAMPLES: &str = include_str!("../../config/policy-tests.toml");

/// The policy of a configuration without credentials.
fn policy(overrides: &str) -> (Registry, Policy) {
    Config::from_toml(overrides).expect("good").policy().expect("no credential is needed")
}

fn tried(overrides: &str, toml: &str) -> Trial {
    let (registry, policy) = policy(overrides);
    let cases = cases(toml, &registry).unwrap_or_else(|faults| panic!("{faults:?}"));
    try_cases(&cases, &registry, &policy)
}

fn faults(toml: &str) -> Vec<String> {
    cases(toml, &policy("").0).map(|_| ()).expect_err("faults")
}

fn case(keys: &str) -> String {
    format!("[[case]]\nname = \"it\"\n{keys}\n")
}

#[test]
fn the_documented_policy_is_the_default() {
    let trial = tried("", EXAMPLES);
    assert!(trial.failures.is_empty(), "{trial}");
    let cases = EXAMPLES.matches("[[case]]").count();
    let line = trial.to_string();
    assert!(
        line.starts_with(&format!("{cases} of {cases} cases come out as expected, ")),
        "{line}"
    );
    assert!(line.contains("policy sha256:") && line.lines().count() == 1, "{line}");
}

#[test]
fn the_examples_cover_every_level_and_every_effect() {
    let (registry, _) = policy("");
    let has = |api: &str, key: &str| {
        let mut cases = EXAMPLES.split("[[case]]");
        let (api, key) = (format!("\"{api}\""), format!("\n{key}\n"));
        cases.any(|case| case.contains(&api) && case.contains(&key))
    };
    for (_, route) in registry.iter() {
        let registration = route.api.registration();
        for level in 0..=registration.highest_level().unwrap_or_default() {
            let level = format!("level = {level}");
            let name = registration.name;
            let covered = has(name, &level) || has(registration.kind, &level);
            assert!(registration.highest_level().is_none() || covered, "{name}: {level}");
        }
    }
    for (code, name) in [(3, "invalid"), (4, "black"), (5, "white"), (104, "login"), (205, "ip")] {
        assert!(has("intelligent_qr_code", &format!("risk_types = [{code}]")), "{name}");
    }
}

#[test]
fn a_policy_that_decides_otherwise_is_told_case_by_case() {
    let other = "[risk.wechat_account.policy]\napprove = [0, 1]\nchallenge = []\nreview = [2]\n\
                 reject = [3]\n[retry]\non_unassessed = \"approve\"\n";
    let trial = tried(other, EXAMPLES);
    let expected = [
        "WeChat account, level 1: challenged: expected challenge, got approve (level 1)",
        "no API answered in time: reviewed: expected review (unassessed), got approve (unassessed \
         timeout)",
    ];
    assert_eq!(trial.failures, expected);
    assert!(trial.to_string().starts_with("FAIL WeChat account, level 1"), "{trial}");
}

#[test]
fn reasons_are_compared_where_they_are_given() {
    let level = |reasons: &str| {
        case(&format!("api = 'mini_program'\nlevel = 0\ndecision = 'approve'\nreasons = {reasons}"))
    };
    for good in ["['level']", "['level 0']"] {
        assert!(tried("", &level(good)).failures.is_empty(), "{good}");
    }
    for bad in ["[]", "['level 1']", "['level', 'risk_type']", "['level 0 x']", "['captcha']"] {
        assert_eq!(tried("", &level(bad)).failures.len(), 1, "{bad}");
    }
}

/// A reason without a value does not match a text with more behind its code.
#[test]
fn a_reason_is_the_one_that_is_written_or_the_example_fails() {
    let unassessed = |reason: &str| {
        case(&format!(
            "api = 'mini_program'\nunassessed = 'no_room'\ndecision = 'review'\n\
            reasons = ['{reason}']"
        ))
    };
    for good in ["unassessed", "unassessed no_room"] {
        assert!(tried("", &unassessed(good)).failures.is_empty(), "{good}");
    }
    for bad in
        ["unassessed nonsense", "unassessed 4", "unassessed 4 no_room", "unassessed no_room x"]
    {
        assert_eq!(tried("", &unassessed(bad)).failures.len(), 1, "{bad}");
    }
}

#[test]
fn what_decides_nothing_is_told_with_its_reason() {
    let toml = case("api = 'mini_program'\nprovider_code = 4100\ndecision = 'review'");
    let expected = "it: expected review, got none: the claim is asked about again \
                    (access_denied: bad_signature)";
    assert_eq!(tried("", &toml).failures, [expected]);
    let toml = case("api = 'mini_program'\nstatus = 503\nanswer = ''\ndecision = 'none'");
    assert!(tried("", &toml).failures.is_empty(), "HTTP 5xx is asked about again");
    let toml = case("api = 'mini_program'\nprovider_code = 4000\ndecision = 'none'");
    let transient = "[retry]\ntransient_codes = [4000]";
    assert!(tried(transient, &toml).failures.is_empty(), "retry.transient_codes counts");
}

#[test]
fn every_fault_of_a_file_names_the_case_and_the_key() {
    let toml = case("api = 'mini_program'\nlevle = 0\nlevel = 0\ndecision = 'aprove'")
        + &case("kind = 'qr_code'\nlevel = 'high'\nrisktypes = [1]\ndecision = 'approve'")
        + "[[case]]\nkind = 'qr_code'\nlevel = 0\ndecision = 'pay'\n";
    let faults = faults(&toml);
    for (start, key) in [
        ("case 1 (\"it\"): levle: ", "`levle`"),
        ("case 2 (\"it\"): level: ", "high"),
        ("case 2 (\"it\"): risktypes: ", "`risktypes`"),
        ("case 3: ", "name"),
    ] {
        let named = |fault: &&String| fault.starts_with(start) && fault.contains(key);
        assert!(faults.iter().find(named).is_some(), "{start}: {faults:#?}");
    }
}

#[test]
fn a_case_that_cannot_be_meant_is_refused() {
    for (keys, words) in [
        ("api = 'x'\nlevel = 0\ndecision = 'approve'", "api: \"x\" is not served; there are "),
        ("kind = 'x'\nlevel = 0\ndecision = 'approve'", "kind: \"x\" is not served; there are "),
        ("level = 0\ndecision = 'approve'", "api, kind: "),
        ("api = 'mini_program'\ndecision = 'approve'", "one of them must be given"),
        ("api = 'mini_program'\nlevel = 0\nticket = 'valid'\ndecision = 'approve'", "one of them"),
        ("api = 'mini_program'\nlevel = 5\ndecision = 'approve'", "the highest that mini_program"),
        ("api = 'captcha_check'\nlevel = 0\ndecision = 'approve'", "captcha_check gives no level"),
        ("api = 'mini_program'\nlevel = 0\nstatus = 200\ndecision = 'approve'", "status: "),
        (
            "api = 'captcha_check'\nticket = 'valid'\nrisk_types = [1]\ndecision = 'approve'",
            "level",
        ),
        ("api = 'mini_program'\nunassessed = 'x'\ndecision = 'review'", "unassessed: \"x\""),
        ("api = 'mini_program'\nlevel = 0\ndecision = 'pay'", "approve, challenge, review, reject"),
    ] {
        let faults = faults(&case(keys));
        assert!(faults.len() == 1 && faults[0].starts_with("case 1 (\"it\"): "), "{faults:?}");
        assert!(faults[0].contains(words), "{keys}: {faults:?}");
    }
}

#[test]
fn a_file_that_tests_nothing_is_refused() {
    for toml in ["", "case = 3", "[case]\nname = 'x'"] {
        assert!(
            faults(toml).iter().any(|fault| fault.contains("nothing would be tested")),
            "{toml}"
        );
    }
    assert!(faults("cases = []")[0].contains("cases: unknown key"));
    assert_eq!(faults("[[case]\n").len(), 1, "no TOML: one line");
}

#[test]
fn the_policy_is_shown_whole() {
    let (registry, policy) = policy("");
    let shown = |json| {
        let mut out = Vec::new();
        show::write(&registry, (&policy, None), json, &mut out).expect("written");
        String::from_utf8(out).expect("text")
    };
    let text = shown(false);
    assert!(text.contains(policy.version()), "{text}");
    let config = Config::from_toml("[policy.shadow]\non_unassessed = \"reject\"").expect("good");
    let shadow = config.shadow(&policy).expect("there is one");
    let mut out = Vec::new();
    show::write(&registry, (&policy, Some(&shadow)), false, &mut out).expect("written");
    let beside = String::from_utf8(out).expect("text");
    assert!(beside.contains(&format!("In shadow          {}", shadow.version())), "{beside}");
    let row = "| wechat_account      | wechat_account   | 0       | 1         | 2      | 3      |";
    assert!(text.contains(row), "{text}");
    let document: serde_json::Value = serde_json::from_str(&shown(true)).expect("one document");
    assert_eq!(document["policy_version"], policy.version());
    assert_eq!(document["on_unassessed"], Decision::Review.as_str());
    let apis = document["apis"].as_array().expect("a list");
    let api = apis.iter().find(|api| api["api"] == "intelligent_qr_code").expect("it serves");
    assert_eq!(api["levels"]["reject"], serde_json::json!([3, 4]));
    assert_eq!(api["kinds"], serde_json::json!(["qr_code"]));
    let blacklist = serde_json::json!(
        {"code": 4, "name": "blacklist", "group": "account", "effect": "rejects"}
    );
    assert!(api["risk_types"].as_array().expect("a list").contains(&blacklist), "{api}");
}
