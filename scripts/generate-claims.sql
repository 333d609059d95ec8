-- Fills an empty, migrated database with claims, to measure questions and writing at size:
--
--     psql -v claims=1000000 -v days=300 -v kept=300 -f scripts/generate-claims.sql "$DATABASE_URL"
--
-- Verdicts and events of `days`, attempts of the last `kept` days of them. Claim ids, subjects and
-- traces are random; one account in a thousand claims often. Rows are as large as those of the
-- documented messages; persons are hashed as without `audit.subject_key`. No seal covers them.
\set ON_ERROR_STOP on
\timing off
set synchronous_commit = off;

select claimgate_ensure_partitions((now() - :days * interval '1 day')::date, :days / 30 + 2) \g /dev/null

-- HMAC-SHA256 with the worker's default key.
create function pg_temp.keyed(value text) returns bytea language sql immutable as $$
    select sha256(outer_key || sha256(inner_key || convert_to(value, 'UTF8')))
    from (select decode(rpad('3f303d35313b3d2839', 128, '5c'), 'hex') as outer_key,
        decode(rpad('555a575f5b51574253', 128, '36'), 'hex') as inner_key) as padded
$$;

create function pg_temp.short(value text) returns bigint language sql immutable as $$
    select ('x' || encode(substr(pg_temp.keyed(value), 1, 8), 'hex'))::bit(64)::bigint
$$;

create temporary view given as
select number,
    md5(number::text || 'claim') as claim_id,
    now() - :days * interval '1 day' * (1 - number::float / :claims) as decided_at,
    case when number % 1000 < 5 then number % 1000 else number end as account,
    1 + number % 220 || '.' || number / 220 % 250 || '.' || number / 55000 % 250 as network,
    (array['approve', 'approve', 'approve', 'challenge', 'reject'])[1 + number % 5] as decision,
    (array[0, 0, 0, 2, 4])[1 + number % 5] as level
from generate_series(1, :claims) as number;

insert into verdicts (claim_id, kind, api, api_schema, decision, level, risk_types, reasons,
    provider_code, policy_version, attempts, claimed_at, decided_at, source_topic,
    source_partition, source_offset, trace_id, subject, fingerprint, recorded_at)
select claim_id, 'qr_code', 'intelligent_qr_code', '2021', decision, level,
    case when level > 0 then '{101}'::int[] else '{}' end,
    jsonb_build_array(jsonb_build_object('code', 'level', 'value', level)), 0,
    'sha256:2a8242f0858bbbde9c5dcbd0a0008e5a4a1dd2a8a7ab8d7a4b8d3a4b0a8d3a4b', 1,
    decided_at - interval '3 seconds', decided_at, 'reward.claims', number % 8, number / 8,
    md5(number::text || 'trace'),
    encode(pg_temp.keyed('wechat:' || md5(account::text)), 'hex'),
    sha256(number::text::bytea), decided_at
from given;

insert into claim_events (source_topic, source_partition, source_offset, claim_id, key, headers,
    payload, received_at, trace_id, phone_hash, network_hash)
select 'reward.claims', number % 8, number / 8, claim_id, account::text::bytea, '[]',
    convert_to(jsonb_build_object(
        'claim_id', claim_id, 'kind', 'qr_code', 'claimed_at', 1632994480,
        'account', jsonb_build_object('type', 'wechat', 'id', md5(account::text), 'phone',
            '1' || lpad(account::text, 10, '3'), 'registered_at', 1436673889),
        'client', jsonb_build_object('ip', network || '.' || number % 251,
            'device_id', md5(number::text || 'device'), 'address', 'Shenzhen, Nanshan district'),
        'reward', jsonb_build_object('goods', 'red packet', 'code_hash', md5(number::text || 'code'),
            'daily_limit', 3, 'total_limit', 10))::text, 'UTF8'),
    decided_at - interval '20 milliseconds', md5(number::text || 'trace'),
    pg_temp.short('phone:1' || lpad(account::text, 10, '3')),
    pg_temp.short('network:' || network || '.0/24')
from given;

insert into risk_calls (id, claim_id, attempt, api, requested_at, latency, http_status,
    provider_code, outcome, reason, request, response, trace_id)
select gen_random_uuid(), claim_id, 1, 'intelligent_qr_code', decided_at - interval '15 milliseconds',
    interval '12 milliseconds', 200, 0, 'assessed', '',
    'GET https://csec.api.qcloud.com/v2/index.php?Action=IntelligentQRCode&Nonce=' || number
        || '&Region=gz&SecretId=…&Timestamp=1632994480&accountType=2&uid=' || md5(account::text)
        || '&userIp=' || network || '.' || number % 251 || '&deviceId='
        || md5(number::text || 'device') || '&codeHash=' || md5(number::text || 'code')
        || '&registerTime=1436673889&Signature=…',
    convert_to('{"code": 0, "message": "", "level": ' || level || ', "riskType": [], "uid": "'
        || md5(account::text) || '", "postTime": 1632994480, "requestId": "'
        || md5(number::text || 'request') || '"}', 'UTF8'),
    md5(number::text || 'trace')
from given
where decided_at > now() - :kept * interval '1 day';

vacuum analyze;
