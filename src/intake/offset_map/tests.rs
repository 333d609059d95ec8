use proptest::prelude::*;

use super::*;

/// Open offsets within a span, as a ledger would have them: the base itself is open.
fn ledger_state() -> impl Strategy<Value = (i64, Vec<i64>, i64)> {
    let base = prop_oneof![Just(0_i64), 0..1_000_000_i64, Just(i64::from(u32::MAX) * 7)];
    let dense = (base.clone(), prop::collection::btree_set(1..4_000_i64, 0..400), 0..5_000_i64);
    let sparse = (base, prop::collection::btree_set(1..50_000_000_i64, 0..300), 0..50_000_000_i64);
    prop_oneof![dense, sparse].prop_map(|(base, gaps, tail)| {
        let mut open: Vec<i64> = vec![base];
        open.extend(gaps.iter().map(|gap| base + gap));
        let end = open.last().copied().unwrap_or(base) + 1 + tail;
        (base, open, end)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn watermark_and_map_are_restored_together((base, open, end) in ledger_state()) {
        let metadata = encode(base, &open, end);
        let map = OffsetMap::decode(base, &metadata, end).expect("our own map");
        if metadata.is_empty() {
            prop_assert_eq!(
                open.len() as i64,
                end - base,
                "only a map without a done offset is left out"
            );
            prop_assert_eq!(map.end(), base);
        } else {
            prop_assert_eq!(map.end(), end);
            prop_assert_eq!(map.into_open().into_iter().collect::<Vec<_>>(), open);
        }
    }

    #[test]
    fn a_map_that_always_fits_fits_whatever_is_done((base, open, end) in ledger_state(), keep in any::<u64>()) {
        if always_fits(open.len(), end - base, METADATA_MAX_BYTES) {
            // Any subset of the open offsets may be done by the time of the commit.
            let left: Vec<i64> = open.iter().copied().filter(|offset| (keep.rotate_left(u32::try_from(offset % 64).unwrap()) & 1) == 1).collect();
            let watermark = left.first().copied().unwrap_or(end);
            for (offset, open) in [(base, &open), (watermark, &left)] {
                let metadata = encode(offset, open, end);
                prop_assert!(metadata.len() <= METADATA_MAX_BYTES, "{} bytes for {} open", metadata.len(), open.len());
                prop_assert!(metadata.is_ascii());
            }
        }
    }

    #[test]
    fn a_changed_map_is_not_believed((base, open, end) in ledger_state(), at in any::<prop::sample::Index>(), bit in 0..6_u32) {
        let metadata = encode(base, &open, end);
        prop_assume!(!metadata.is_empty());
        let mut bytes = metadata.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(OffsetMap::decode(base, &changed, i64::MAX).is_err());
        }
        prop_assert_eq!(OffsetMap::decode(base + 1, &metadata, i64::MAX), Err(OffsetMapError::Garbled("checksum")));
        prop_assert_eq!(OffsetMap::decode(base, &metadata, end - 1), Err(OffsetMapError::BeyondLog { end, log_end: end - 1 }));
    }

    #[test]
    fn foreign_or_garbled_metadata_is_ignored(text in "\\PC{0,200}", tail in prop::collection::vec(any::<u8>(), 0..200), base in any::<i64>()) {
        prop_assert!(text.is_empty() || OffsetMap::decode(base, &text, i64::MAX).is_err());
        // Hostile metadata with a good checksum must neither panic nor use up the memory.
        let mut bytes = tail;
        let sum = checksum(base, &bytes);
        bytes.extend_from_slice(&sum);
        if let Ok(map) = OffsetMap::decode(base, &format!("{MAGIC}{}", URL_SAFE_NO_PAD.encode(bytes)), i64::MAX) {
            prop_assert!(map.open.len() <= OPEN_MAX);
        }
    }
}

#[test]
fn one_open_record_before_a_million_done_ones_needs_a_few_bytes() {
    let metadata = encode(100, &[100], 1_000_101);
    assert!(metadata.len() < 24, "{metadata}");
}

#[test]
fn nothing_done_beyond_the_watermark_is_no_metadata() {
    assert_eq!(encode(100, &[], 100), "");
    assert_eq!(encode(100, &[100, 101, 102], 103), "");
}

#[test]
fn the_bound_leaves_room_for_what_a_partition_usually_has_open() {
    assert!(always_fits(24_000, 24_000, METADATA_MAX_BYTES), "dense: a bitset");
    assert!(always_fits(500, 2_000_000, METADATA_MAX_BYTES), "sparse: run lengths");
    assert!(!always_fits(2_000, 2_000_000, METADATA_MAX_BYTES));
}

#[test]
fn one_open_record_fits_within_the_least_metadata_behind_any_gap() {
    assert!(always_fits(1, i64::MAX, *METADATA_BOUNDS.start()));
}

#[test]
fn a_map_within_the_largest_metadata_is_believed() {
    let (open, end) = ((0..100_000).collect::<Vec<i64>>(), 100_001);
    assert!(always_fits(open.len(), end, *METADATA_BOUNDS.end()));
    let map = OffsetMap::decode(0, &encode(0, &open, end), end).expect("our own map");
    assert_eq!(map.into_open().len(), open.len());
}

#[test]
fn foreign_metadata_is_not_believed() {
    for foreign in ["consumer-1", "cg2:AAAA", "{\"json\":1}"] {
        assert_eq!(OffsetMap::decode(0, foreign, 10), Err(OffsetMapError::Foreign));
    }
}
