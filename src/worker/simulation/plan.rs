//! What happens in a run, and when: a function of the seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use crate::intake::Partition;
use crate::testing::{FaultProfile, RowFault};

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Partitions of claims, and of deferred claims.
    pub(super) partitions: (i32, i32),
    /// Workers of the group; a static one keeps its name when it is started again.
    pub(super) workers: Vec<Instance>,
    /// What is produced, each after a pause.
    pub(super) events: Vec<(Duration, Partition, Produced)>,
    /// What goes wrong, each after a pause.
    pub(super) acts: Vec<(Duration, Act)>,
    pub(super) store: FaultProfile,
    /// Claims with whose rows something is wrong.
    pub(super) rows: Vec<(String, RowFault)>,
    pub(super) broker: FaultProfile,
    /// Claims whose decisions their topic rejects.
    pub(super) rejected: Vec<String>,
    /// The largest message that the retry topic takes.
    pub(super) deferred_max_bytes: usize,
    /// The part of API calls that fail in some way.
    pub(super) api_faults: f64,
    /// How each API behaves for the whole run.
    pub(super) api_profiles: [ApiProfile; 2],
    /// How often a claim of a stubborn subject fails at first.
    pub(super) stubborn: u32,
    /// `worker.max_in_flight`.
    pub(super) max_in_flight: usize,
    /// The bound on a commit's metadata, in bytes.
    pub(super) offset_metadata_max: usize,
}

/// How an API behaves for a whole run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ApiProfile {
    /// Each answer takes this much longer.
    pub(super) slower: Duration,
    /// This part of the calls is answered with a transient code.
    pub(super) fails: f64,
    /// Every call is answered with this code.
    pub(super) code: Option<i64>,
}

