use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        initial_interval: Duration::from_millis(100),
        multiplier: 2.0,
        max_interval: Duration::from_secs(5),
        in_process_for: Duration::from_secs(30),
        retry_after_max: Duration::from_secs(10),
        defer_interval: Duration::from_secs(60),
        defer_max_interval: Duration::from_secs(3_600),
        give_up_after: Duration::from_secs(86_400),
        max_waiting: 10,
        budget: budget::Settings { ratio: 0.1, per_second: 10.0, reserve: 100.0 },
        transient_codes: vec![],
        on_unassessed: Decision::Review,
    }
}

fn transient(again: RetryHint) -> ApiResult {
    ApiResult::Transient(Fault::coded(FaultReason::InternalError, 5), again)
}

fn context(now: Instant, seed: u32) -> Context {
    Context { now, seed, retry_after: None, max_attempts: None, seen: true }
}

proptest! {
    #[test]
    fn pauses_grow_within_their_interval_and_the_total_time(seeds in prop::collection::vec(any::<u32>(), 1..2_000)) {
        let (settings, start) = (settings(), Instant::now());
        let (mut retry, mut now) = (Retry::default(), start);
        for (index, seed) in seeds.into_iter().enumerate() {
            retry.begin(now);
            let most = settings.max_interval.min(settings.initial_interval * 2_u32.saturating_pow(u32::try_from(index).unwrap()).min(1_000));
            match retry.after(&settings, transient(RetryHint::Backoff), &context(now, seed)).1 {
                Step::RetryAt(at) => {
                    prop_assert!(at - now <= most, "pause {index}: {:?} > {most:?}", at - now);
                    prop_assert!(at - start <= settings.in_process_for);
                    now = at;
                }
                Step::Defer(_) => {
                    prop_assert!(now - start + most > settings.in_process_for, "deferred too early");
                    break;
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

#[test]
fn a_verdict_and_a_refusal_end_the_claim() {
    let mut retry = Retry::default();
    let now = Instant::now();
    let assessment = Assessment::Level { level: 0, risk_types: vec![] };
    let verdict = ApiResult::Assessed { assessment: assessment.clone(), provider_code: 0 };
    let assessed = (CallHealth::Well, Step::Assessed(assessment, 0));
    assert_eq!(retry.after(&settings(), verdict, &context(now, 0)), assessed);
    let fault = Fault::coded(FaultReason::BadOpenid, 2);
    assert_eq!(
        retry.after(&settings(), ApiResult::Unassessable(fault), &context(now, 0)),
        (CallHealth::Well, Step::Unassessable(fault))
    );
}

#[test]
fn a_new_nonce_and_a_new_token_are_tried_once_each_at_once() {
    let (settings, now) = (settings(), Instant::now());
    let mut retry = Retry::default();
    retry.begin(now);
    for again in [RetryHint::FreshSignature, RetryHint::NewToken] {
        assert_eq!(
            retry.after(&settings, transient(again), &context(now, u32::MAX)).1,
            Step::RetryAt(now),
            "{again:?}"
        );
        let (_, second) = retry.after(&settings, transient(again), &context(now, u32::MAX));
        assert!(matches!(second, Step::RetryAt(at) if at > now), "{again:?}: {second:?}");
    }
}

#[test]
fn a_first_refused_signature_or_token_does_not_hurt_the_api() {
    let (settings, now) = (settings(), Instant::now());
    for (again, reason) in [
        (RetryHint::FreshSignature, FaultReason::RequestExpired),
        (RetryHint::NewToken, FaultReason::BadAccessToken),
    ] {
        let mut retry = Retry::default();
        let mut health = || retry.after(&settings, transient(again), &context(now, 0)).0;
        assert_eq!(
            [health(), health(), health()],
            [CallHealth::Pending, CallHealth::Repeated, CallHealth::Repeated]
        );
        let mut deferred = Retry::resumed(3, 0, Some(reason));
        let (health, step) = deferred.after(&settings, transient(again), &context(now, u32::MAX));
        assert_eq!(health, CallHealth::Repeated, "{again:?}: it was deferred for that very reason");
        assert_ne!(step, Step::RetryAt(now), "{again:?}: it has had its retry at once");
        let mut deferred = Retry::resumed(3, 0, Some(FaultReason::Http5xx));
        assert_eq!(
            deferred.after(&settings, transient(again), &context(now, 0)).0,
            CallHealth::Pending
        );
    }
    let mut retry = Retry::default();
    let healths = [RetryHint::Backoff, RetryHint::Lasting]
        .map(|again| retry.after(&settings, transient(again), &context(now, 0)).0);
    assert_eq!(healths, [CallHealth::Failing, CallHealth::AccessDenied]);
}

#[test]
fn a_denial_by_the_status_alone_may_be_about_one_claim() {
    let health = |fault: Fault| {
        let denied = ApiResult::AccessDenied(fault);
        Retry::default().after(&settings(), denied, &context(Instant::now(), 0)).0
    };
    assert_eq!(health(Fault::coded(FaultReason::NoPermission, 3)), CallHealth::AccessDenied);
    assert_eq!(health(FaultReason::Http4xx.into()), CallHealth::DeniedByStatus);
}

#[test]
fn on_unassessed_cannot_be_challenge() {
    let read = |word: &str| {
        let config =
            crate::config::Config::from_toml(&format!("[retry]\non_unassessed = \"{word}\""));
        config.map(|config| config.retry.on_unassessed).map_err(|error| error.to_string())
    };
    assert_eq!(read("reject"), Ok(Decision::Reject));
    let error = read("challenge").unwrap_err();
    assert!(
        error.contains("retry.on_unassessed: this is `approve`, `review` or `reject`"),
        "{error}"
    );
}

#[test]
fn retry_after_is_honoured_within_its_bound() {
    let (settings, now) = (settings(), Instant::now());
    for (asked, granted) in [(2, 2), (3_600, 10)] {
        let context = Context { retry_after: Some(Duration::from_secs(asked)), ..context(now, 0) };
        let (_, step) = Retry::default().after(&settings, transient(RetryHint::Backoff), &context);
        assert_eq!(step, Step::RetryAt(now + Duration::from_secs(granted)));
    }
}

#[test]
fn a_pause_that_a_code_requires_also_holds_for_deferral() {
    let (mut settings, now) = (settings(), Instant::now());
    let minute = Duration::from_secs(60);
    let after = |retry: &mut Retry, settings: &Settings| {
        retry.begin(now);
        retry.after(settings, transient(RetryHint::After(minute)), &context(now, 0))
    };
    let mut retry = Retry::default();
    let (health, step) = after(&mut retry, &settings);
    assert!(matches!(step, Step::Defer(_)), "longer than it may stay: {step:?}");
    assert_eq!((health, retry.not_before()), (CallHealth::Failing, Some(now + minute)));
    settings.in_process_for = minute;
    let mut retry = Retry::default();
    assert_eq!(after(&mut retry, &settings).1, Step::RetryAt(now + minute));
    retry.after(&settings, transient(RetryHint::Backoff), &context(now, 0));
    assert_eq!(retry.not_before(), None, "the last answer asked for nothing");
}

#[test]
fn a_claim_with_a_long_requested_pause_is_deferred_for_that_long() {
    let settings = Settings { in_process_for: Duration::from_secs(5), ..settings() };
    let (now, mut retry) = (Instant::now(), Retry::default());
    let asked = Some(Duration::from_secs(3_600));
    let context = Context { retry_after: asked, ..context(now, 0) };
    retry.begin(now);
    let (_, step) = retry.after(&settings, transient(RetryHint::Backoff), &context);
    assert!(matches!(step, Step::Defer(_)), "{step:?}");
    assert_eq!(retry.not_before(), Some(now + settings.retry_after_max));
}

#[test]
fn a_claim_is_deferred_for_longer_each_time_up_to_a_bound() {
    let settings = settings();
    let longest: Vec<u64> =
        (1..=8).map(|times| settings.defer_for(times, u32::MAX).as_secs()).collect();
    assert_eq!(longest, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    assert_eq!(settings.defer_for(1, 0).as_secs(), 30);
    let short = Settings { defer_max_interval: Duration::from_secs(2), ..settings.clone() };
    assert_eq!(short.longest_pause().as_secs(), 60, "an API may ask for a minute");
    assert_eq!(settings.defer_for(u32::MAX, u32::MAX).as_secs(), 3_600);
}

#[test]
fn attempts_before_the_deferral_count() {
    let now = Instant::now();
    let mut retry = Retry::resumed(1, 0, Some(FaultReason::Http5xx));
    let context = Context { max_attempts: Some(2), ..context(now, 0) };
    assert_eq!(retry.begin(now), 2);
    assert!(matches!(
        retry.after(&settings(), transient(RetryHint::Backoff), &context).1,
        Step::GiveUp(_)
    ));
}

#[test]
fn the_last_return_code_that_came_is_kept() {
    let (settings, now) = (settings(), Instant::now());
    let mut retry = Retry::resumed(3, 0, None).with_code(Some(13));
    let mut after = |fault: Fault| {
        retry.begin(now);
        retry.after(&settings, ApiResult::transient(fault), &context(now, 0));
        retry.code()
    };
    assert_eq!(after(FaultReason::Timeout.into()), Some(13), "no answer came");
    assert_eq!(after(Fault::coded(FaultReason::Busy, -1)), Some(-1));
}

#[test]
fn attempts_that_the_api_never_saw_do_not_count() {
    let (settings, now) = (settings(), Instant::now());
    let mut retry = Retry::resumed(7, 7, Some(FaultReason::Connect));
    for _ in 0..5 {
        retry.begin(now);
        let unseen = Context { max_attempts: Some(2), seen: false, ..context(now, 0) };
        let (_, step) = retry.after(&settings, transient(RetryHint::Backoff), &unseen);
        assert!(matches!(step, Step::RetryAt(_)), "{step:?}");
    }
    assert_eq!((retry.attempts(), retry.unseen()), (12, 12));
    let seen = Context { max_attempts: Some(2), ..context(now, 0) };
    let mut after = || {
        retry.begin(now);
        retry.after(&settings, transient(RetryHint::Backoff), &seen).1
    };
    assert!(matches!(after(), Step::RetryAt(_)), "the first that was seen");
    assert!(matches!(after(), Step::GiveUp(_)), "the second");
}

#[test]
fn an_answer_that_turns_the_call_away_uses_up_nothing() {
    let (settings, now) = (settings(), Instant::now());
    let fault = |reason| Fault::coded(reason, 1);
    let away = [
        ApiResult::AccessDenied(fault(FaultReason::BadSignature)),
        ApiResult::Transient(fault(FaultReason::InsufficientBalance), RetryHint::Lasting),
        ApiResult::Transient(fault(FaultReason::RequestReplayed), RetryHint::FreshSignature),
        ApiResult::Transient(fault(FaultReason::BadAccessToken), RetryHint::NewToken),
        ApiResult::transient(FaultReason::Http429),
    ];
    let mut retry = Retry::default();
    let bounded = Context { max_attempts: Some(1), ..context(now, 0) };
    for reading in away {
        retry.begin(now);
        let (_, step) = retry.after(&settings, reading, &bounded);
        assert!(matches!(step, Step::RetryAt(_)), "{step:?}");
    }
    assert_eq!((retry.attempts(), retry.unseen()), (5, 5));
    for looked in [FaultReason::Http5xx, FaultReason::Timeout, FaultReason::MalformedAnswer] {
        let mut retry = Retry::resumed(5, 5, None);
        retry.begin(now);
        let (_, step) = retry.after(&settings, ApiResult::transient(looked), &bounded);
        assert!(matches!(step, Step::GiveUp(_)), "{looked:?}: {step:?}");
    }
}

#[test]
fn an_api_may_bound_the_attempts() {
    let now = Instant::now();
    let mut retry = Retry::default();
    let context = Context { max_attempts: Some(2), ..context(now, 0) };
    assert_eq!(retry.begin(now), 1);
    assert!(matches!(
        retry.after(&settings(), transient(RetryHint::Backoff), &context).1,
        Step::RetryAt(_)
    ));
    assert_eq!(retry.begin(now), 2);
    assert!(matches!(
        retry.after(&settings(), transient(RetryHint::Backoff), &context).1,
        Step::GiveUp(_)
    ));
}
