use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        failure_ratio: 0.5,
        min_calls: 10,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(1),
        open_max: Duration::from_secs(30),
        access_denied_for: Duration::from_secs(60),
        access_denied_max: Duration::from_secs(300),
        probes: 3,
    }
}

#[test]
fn a_call_that_went_well_opens_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    assert!(
        (0..9).all(|_| !breaker.ended(CallHealth::Failing, false, now)),
        "too few calls to judge by"
    );
    assert!(!breaker.ended(CallHealth::Well, false, now));
    assert_eq!(breaker.permit(now), Permit::Granted);
    assert!(breaker.ended(CallHealth::Failing, false, now), "ten of eleven");
}

fn state(breaker: &Breaker) -> (bool, bool) {
    (breaker.open_since().is_some(), breaker.is_denied())
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(settings(), now);
    for _ in 0..10 {
        breaker.ended(CallHealth::Failing, false, now);
    }
    assert_eq!(state(&breaker), (true, false));
    breaker
}

#[test]
fn it_opens_at_the_ratio_and_not_before_there_were_enough_calls() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    for _ in 0..9 {
        assert!(!breaker.ended(CallHealth::Failing, false, now));
    }
    assert!(breaker.ended(CallHealth::Failing, false, now), "the tenth");
    let mut breaker = Breaker::new(settings(), now);
    for call in 0..1_000 {
        let health = if call % 5 < 2 { CallHealth::Failing } else { CallHealth::Well };
        breaker.ended(if call < 10 { CallHealth::Well } else { health }, false, now);
    }
    assert_eq!(state(&breaker), (false, false), "two fifths are not half");
}

#[test]
fn an_old_window_is_forgotten() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    for _ in 0..9 {
        breaker.ended(CallHealth::Failing, false, now);
    }
    assert!(!breaker.ended(CallHealth::Failing, false, now + Duration::from_secs(11)));
}

#[test]
fn one_probe_at_a_time_and_enough_of_them_close_it() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert_eq!(breaker.permit(now), Permit::NotBefore(now + Duration::from_secs(1)));
    let later = now + Duration::from_secs(1);
    for _ in 0..3 {
        assert_eq!(breaker.permit(later), Permit::Probe);
        breaker.called();
        assert_eq!(breaker.permit(later), Permit::Full);
        assert!(
            !breaker.ended(CallHealth::Failing, false, later),
            "a call that was sent before says nothing"
        );
        breaker.ended(CallHealth::Well, true, later);
    }
    assert_eq!((breaker.permit(later), breaker.open_since()), (Permit::Granted, None));
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_its_bound() {
    let now = Instant::now();
    let (mut breaker, mut at) = (opened(now), now);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Permit::NotBefore(until) = breaker.permit(at) else { panic!("it is open") };
        pauses.push((until - at).as_secs());
        at = until;
        breaker.called();
        assert!(breaker.ended(CallHealth::Failing, true, at));
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(breaker.open_since(), Some(now), "it never was well in between");
}

#[test]
fn a_denying_api_opens_it_at_once_and_is_probed_rarely() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    assert!(breaker.ended(CallHealth::AccessDenied, false, now));
    assert_eq!(state(&breaker), (true, true));
    assert_eq!(breaker.permit(now), Permit::NotBefore(now + Duration::from_secs(60)));
}

#[test]
fn a_status_that_denies_one_claim_of_many_opens_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    assert!(breaker.ended(CallHealth::DeniedByStatus, false, now), "no call went well");
    assert_eq!(state(&breaker), (true, true));
    let mut breaker = Breaker::new(settings(), now);
    breaker.ended(CallHealth::Well, false, now);
    for _ in 0..8 {
        assert!(!breaker.ended(CallHealth::DeniedByStatus, false, now), "one went well");
    }
    assert!(breaker.ended(CallHealth::DeniedByStatus, false, now), "nine of ten");
    assert_eq!(state(&breaker), (true, true));
}

/// The pauses, in seconds, of a breaker whose probes all end so.
fn pauses<const N: usize>(breaker: &mut Breaker, now: Instant, health: CallHealth) -> [u64; N] {
    let mut at = now;
    [(); N].map(|()| {
        let Permit::NotBefore(until) = breaker.permit(at) else { panic!("it is open") };
        let pause = (until - at).as_secs();
        at = until;
        breaker.called();
        assert!(breaker.ended(health, true, at));
        pause
    })
}

