//! The verdict on an account: a pure function of its id, the same in every process, run and
//! release.
//!
//! So an oracle can compute what claimgate must have decided, without calling the simulator.

use super::api::Api;
use super::script::Script;

const QR_CODE_RISK_TYPES: [i32; 8] = [1, 2, 101, 102, 103, 104, 201, 206];
const MINI_PROGRAM_RISK_TYPES: [i32; 8] = [101, 102, 201, 202, 203, 204, 301, 302];

/// The verdict of an API on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// 0 to 4, with WeChat 0 to 3; higher only if the account's words say so.
    pub level: i64,
    /// Codes of the API's own table; WeChat gives none.
    pub risk_types: Vec<i32>,
}

/// The verdict of an API on an account: by the words in its id (`level-3`, `risk-101`) or else by
/// its hash, of which 90 % have level 0, 4 % level 1, 3 % level 2, 2 % level 3 and 1 % level 4
/// (which WeChat calls 3).
///
/// Two rules are added when a call is answered: IntelligentQRCode gives an account without words
/// level 0 and risk type 205 if `userIp` is not public; CaptchaCheck refuses level 3 and above, and
/// each ticket's third check.
pub fn expected(api: Api, account: &str) -> Verdict {
    verdict(api, account, &Script::read(account))
}

pub(super) fn verdict(api: Api, account: &str, script: &Script) -> Verdict {
    let risk_types = if api.is_wechat() { Vec::new() } else { script.risk_types.clone() };
    if script.has_verdict() {
        return Verdict { level: script.level.unwrap_or(0), risk_types };
    }
    let hash = hash(&[account.as_bytes()]);
    let level = match hash % 100 {
        0..90 => 0,
        90..94 => 1,
        94..97 => 2,
        97..99 => 3,
        _ if api.is_wechat() => 3,
        _ => 4,
    };
    let table = match api {
        Api::IntelligentQrCode => QR_CODE_RISK_TYPES,
        Api::MiniProgram => MINI_PROGRAM_RISK_TYPES,
        _ => return Verdict { level, risk_types },
    };
    let pick = |bits: u32| table[usize::from(((hash >> bits) & 7) as u8)];
    let mut risk_types = if level > 0 { vec![pick(16)] } else { risk_types };
    if level > 2 && pick(24) != pick(16) {
        risk_types.push(pick(24));
    }
    Verdict { level, risk_types }
}

/// A hash that never changes: FNV-1a over the parts, each ended, then mixed (SplitMix64's
/// finaliser).
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for &byte in *part {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ 0x1ff).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_spread_as_documented_and_never_change() {
        let mut levels = [0_u32; 5];
        for n in 0..20_000 {
            let verdict = expected(Api::IntelligentQrCode, &format!("account-{n}"));
            levels[usize::try_from(verdict.level).unwrap()] += 1;
            assert_eq!(verdict.level == 0, verdict.risk_types.is_empty());
        }
        for (count, share) in levels.into_iter().zip([0.90, 0.04, 0.03, 0.02, 0.01]) {
            assert!((f64::from(count) / 20_000.0 - share).abs() < 0.01, "{levels:?}");
        }
        assert_eq!(hash(&[b"oPDER5U0VMARiyXxUruU4SYmyOiw"]), 14_342_428_894_295_568_216);
    }

    #[test]
    fn words_dictate_the_verdict() {
        let verdict = expected(Api::IntelligentQrCode, "u-level-3-risk-101");
        assert_eq!(verdict, Verdict { level: 3, risk_types: vec![101] });
        assert_eq!(
            expected(Api::MiniProgram, "u-risk-205"),
            Verdict { level: 0, risk_types: vec![205] }
        );
        assert_eq!(
            expected(Api::WechatAccount, "u-level-2-risk-7"),
            Verdict { level: 2, risk_types: vec![] }
        );
    }

    #[test]
    fn wechat_stays_within_its_scale() {
        assert!((0..5000).all(|n| expected(Api::WechatMarketing, &format!("o{n}")).level <= 3));
    }
}
