//! The script of faults: what breaks, when, and for how long. Pure: a function of the seed and the
//! size of the run.
//!
//! "When" is a number of claims that were sent, and a pause after it. On a slow machine a run takes
//! longer and has the same faults.

use std::time::Duration;

use claimgate_simulator::Api;
use fastrand::Rng;

use super::super::cluster::Part;

/// The workers of the group: half of them static members, half dynamic ones.
pub(super) const WORKERS: usize = 4;
/// Faults begin after this part of the claims…
const FIRST: f64 = 0.04;
/// …and end before this part: the rest shows that everything works again.
pub(super) const LAST: f64 = 0.96;

/// The size of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) claims: usize,
    /// SIGKILLs of workers; all other faults come in proportion, each at least once.
    pub(super) kills: usize,
    /// Three brokers instead of one: they are killed more often, because the others go on.
    pub(super) cluster: bool,
    /// The database has a standby, which is promoted.
    pub(super) standby: bool,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// When this many claims were sent…
    pub(super) after_claims: usize,
    /// …and this much time has passed since.
    pub(super) pause: Duration,
    pub(super) what: What,
}

/// The fault.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// SIGKILL; started again after a while.
    Kill { worker: usize, down: Duration },
    /// SIGSTOP for longer than the session, then SIGCONT.
    Stop { worker: usize, asleep: Duration },
    /// SIGTERM; started again after a while.
    Terminate { worker: usize, down: Duration },
    /// An orderly restart.
    BrokerRestart { part: Part },
    /// SIGKILL.
    BrokerKill { part: Part, down: Duration },
    /// An orderly restart.
    DatabaseRestart,
    /// Like a crash: it recovers from its log.
    DatabaseKill { down: Duration },
    /// The primary is killed for good; after a while its standby is promoted.
    Promotion { down: Duration },
    /// The risk APIs misbehave.
    Apis { trouble: Trouble, lasts: Duration },
}

/// How risk APIs misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Answers take about as long as a call may.
    Slow,
    /// HTTP 5xx and 429.
    ServerErrors,
    /// No answer.
    Hangs,
    /// Transient provider codes.
    TransientCodes,
    /// Invalid answers, and reset connections.
    Garbage,
    /// This API is away.
    Dead(Api),
    /// Every access token has ended.
    ExpiredTokens,
}

/// What carries a fault out: each does its faults one after the other, in parallel with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Worker(usize),
    Broker,
    Database,
    Apis,
}

impl What {
    pub(super) fn hand(&self) -> Hand {
        match self {
            Self::Kill { worker, .. }
            | Self::Stop { worker, .. }
            | Self::Terminate { worker, .. } => Hand::Worker(*worker),
            Self::BrokerRestart { .. } | Self::BrokerKill { .. } => Hand::Broker,
            Self::DatabaseRestart | Self::DatabaseKill { .. } | Self::Promotion { .. } => {
                Hand::Database
            }
            Self::Apis { .. } => Hand::Apis,
        }
    }

    /// The faults of broker or database, in the journal's words.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::BrokerRestart { .. } => "broker restart",
            Self::BrokerKill { .. } => "broker SIGKILL",
            Self::DatabaseRestart => "database restart",
            Self::DatabaseKill { .. } => "database kill",
            Self::Promotion { .. } => "database failover",
            other => unreachable!("{other:?} is none of a service's"),
        }
    }

    /// How long a service is down beyond the time that it takes to stop and to start.
    pub(super) fn down(&self) -> Option<Duration> {
        match self {
            Self::BrokerKill { down, .. }
            | Self::DatabaseKill { down }
            | Self::Promotion { down } => Some(*down),
            _ => None,
        }
    }
}

/// All faults of a run, in order.
pub(super) fn plan(seed: u64, size: Size) -> Vec<Fault> {
    let mut random = Rng::with_seed(seed);
    let mut faults = Vec::new();
    let one_in = |share: usize| (size.kills / share).max(1);
    let mut add =
        |count: usize, random: &mut Rng, make: &mut dyn FnMut(usize, &mut Rng) -> What| {
            for index in 0..count {
                let part = FIRST + (LAST - FIRST) * (index as f64 + random.f64()) / count as f64;
                let after_claims = (size.claims as f64 * part) as usize;
                let pause = millis(random, 0, 1_000);
                faults.push(Fault { after_claims, pause, what: make(index, random) });
            }
        };
    add(size.kills, &mut random, &mut |_, random| What::Kill {
        worker: random.usize(..WORKERS),
        down: millis(random, 0, 3_000),
    });
    // In turn, so that static and dynamic members both get faults.
    let first = random.usize(..WORKERS);
    add(one_in(12), &mut random, &mut |index, random| What::Stop {
        worker: (first + index) % WORKERS,
        asleep: millis(random, 7_000, 10_000),
    });
    add(one_in(8), &mut random, &mut |index, random| What::Terminate {
        worker: (first + 1 + index) % WORKERS,
        down: millis(random, 0, 3_000),
    });
    let (restarts, kills) =
        if size.cluster { (one_in(20), one_in(5)) } else { (one_in(40), one_in(40)) };
    add(restarts, &mut random, &mut |index, _| What::BrokerRestart { part: part(index + 1) });
    add(kills, &mut random, &mut |index, random| What::BrokerKill {
        part: part(index),
        down: millis(random, 0, 2_000),
    });
    add(one_in(25), &mut random, &mut |_, _| What::DatabaseRestart);
    add(one_in(25), &mut random, &mut |_, random| What::DatabaseKill {
        down: millis(random, 0, 3_000),
    });
    add(one_in(6), &mut random, &mut |index, random| What::Apis {
        trouble: trouble(index, random),
        lasts: millis(random, 2_000, 8_000),
    });
    // Last, so that a seed's script without a standby does not change.
    let promotions = if size.standby { one_in(33) } else { 0 };
    add(promotions, &mut random, &mut |_, random| What::Promotion {
        down: millis(random, 0, 3_000),
    });
    faults.sort_by_key(|fault| (fault.after_claims, fault.pause));
    faults
}