impl ApiProfile {
    fn of(random: &mut Rng) -> Self {
        let slower = Duration::from_millis(random.u64(100..450));
        match random.u8(0..12) {
            0 => Self { slower, ..Self::default() },
            1 => Self { fails: 0.15, ..Self::default() },
            2 => Self { fails: 0.25, ..Self::default() },
            // The signature has expired, the nonce was used: a fault of the set-up.
            3 => Self { code: Some(4200), ..Self::default() },
            4 => Self { code: Some(4500), ..Self::default() },
            _ => Self::default(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Instance {
    pub(super) is_static: bool,
}

/// What goes into a log.
#[derive(Clone)]
pub(super) enum Produced {
    /// An event, well-formed or not.
    Event(Option<Vec<u8>>),
    /// An offset without a record.
    Nothing,
}

impl fmt::Debug for Produced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(Some(payload)) => f.write_str(&payload.escape_ascii().to_string()),
            Self::Event(None) => f.write_str("a tombstone"),
            Self::Nothing => f.write_str("no record"),
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// SIGKILL, and a new start after a while.
    Kill(usize, Duration),
    /// SIGTERM, and a new start.
    Restart(usize),
    /// SIGSTOP for a while; its session may end meanwhile.
    Freeze(usize, Duration),
    /// The group loses patience with a worker that is well.
    Expel(usize),
    /// Partitions move.
    Rebalance,
    /// Postgres is gone for a while.
    StoreAway(Duration),
    /// Kafka is gone for a while.
    BrokerAway(Duration),
    /// The API with this number is gone for a while.
    ApiAway(usize, Duration),
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let partitions = (random.i32(1..=3), random.i32(1..=2));
        let workers = random.usize(1..=3);
        let claims = random.usize(3..=14);
        let rough = |random: &mut Rng| FaultProfile {
            delay: Duration::from_millis(random.u64(0..40)),
            refused: 0.15 * random.f64() * random.f64(),
            answer_lost: 0.15 * random.f64() * random.f64(),
            late: 0.10 * random.f64() * random.f64(),
            is_away: false,
        };
        Self {
            partitions,
            workers: (0..workers).map(|_| Instance { is_static: random.bool() }).collect(),
            events: events(claims, partitions.0, &mut random),
            acts: (0..random.usize(0..=6)).map(|_| act(workers, &mut random)).collect(),
            store: rough(&mut random),
            rows: row_fault(claims, &mut random).into_iter().collect(),
            broker: rough(&mut random),
            rejected: Vec::new(),
            deferred_max_bytes: usize::MAX,
            api_faults: random.f64() * 0.4,
            api_profiles: [ApiProfile::of(&mut random), ApiProfile::of(&mut random)],
            stubborn: random.u32(1..=12),
            max_in_flight: random.usize(2..=20),
            offset_metadata_max: if random.bool() { 4_096 } else { random.usize(28..40) },
        }
    }
}

fn events(
    claims: usize,
    partitions: i32,
    random: &mut Rng,
) -> Vec<(Duration, Partition, Produced)> {
    let mut events = Vec::new();
    // Few subjects are busy ones.
    let subjects = random.u8(1..=6);
    let mut produce = |produced, random: &mut Rng| {
        let pause = Duration::from_millis(if random.u8(..) < 200 { 0 } else { random.u64(0..400) });
        events.push((pause, Partition::claims(random.i32(0..partitions)), produced));
    };
    for number in 0..claims {
        let id = format!("c{number}");
        let word = if random.u8(..) < 40 { "stubborn" } else { "user" };
        let subject = format!("{word}{}", random.u8(0..subjects));
        let kind = if random.bool() { "qr_code" } else { "mini_program" };
        produce(Produced::Event(Some(claim(&id, kind, &subject, "red packet"))), random);
        match random.u8(..) {
            0..20 => {
                produce(Produced::Event(Some(claim(&id, kind, &subject, "red packet"))), random)
            }
            20..35 => produce(Produced::Event(Some(claim(&id, kind, &subject, "a car"))), random),
            35..50 => produce(
                Produced::Event(Some(format!("{{\"claim_id\": \"bad{number}\"").into_bytes())),
                random,
            ),
            50..55 => produce(Produced::Event(None), random),
            55..75 => (0..random.usize(1..60)).for_each(|_| produce(Produced::Nothing, random)),
            // A client that asks again and again.
            75..85 => (0..random.usize(2..8)).for_each(|_| {
                let again = Some(claim(&id, kind, &subject, "red packet"));
                produce(Produced::Event(again), random);
            }),
            _ => {}
        }
    }
    events
}

pub(super) fn claim(id: &str, kind: &str, subject: &str, goods: &str) -> Vec<u8> {
    json!({
        "claim_id": id, "kind": kind, "claimed_at": 1_632_994_480,
        "account": { "type": "wechat", "id": subject, "app_id": "wx1" },
        "client": { "ip": "121.14.96.121" },
        "login": { "token": "t" },
        // What the API is sent of the claim's id.
        "reward": { "goods": goods, "code_hash": id }
    })
    .to_string()
    .into_bytes()
}

/// In one run of four something is wrong with the rows of one claim.
fn row_fault(claims: usize, random: &mut Rng) -> Option<(String, RowFault)> {
    let fault = match random.u8(0..12) {
        0 => RowFault::Verdict,
        1 => RowFault::Attempts,
        2 => RowFault::Fingerprint,
        _ => return None,
    };
    Some((format!("c{}", random.usize(0..claims)), fault))
}

fn act(workers: usize, random: &mut Rng) -> (Duration, Act) {
    let pause = Duration::from_millis(random.u64(0..1_500));
    let a_while = Duration::from_millis(random.u64(10..4_000));
    let worker = random.usize(0..workers);
    let act = match random.u8(0..12) {
        0..4 => Act::Kill(worker, a_while),
        4 => Act::Restart(worker),
        5 | 6 => Act::Freeze(worker, a_while),
        7 => Act::Expel(worker),
        8 => Act::Rebalance,
        9 => Act::StoreAway(a_while),
        10 => Act::BrokerAway(a_while),
        _ => Act::ApiAway(random.usize(0..2), a_while),
    };
    (pause, act)
}