#[test]
fn probes_of_a_denying_api_become_rarer_up_to_a_bound() {
    let now = Instant::now();
    for health in [CallHealth::AccessDenied, CallHealth::Repeated, CallHealth::Pending] {
        let mut breaker = Breaker::new(settings(), now);
        breaker.deny(now);
        assert_eq!(pauses(&mut breaker, now, health), [60, 120, 240, 300, 300], "{health:?}");
    }
}

#[test]
fn an_earlier_outage_does_not_lengthen_the_pause_after_a_denial() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert_eq!(pauses(&mut breaker, now, CallHealth::Failing), [1, 2, 4, 8, 16, 30]);
    let late = now + Duration::from_secs(61 + 30);
    assert_eq!(breaker.permit(late), Permit::Probe);
    breaker.called();
    assert!(breaker.ended(CallHealth::AccessDenied, true, late));
    assert_eq!(pauses(&mut breaker, late, CallHealth::AccessDenied), [60, 120]);
}

#[test]
fn other_credentials_are_probed_with_at_once() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    breaker.deny(now);
    pauses::<3>(&mut breaker, now, CallHealth::AccessDenied);
    let at = now + Duration::from_secs(60 + 120 + 240);
    breaker.credentials_changed(at);
    assert_eq!(breaker.permit(at), Permit::Probe);
    breaker.called();
    assert!(breaker.ended(CallHealth::AccessDenied, true, at));
    assert_eq!(breaker.permit(at), Permit::NotBefore(at + Duration::from_secs(120)));
    let mut failing = opened(now);
    failing.credentials_changed(now);
    assert_eq!(failing.permit(now), Permit::NotBefore(now + Duration::from_secs(1)));
}

#[test]
fn repeated_refusals_open_the_breaker_and_never_close_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    // A wrong clock: each claim is signed again at once, and few of the further calls are in the
    // budget.
    for claim in 0..100 {
        let opened = breaker.ended(CallHealth::Pending, false, now);
        assert!(!opened, "the first of a claim says nothing yet");
        if claim % 10 == 0 && breaker.ended(CallHealth::Repeated, false, now) {
            assert_eq!(state(&breaker), (true, true), "somebody has to mend this");
        }
    }
    assert!(breaker.open_since().is_some(), "however many first calls went before");
    let mut at = now;
    for _ in 0..5 {
        let Permit::NotBefore(until) = breaker.permit(at) else { panic!("it is open") };
        at = until;
        breaker.called();
        assert!(breaker.ended(CallHealth::Pending, true, at), "such a probe closes nothing");
        assert_eq!(state(&breaker), (true, true), "and clears nobody of blame");
    }
}

#[test]
fn a_denied_api_is_probed_once_a_minute() {
    let now = Instant::now();
    let mut breaker = Breaker::new(settings(), now);
    assert!(breaker.deny(now));
    assert!(!breaker.deny(now), "it is open already");
    assert_eq!(state(&breaker), (true, true));
    assert_eq!(breaker.permit(now), Permit::NotBefore(now + Duration::from_secs(60)));
    let later = now + Duration::from_secs(60);
    breaker.called();
    assert_eq!(breaker.permit(later), Permit::Full);
    breaker.cancelled(true);
    assert_eq!(breaker.permit(later), Permit::Probe, "a call that was not made is no probe");
}

proptest! {
    #[test]
    fn an_open_breaker_lets_nothing_through_but_one_probe(
        healths in prop::collection::vec((0..6_u8, 0..5_000_u64), 1..500),
    ) {
        use CallHealth::{AccessDenied, DeniedByStatus, Failing, Pending, Repeated, Well};
        let mut now = Instant::now();
        let mut breaker = Breaker::new(settings(), now);
        let mut probes = 0;
        for (health, wait) in healths {
            now += Duration::from_millis(wait);
            let healths = [Well, Failing, AccessDenied, DeniedByStatus, Pending, Repeated];
            let health = healths[usize::from(health)];
            let closed = breaker.open_since().is_none();
            match breaker.permit(now) {
                Permit::Granted => prop_assert!(closed),
                Permit::Probe => {
                    prop_assert!(!closed && probes == 0);
                    breaker.called();
                    probes = 1;
                    continue;
                }
                Permit::NotBefore(until) => prop_assert!(!closed && until > now),
                Permit::Full => prop_assert!(!closed),
            }
            let probe = std::mem::take(&mut probes) == 1;
            breaker.ended(health, probe, now);
        }
    }
}
