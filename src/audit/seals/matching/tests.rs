use super::*;

const AT: OffsetDateTime = time::macros::datetime!(2026-01-02 03:04:05 UTC);

fn row(table: usize, name: &str, digest: u8) -> SealedRow {
    let recorded_at = (table == 0).then_some(AT);
    let digest = Some([digest; 16]);
    SealedRow { table, name: name.to_owned(), seal: Some(2), digest, recorded_at, is_erased: false }
}

/// A seal of two claims, and its rows.
fn batch() -> (SealRow, Vec<SealedRow>) {
    let of = |digests: [u8; 2]| digests.map(|digest| [digest; 16]).concat();
    let mut seal = SealRow {
        id: 2,
        previous: Some(1),
        verdicts: of([1, 2]),
        claim_events: of([3, 4]),
        risk_calls: of([5, 6]),
        dead_letters: vec![],
        sealed_at: micros(AT),
        head: vec![],
    };
    seal.head = seal.derived_head(b"before").to_vec();
    let rows = (0..3).flat_map(|table| {
        let digest = u8::try_from(2 * table).expect("small");
        [row(table, "a", digest + 1), row(table, "b", digest + 2)]
    });
    (seal, rows.collect())
}

fn faults(seal: &SealRow, rows: &[SealedRow]) -> Vec<(Fault, &'static str, String)> {
    let seals = std::slice::from_ref(seal);
    let found = check_rows(seals, rows, Allowed::default()).findings.into_iter();
    found.map(|finding| (finding.fault, finding.table, finding.row)).collect()
}

#[test]
fn rows_as_they_were_written_are_intact() {
    let (seal, rows) = batch();
    let matched = check_rows(std::slice::from_ref(&seal), &rows, Allowed::default());
    assert_eq!((matched.intact, matched.findings), (6, vec![]));
    let heads = HashMap::from([(1, b"before".to_vec())]);
    assert_eq!(check_head(&seal, &heads), None);
}

#[test]
fn each_change_is_found_and_its_row_named() {
    let named = |fault, table, row: &str| vec![(fault, table, row.to_owned())];
    let (seal, mut rows) = batch();
    rows[0].digest = Some([9; 16]);
    assert_eq!(faults(&seal, &rows), named(Fault::Altered, "verdicts", "a"));
    rows[0].digest = None;
    assert_eq!(faults(&seal, &rows), named(Fault::Altered, "verdicts", "a"), "unreadable");

    let (_, mut rows) = batch();
    rows[1].recorded_at = Some(AT - time::Duration::HOUR);
    assert_eq!(faults(&seal, &rows), named(Fault::Altered, "verdicts", "b"));

    for (place, table) in [(1, "verdicts"), (3, "claim_events"), (5, "risk_calls")] {
        let (_, mut rows) = batch();
        rows.remove(place);
        assert_eq!(faults(&seal, &rows), named(Fault::Removed, table, "b"));
    }

    let (_, mut rows) = batch();
    rows.push(row(2, "c", 9));
    assert_eq!(faults(&seal, &rows), named(Fault::Inserted, "risk_calls", "c"));
    rows[6].seal = None;
    assert_eq!(faults(&seal, &rows), named(Fault::Inserted, "risk_calls", "c"));
    rows[6].seal = Some(7);
    assert_eq!(faults(&seal, &rows), named(Fault::Inserted, "risk_calls", "c"));

    let (_, mut rows) = batch();
    (rows[4].digest, rows[5].digest) = (Some([9; 16]), Some([8; 16]));
    assert_eq!(faults(&seal, &rows).len(), 2, "two answers that were swapped");
}

#[test]
fn a_seal_that_was_altered_or_removed_is_found() {
    let (mut seal, _) = batch();
    let heads = HashMap::from([(1, b"before".to_vec())]);
    seal.risk_calls[0] = 9;
    let fault = |seal: &SealRow, heads: &HashMap<i64, Vec<u8>>| {
        check_head(seal, heads).map(|finding| (finding.fault, finding.row))
    };
    assert_eq!(fault(&seal, &heads), Some((Fault::SealAltered, "2".to_owned())));
    let found = fault(&seal, &HashMap::new());
    assert_eq!(found, Some((Fault::SealRemoved, "1".to_owned())));
    // Only the first of all follows no other, and a number below it makes none the first.
    for (id, is_found) in [(1, false), (0, true), (i64::MIN, true), (2, true)] {
        let mut first = SealRow { id, previous: None, ..seal.clone() };
        first.head = first.derived_head(b"").to_vec();
        let found = fault(&first, &HashMap::new());
        let altered = is_found.then(|| (Fault::SealAltered, id.to_string()));
        assert_eq!(found, altered, "{id}");
    }
}

#[test]
fn what_is_past_its_retention_need_not_be_there() {
    let (seal, rows) = batch();
    let expired = [None, None, Some(AT + time::Duration::DAY), None];
    let allowed = Allowed { expired, ..Allowed::default() };
    let matched = check_rows(std::slice::from_ref(&seal), &rows[..4], allowed);
    assert_eq!((matched.expired, matched.findings), (2, vec![]));
}

#[test]
fn erased_rows_may_be_missing_or_without_the_person() {
    let (seal, mut rows) = batch();
    (rows[0].digest, rows[0].is_erased) = (Some([9; 16]), true);
    rows.remove(2);
    let removed = |digest: u8, replacement: Option<u8>| RemovedRow {
        seal: 2,
        digest: [digest; 16],
        replacement: replacement.map(|digest| [digest; 16]),
    };
    let removed = [removed(1, Some(9)), removed(3, None)];
    let allowed = Allowed { removed: &removed, ..Allowed::default() };
    let matched = check_rows(std::slice::from_ref(&seal), &rows, allowed);
    assert_eq!((matched.erased, matched.intact, matched.findings), (2, 5, vec![]));
    // An erasure excuses nothing else: the person must be gone.
    for (digest, is_erased) in [(9, false), (8, true)] {
        (rows[0].digest, rows[0].is_erased) = (Some([digest; 16]), is_erased);
        let matched = check_rows(std::slice::from_ref(&seal), &rows, allowed);
        assert_eq!(matched.findings.len(), 1);
    }
    // An erasure does not replace an answer or remove a verdict.
    let (_, mut rows) = batch();
    rows[4].digest = Some([7; 16]);
    rows.remove(1);
    let excuses = [
        RemovedRow { seal: 2, digest: [5; 16], replacement: Some([7; 16]) },
        RemovedRow { seal: 2, digest: [2; 16], replacement: None },
    ];
    let excused = Allowed { removed: &excuses, ..Allowed::default() };
    let matched = check_rows(std::slice::from_ref(&seal), &rows, excused);
    assert_eq!(matched.findings.len(), 2);
}
