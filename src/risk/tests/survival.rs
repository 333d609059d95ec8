//! Gives a million damaged answers to every reader. `fuzz/` has a fuzzer that finds its own inputs.
//!
//! `cargo test --lib readers_survive_a_million_inputs -- --ignored --nocapture`;
//! `CLAIMGATE_TEST_SEED` repeats a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fastrand::Rng;

use super::{GOOD, every_api};
use crate::decision::{Assessment, Decision};
use crate::risk::{Answer, ApiResult, Registry};

const INPUTS: u32 = 1_000_000;
/// Statuses as a reader meets them; most answers come with 200.
const STATUSES: [u16; 8] = [200, 200, 200, 200, 200, 204, 400, 403];
/// Changes that turn an answer into a nearly good one.
const PIECES: [&[u8]; 16] = [
    b"\"code\":0",
    b"\"errcode\":0",
    b"\"level\":4",
    b"\"Level \":\"1\"",
    b"\"risklevel\":3",
    b"\"riskType\":[1,",
    b"\"data\":\"{",
    b"\"script\":\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\\u0000",
    b"-9223372036854775809",
    b"\xef\xbb\xbf",
];

/// The documents' samples and every fixture of a reasonable size.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = GOOD.iter().map(|good| good.as_bytes().to_vec()).collect();
    seeds.extend([
        br#"{"access_token":"ACCESS","expires_in":7200}"#.to_vec(),
        br#"{"errcode":40013,"errmsg":""}"#.to_vec(),
    ]);
    let folders = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for folder in std::fs::read_dir(folders).unwrap() {
        let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
        seeds.extend(
            files
                .map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .filter(|body| body.len() < 2_000),
        );
    }
    seeds
}

fn damaged(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    if random.u8(..) < 26 {
        let length = random.usize(..300);
        return std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    }
    let mut body = random.choice(seeds).cloned().unwrap_or_default();
    for _ in 0..random.u8(0..5) {
        let at = random.usize(..=body.len());
        match random.u8(..6) {
            0 => body.truncate(at),
            1 if at < body.len() => body[at] = random.u8(..),
            2 if at < body.len() => drop(body.remove(at)),
            3 => {
                drop(body.splice(at..at, random.choice(PIECES).unwrap_or_default().iter().copied()))
            }
            4 => {
                let end = random.usize(at..=body.len());
                let piece = body[at..end].to_vec();
                drop(body.splice(at..at, piece));
            }
            _ => {
                body.extend_from_slice(random.choice(seeds).map(Vec::as_slice).unwrap_or_default())
            }
        }
    }
    body
}

/// Runs every reader and counts the results by API and class.
fn read_all(
    registry: &Registry,
    answer: &Answer<'_>,
    counts: &mut BTreeMap<(&'static str, &'static str), u64>,
) {
    let policy = registry.policy(Decision::Review);
    for (_, route) in registry.iter() {
        let reading = route.api.read(answer);
        *counts.entry((route.api.name(), reading.outcome().as_str())).or_default() += 1;
        if let ApiResult::Assessed { assessment, .. } = &reading {
            assert!(answer.is_success());
            if let Assessment::Level { level, .. } = assessment {
                assert!(Some(*level) <= route.api.registration().highest_level());
            }
            policy.rule(route.api.name(), assessment, |code| route.api.risk_type(code));
        }
    }
    let word = if registry.token_sources().any(|(_, source)| source.read_token(answer).is_ok()) {
        "token"
    } else {
        "no token"
    };
    *counts.entry(("access_token", word)).or_default() += 1;
}

#[test]
#[ignore = "takes a minute"]
fn readers_survive_a_million_inputs() {
    let seed =
        std::env::var("CLAIMGATE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let (registry, seeds, mut random) = (every_api(), seeds(), Rng::with_seed(seed));
    let mut counts = BTreeMap::new();
    for _ in 0..INPUTS {
        let body = damaged(&seeds, &mut random);
        let status = *random.choice(&STATUSES).unwrap_or(&200);
        read_all(&registry, &Answer { status, body: &body }, &mut counts);
    }
    println!(
        "{INPUTS} inputs (CLAIMGATE_TEST_SEED={seed}, {} seeds), read by every reader:",
        seeds.len()
    );
    for ((api, outcome), count) in counts {
        println!("    {api:20} {outcome:14} {count:8}");
    }
}
