//! The done-beyond-watermark map: which records after the committed offset are done, as text for
//! the commit's metadata.
//!
//! Owns the format and its size bound. Knows no Kafka, and no ledger. The invariants: a map that
//! was written is read back as it was, or not at all; [`always_fits`] never promises too much, so
//! that no completed offset is ever dropped.
//!
//! The text is `cg1:` + base64url of `kind (1) · span (varint) · payload · CRC-32 (4)`. The span
//! counts the offsets from the committed one to the end of what is known. The payload is the
//! smaller of run lengths (varints; open and done alternate, open first) and a bitset (1 = done,
//! lowest bit first). The checksum covers the committed offset too: metadata of another offset is
//! rejected.
//!
//! ```
//! use claimgate::intake::offset_map::{OffsetMap, encode};
//!
//! let metadata = encode(10, &[10, 13], 16);
//! let map = OffsetMap::decode(10, &metadata, 16).expect("our own");
//! assert_eq!(map.end(), 16);
//! assert_eq!(map.into_open().into_iter().collect::<Vec<_>>(), [10, 13]);
//! assert!(OffsetMap::decode(11, &metadata, 16).is_err(), "it belongs to another offset");
//! ```

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The broker's default bound on commit metadata, `offset.metadata.max.bytes`.
pub const METADATA_MAX_BYTES: usize = 4096;
/// The range of `kafka.offset_metadata_max_bytes`. With less, the map of one open offset behind a
/// long gap would not fit, and its partition would be stuck. Brokers store no longer text.
pub const METADATA_BOUNDS: RangeInclusive<usize> = 64..=32_767;
/// Marks the metadata as ours, with its version.
const MAGIC: &str = "cg1:";
/// The most open offsets of a map that fits into any metadata: a bitset holds that many, and run
/// lengths fewer.
const OPEN_MAX: usize = payload_max(*METADATA_BOUNDS.end()) * 8;
const RUNS: u8 = 0;
const BITSET: u8 = 1;

/// The content of a map: the offsets that are open (not done) between the committed one and the
/// end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetMap {
    open: BTreeSet<i64>,
    end: i64,
}

/// Why metadata is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OffsetMapError {
    /// It is of another program, or of another version.
    #[error("the commit metadata is not of this version of claimgate")]
    Foreign,
    /// It was cut or changed, or belongs to another offset.
    #[error("the commit metadata is garbled ({0})")]
    Garbled(&'static str),
    /// It names offsets that the log does not have: the topic was deleted and created again.
    #[error("the commit metadata reaches to offset {end}, beyond the log's end {log_end}")]
    BeyondLog {
        /// Where the map ends.
        end: i64,
        /// Where the log ends.
        log_end: i64,
    },
}

/// The bytes that the payload may have, after base64's 4/3, the magic, kind, span and checksum.
const fn payload_max(metadata_max: usize) -> usize {
    (metadata_max.saturating_sub(MAGIC.len()) / 4 * 3).saturating_sub(1 + 10 + 4)
}

/// Whether the map of `open` open offsets within `span` offsets fits into `metadata_max` bytes of
/// metadata, no matter which of them are finished.
pub fn always_fits(open: usize, span: i64, metadata_max: usize) -> bool {
    let (span, payload_max) = (u64::try_from(span).unwrap_or(0), payload_max(metadata_max));
    let bitset = span.div_ceil(8) <= payload_max as u64;
    // In the worst case each open offset is a run of its own, and so is each gap between two of
    // them.
    let runs = (2 * open + 1).saturating_mul(varint_len(span)) <= payload_max;
    bitset || runs
}

