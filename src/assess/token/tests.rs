use super::*;

const LIFE: Duration = Duration::from_secs(7_200);

fn with_token(now: Instant) -> Token {
    let mut token = Token::default();
    assert_eq!(token.wants_fetch(now), Some(Fetch::Plain));
    assert_eq!(token.fetched("one".into(), LIFE, true, now), Outlook::Good);
    token
}

#[test]
fn one_fetch_is_under_way_however_many_ask() {
    let (mut token, now) = (Token::default(), Instant::now());
    assert_eq!(token.wants_fetch(now), Some(Fetch::Plain));
    assert!((0..64).all(|_| token.wants_fetch(now).is_none()));
    assert_eq!(token.fetched("one".into(), LIFE, true, now), Outlook::Good);
    assert!(token.wants_fetch(now).is_none());
    assert_eq!(token.lease(now).expect("at hand").expose(), "one");
}

#[test]
fn it_is_renewed_before_it_ends_and_usable_meanwhile() {
    let now = Instant::now();
    let mut token = with_token(now);
    let late = now + LIFE - Duration::from_secs(100);
    assert_eq!(token.wants_fetch(late), Some(Fetch::Plain));
    assert!(token.lease(late).is_some());
    assert!(token.lease(now + LIFE).is_none());
}

#[test]
fn a_token_that_ends_at_once_is_not_fetched_without_a_pause() {
    let start = Instant::now();
    let (mut token, mut fetches) = (Token::default(), 0);
    for now in (0..600).map(|tenths| start + Duration::from_millis(100 * tenths)) {
        if token.wants_fetch(now).is_some() {
            fetches += 1;
            let text = format!("token-{fetches}");
            assert_eq!(
                token.fetched(text.into(), Duration::from_secs(1), true, now),
                Outlook::Good
            );
        }
        assert!(token.lease(now).is_some(), "calls go on");
    }
    assert_eq!(fetches, 12, "in a minute");
}

#[test]
fn only_the_refused_token_is_dropped() {
    let now = Instant::now();
    let mut token = with_token(now);
    let old = token.lease(now).expect("at hand");
    token.refused(&old);
    assert!(token.lease(now).is_none());
    assert_eq!(token.wants_fetch(now), Some(Fetch::Plain));
    token.fetched("two".into(), LIFE, true, now);
    token.refused(&old);
    assert_eq!(token.lease(now).expect("the newer one stays").expose(), "two");
    assert!(token.wants_fetch(now).is_none());
}

#[test]
fn a_failed_fetch_is_not_repeated_at_once() {
    let (mut token, now) = (Token::default(), Instant::now());
    for failures in 0..20_u32 {
        let at = token.wakes_at(now).expect("no fetch is under way");
        assert!(at - now <= FETCH_PAUSE_MAX, "after {failures} failures");
        assert!(token.wants_fetch(at).is_some());
        let (outlook, is_news) = token.fetch_failed(FaultReason::Timeout, now);
        assert_eq!((outlook == Outlook::Bad, is_news), (failures >= 4, failures == 0));
        assert!(token.wants_fetch(now).is_none());
    }
}

#[test]
fn another_endpoint_is_asked_at_once() {
    let (mut token, now) = (Token::default(), Instant::now());
    assert!(token.wants_fetch(now).is_some());
    assert!(token.asks_elsewhere());
    assert_eq!((token.was_had(), token.wants_fetch(now)), (false, Some(Fetch::Plain)));
    assert!(!token.asks_elsewhere(), "it is told once");
    assert!(token.wants_fetch(now).is_some());
    token.fetched("one".into(), LIFE, false, now);
    assert!(token.was_had());
}

#[test]
fn the_secret_is_not_printed() {
    let now = Instant::now();
    let mut token = Token::default();
    token.fetched("hunter2".into(), LIFE, true, now);
    assert!(!format!("{token:?}").contains("hunter2"));
}

#[test]
fn a_denied_fetch_is_no_hiccup_and_told_once() {
    let (mut token, now) = (Token::default(), Instant::now());
    assert_eq!(token.fetch_failed(FaultReason::BadAppSecret, now), (Outlook::Bad, true));
    assert_eq!(token.fetch_failed(FaultReason::BadAppSecret, now), (Outlook::Bad, false));
    assert_eq!(token.fetch_failed(FaultReason::IpNotAllowed, now), (Outlook::Bad, true));
}

#[test]
fn a_renewal_that_fails_denies_nothing_while_the_token_lasts() {
    let now = Instant::now();
    let mut token = with_token(now);
    let late = now + LIFE - Duration::from_secs(100);
    for failures in 0..10 {
        let (outlook, is_news) = token.fetch_failed(FaultReason::IpNotAllowed, late);
        assert_eq!((outlook, is_news), (Outlook::Good, failures == 0), "after {failures} failures");
    }
    assert!(token.lease(late).is_some());
    let ended = token.fetch_failed(FaultReason::IpNotAllowed, now + LIFE);
    assert_eq!(ended, (Outlook::Bad, false), "then there is none");
}