/// In turn.
fn part(index: usize) -> Part {
    match index % 3 {
        0 => Part::Group,
        // The static members' transactional ids are known.
        1 => Part::Transactions(index % (WORKERS / 2)),
        _ => Part::Leader(index % 6),
    }
}

/// In turn, beginning at random: a small run has one of them, a large one all.
fn trouble(index: usize, random: &mut Rng) -> Trouble {
    let apis = [Api::IntelligentQrCode, Api::MiniProgram, Api::WechatMarketing, Api::WechatAccount];
    let all = [
        Trouble::Slow,
        Trouble::ServerErrors,
        Trouble::Hangs,
        Trouble::TransientCodes,
        Trouble::Garbage,
        Trouble::Dead(apis[random.usize(..apis.len())]),
        Trouble::ExpiredTokens,
    ];
    let index = if index == 0 { random.usize(..all.len()) } else { index % all.len() };
    all[index]
}

fn millis(random: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.u64(least..most))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Size = Size { claims: 200_000, kills: 200, cluster: false, standby: false };

    #[test]
    fn the_script_is_a_function_of_the_seed() {
        assert_eq!(plan(7, LARGE), plan(7, LARGE));
        assert_ne!(plan(7, LARGE), plan(8, LARGE));
    }

    #[test]
    fn a_small_run_has_every_sort_of_fault_and_all_the_kills() {
        let faults = plan(1, Size { claims: 3_000, kills: 6, ..LARGE });
        let kills = faults.iter().filter(|fault| matches!(fault.what, What::Kill { .. })).count();
        assert_eq!((kills, faults.len()), (6, 13));
        let sorts: std::collections::HashSet<_> =
            faults.iter().map(|fault| std::mem::discriminant(&fault.what)).collect();
        assert_eq!(sorts.len(), 8, "{faults:?}");
    }

    #[test]
    fn a_cluster_run_kills_each_role_and_promotes() {
        let faults = plan(1, Size { claims: 100_000, kills: 100, cluster: true, standby: true });
        let count = |is: fn(&What) -> bool| faults.iter().filter(|fault| is(&fault.what)).count();
        assert_eq!(count(|what| matches!(what, What::BrokerKill { .. })), 20);
        assert_eq!(count(|what| matches!(what, What::BrokerKill { part: Part::Group, .. })), 7);
        assert_eq!(count(|what| matches!(what, What::BrokerKill { part: Part::Leader(_), .. })), 6);
        assert_eq!(count(|what| matches!(what, What::Promotion { .. })), 3);
    }

    #[test]
    fn a_large_run_has_every_trouble_and_hits_every_worker() {
        let faults = plan(3, LARGE);
        let mut troubles = std::collections::HashSet::new();
        let mut hit = [0; WORKERS];
        for fault in &faults {
            match &fault.what {
                What::Apis { trouble, .. } => {
                    troubles.insert(std::mem::discriminant(trouble));
                }
                What::Kill { worker, .. } => hit[*worker] += 1,
                _ => {}
            }
        }
        assert_eq!(troubles.len(), 7);
        assert!(hit.iter().all(|kills| *kills > 20), "{hit:?}");
    }

    #[test]
    fn faults_are_spread_over_the_run_but_not_its_end() {
        for seed in 0..50 {
            let faults = plan(seed, LARGE);
            assert!(faults.is_sorted_by_key(|fault| fault.after_claims));
            assert!(
                faults[0].after_claims >= 8_000 && faults[faults.len() - 1].after_claims < 192_000
            );
            let first_half = faults.iter().filter(|fault| fault.after_claims < 100_000).count();
            assert!((first_half as f64 / faults.len() as f64 - 0.5).abs() < 0.05);
        }
    }
}
