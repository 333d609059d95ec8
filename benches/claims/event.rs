//! The claim that all benchmarks are about.

/// A claim like that of a mini-program: about 900 bytes.
pub(crate) fn event(claim_id: &str, number: usize, account: usize) -> String {
    serde_json::json!({
        "claim_id": claim_id,
        "kind": "qr_code",
        "claimed_at": 1_632_994_480 + i64::try_from(number).unwrap_or(0),
        "account": {
            "type": "wechat", "id": format!("oPDER5U0VMARiyXxUruU4S{account:06}"), "app_id": "wx0000000000000001",
            "associate_id": "SpFsjpyvaJ27329", "phone": "15912345687", "registered_at": 1_436_673_889
        },
        "client": {
            "ip": "121.14.96.121", "device_id": "3f1c9a7e-0b52-4a55-9d0e-6a4f8f0a2b11", "imei": "867293045612378",
            "mac": "00:1b:63:84:45:e6", "wifi_bssid": "a0:b1:c2:d3:e4:f5", "cookie_hash": "0cc175b9c0f1b6a831c399e269772661",
            "referer": "https://campaign.example/red-packet?from=bottle-cap", "forwarded_for": "121.14.96.121",
            "address": "Shenzhen, Nanshan", "latitude": 22.5405, "longitude": 113.9345
        },
        "login": { "type": 3, "source": 4, "wechat_subtype": 2, "nonce": "0123456789abcdef", "token": "5c1a0e5f77d2" },
        "reward": {
            "goods": "red packet", "code_hash": "9b2c0f6e7a1d4c35", "share": 1, "daily_limit": 3, "total_limit": 10,
            "merchant": "m-1024"
        }
    })
    .to_string()
}