#[test]
fn a_token_that_never_ends_is_renewed_once_a_day() {
    let (mut token, now) = (Token::default(), Instant::now());
    token.fetched("one".into(), Duration::from_secs(u64::MAX), true, now);
    assert!(token.lease(now + DAY / 2).is_some() && token.lease(now + DAY).is_none());
}

/// A platform that hands tokens out and an API that refuses every one; when each fetch was made,
/// and how.
struct Refusing {
    token: Token,
    now: Instant,
    fetches: Vec<(Duration, Fetch)>,
    outlooks: Vec<Outlook>,
}

impl Refusing {
    /// Plays `span`, looking once a second. `next` is the token that the platform hands out.
    fn play(can_force: bool, span: Duration, mut next: impl FnMut(Fetch) -> String) -> Self {
        let start = Instant::now();
        let mut world =
            Self { token: with_token(start), now: start, fetches: vec![], outlooks: vec![] };
        // The first one served well, for long.
        world.token.accepted(&world.token.lease(start).expect("at hand"));
        while world.now - start < span && world.fetches.len() < 5_000 {
            if let Some(lease) = world.token.lease(world.now) {
                let outlook = world.token.refused(&lease);
                world.outlooks.push(outlook);
            }
            if let Some(fetch) = world.token.wants_fetch(world.now) {
                world.fetches.push((world.now - start, fetch));
                let outlook = world.token.fetched(next(fetch).into(), LIFE, can_force, world.now);
                world.outlooks.push(outlook);
            } else {
                world.now += Duration::from_secs(1);
            }
        }
        world
    }
}

#[test]
fn fetches_after_refused_tokens_become_rarer_and_name_the_settings() {
    let mut number = 0;
    let world = Refusing::play(false, DAY, |_| {
        number += 1;
        format!("new-{number}")
    });
    let times: Vec<u64> = world.fetches.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(times[..5], [0, 30, 90, 210, 450], "the pauses double");
    assert!(times.len() < 200, "{} of 2,000 classic tokens a day", times.len());
    assert_eq!(
        world.outlooks[..3],
        [Outlook::Good, Outlook::Good, Outlook::Bad],
        "the second refusal"
    );
}

#[test]
fn a_repeated_refused_token_is_force_refreshed_within_limits() {
    let mut generation = 0;
    let world = Refusing::play(true, 2 * DAY, |fetch| {
        generation += u32::from(fetch == Fetch::Forced);
        if generation == 0 { "one".to_owned() } else { format!("forced-{generation}") }
    });
    assert_eq!(world.fetches[0], (Duration::ZERO, Fetch::Plain));
    assert_eq!(world.fetches[1], (Duration::ZERO, Fetch::Forced), "the same text is no new token");
    assert_eq!(world.outlooks[..2], [Outlook::Good, Outlook::Good]);
    assert_eq!(
        world.outlooks[2..5],
        [Outlook::Good, Outlook::Bad, Outlook::Good],
        "then it is the set-up"
    );
    let forced: Vec<Duration> = world
        .fetches
        .iter()
        .filter(|(_, fetch)| *fetch == Fetch::Forced)
        .map(|(at, _)| *at)
        .collect();
    assert!(forced.windows(2).all(|pair| pair[1] - pair[0] >= REFUSED_PAUSE));
    for start in &forced {
        let of_a_day = forced.iter().filter(|at| *at >= start && **at - *start < DAY).count();
        assert!(of_a_day <= FORCED_A_DAY, "{of_a_day} in a day");
    }
    assert!(forced.len() > FORCED_A_DAY, "the next day it is tried again");
}

#[test]
fn a_classic_token_that_is_refused_after_use_is_replaced() {
    // On the classic endpoint each fetch ends the others' token.
    replaced_after_good_service(false, 20_000);
}

#[test]
fn a_refused_stable_token_is_replaced_within_a_second() {
    replaced_after_good_service(true, 600);
}

/// `wait`: milliseconds until the third fetch, a moment after the second.
fn replaced_after_good_service(can_force: bool, wait: u128) {
    let now = Instant::now();
    let mut token = Token::default();
    token.fetched("one".into(), LIFE, can_force, now);
    let third = if can_force { 3_600_400 } else { 3_610_000 };
    for (name, at) in [("two", 0), ("three", 3_600_000), ("four", third)] {
        let at = now + Duration::from_millis(at);
        let lease = token.lease(at).expect("at hand");
        token.accepted(&lease);
        assert_eq!(token.refused(&lease), Outlook::Good, "others fetch tokens, too");
        assert_eq!(token.refused(&lease), Outlook::Good, "all calls under way are refused");
        let waits = token.wakes_at(at).expect("no fetch is under way") - at;
        assert_eq!(waits.as_millis(), if name == "four" { wait } else { 0 }, "before {name}");
        let at = at + waits;
        assert_eq!(token.wants_fetch(at), Some(Fetch::Plain));
        assert_eq!(token.fetched(name.into(), LIFE, can_force, at), Outlook::Good);
    }
}