/// Writes the map for a commit at `offset`, with these `open` offsets (ascending, none below
/// `offset`) and this end. Empty if nothing is done beyond `offset`.
pub fn encode(offset: i64, open: &[i64], end: i64) -> String {
    let span = u64::try_from(end.saturating_sub(offset)).unwrap_or(0);
    if span == 0 || open.len() as u64 == span {
        return String::new();
    }
    let runs = encode_runs(offset, open, end);
    let bitset_len = span.div_ceil(8);
    let (kind, payload) = if runs.len() as u64 <= bitset_len {
        (RUNS, runs)
    } else {
        (BITSET, encode_bitset(offset, open, span))
    };
    let mut bytes = vec![kind];
    push_varint(&mut bytes, span);
    bytes.extend_from_slice(&payload);
    let checksum = checksum(offset, &bytes);
    bytes.extend_from_slice(&checksum);
    format!("{MAGIC}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn encode_runs(offset: i64, open: &[i64], end: i64) -> Vec<u8> {
    let mut runs = Vec::new();
    let mut at = offset;
    let mut open = open.iter().copied().peekable();
    while let Some(first) = open.next() {
        let mut last = first;
        while open.peek() == Some(&(last + 1)) {
            last += 1;
            open.next();
        }
        if first > at {
            // Nothing open at the very start is written as an open run of length 0.
            if at == offset {
                push_varint(&mut runs, 0);
            }
            push_varint(&mut runs, first.abs_diff(at));
        }
        push_varint(&mut runs, last.abs_diff(first) + 1);
        at = last + 1;
    }
    if at == offset {
        push_varint(&mut runs, 0);
    }
    if end > at {
        push_varint(&mut runs, end.abs_diff(at));
    }
    runs
}

fn encode_bitset(offset: i64, open: &[i64], span: u64) -> Vec<u8> {
    let bytes = usize::try_from(span.div_ceil(8))
        .expect("a bitset is written only where it is shorter than the runs");
    let mut bits = vec![0xff_u8; bytes];
    for open in open {
        let bit = open.abs_diff(offset);
        if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|index| bits.get_mut(index)) {
            *byte &= !(1 << (bit % 8));
        }
    }
    bits
}

impl OffsetMap {
    /// Reads the metadata of a commit at `offset`. Empty metadata means that nothing is done beyond
    /// it.
    ///
    /// # Errors
    /// [`OffsetMapError`]; the caller then continues as with empty metadata.
    pub fn decode(offset: i64, metadata: &str, log_end: i64) -> Result<Self, OffsetMapError> {
        if metadata.is_empty() {
            return Ok(Self { open: BTreeSet::new(), end: offset });
        }
        let text = metadata.strip_prefix(MAGIC).ok_or(OffsetMapError::Foreign)?;
        let bytes =
            URL_SAFE_NO_PAD.decode(text).map_err(|_| OffsetMapError::Garbled("not base64"))?;
        let (body, sum) =
            bytes.split_last_chunk::<4>().ok_or(OffsetMapError::Garbled("too short"))?;
        if *sum != checksum(offset, body) {
            return Err(OffsetMapError::Garbled("checksum"));
        }
        let (kind, mut rest) = body.split_first().ok_or(OffsetMapError::Garbled("too short"))?;
        let span = take_varint(&mut rest).ok_or(OffsetMapError::Garbled("span"))?;
        let end = i64::try_from(span)
            .ok()
            .and_then(|span| offset.checked_add(span))
            .ok_or(OffsetMapError::Garbled("span"))?;
        if end > log_end {
            return Err(OffsetMapError::BeyondLog { end, log_end });
        }
        let open = match *kind {
            RUNS => decode_runs(offset, rest, end),
            BITSET => decode_bitset(offset, rest, span),
            _ => return Err(OffsetMapError::Foreign),
        };
        open.map(|open| Self { open, end }).ok_or(OffsetMapError::Garbled("payload"))
    }

    /// The offset after the last one in the map.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The offsets that are not done, ascending.
    pub fn into_open(self) -> BTreeSet<i64> {
        self.open
    }
}

fn decode_runs(offset: i64, mut bytes: &[u8], end: i64) -> Option<BTreeSet<i64>> {
    let mut open = BTreeSet::new();
    let mut at = offset;
    let mut is_open = true;
    while !bytes.is_empty() {
        let length = take_varint(&mut bytes)?;
        let next = i64::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length))
            .filter(|next| *next <= end)?;
        if is_open {
            if open.len() as u64 + length > OPEN_MAX as u64 {
                return None;
            }
            open.extend(at..next);
        }
        at = next;
        is_open = !is_open;
    }
    (at == end).then_some(open)
}

fn decode_bitset(offset: i64, bytes: &[u8], span: u64) -> Option<BTreeSet<i64>> {
    if bytes.len() as u64 != span.div_ceil(8) {
        return None;
    }
    let is_open = |bit: &u64| {
        let byte = usize::try_from(bit / 8)
            .ok()
            .and_then(|index| bytes.get(index))
            .copied()
            .unwrap_or(0xff);
        byte & (1 << (bit % 8)) == 0
    };
    (0..span)
        .filter(is_open)
        .map(|bit| i64::try_from(bit).ok().and_then(|bit| offset.checked_add(bit)))
        .collect()
}

fn checksum(offset: i64, body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_be_bytes());
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn varint_len(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

#[cfg(test)]
mod tests;
