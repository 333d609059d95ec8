-- The record without identities, for people who query by SQL and need not know who claimed.
--
-- Views show what their owner may read, so the role claimgate_analyst needs no right on the tables.
-- What is encrypted (postgres.evidence_keys) is null here.
--
-- A view hands these functions what its owner may read. So they must not use their caller's search
-- path: a login that may make a type named jsonb would get each event unencrypted. A body that is
-- one `return` is read when the function is made.

create function claimgate_masked(value text) returns text language sql immutable
    return case when length(value) < 8 then '***' else left(value, 3) || '***' || right(value, 2) end;
comment on function claimgate_masked(text) is 'Three characters of a text, and its last two; none of a short one.';

create function claimgate_network(address text) returns cidr language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
declare
    given inet;
begin
    -- Blanks around it are read past, as the worker does.
    given := btrim(address, E' \t\r\n')::inet;
    -- An IPv4 address that is written as one of IPv6 is what it is.
    if given <<= inet '::ffff:0.0.0.0/96' then
        given := inet '0.0.0.0' + (given - inet '::ffff:0.0.0.0');
    end if;
    return network(set_masklen(given, case family(given) when 4 then 24 else 48 end));
exception when invalid_text_representation then
    return null;
end
$$;
comment on function claimgate_network(text) is 'The network of an address: /24, of IPv6 /48. Null where the text is no address.';

create function claimgate_event(payload bytea) returns jsonb language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
begin
    -- A byte order mark before an event is read past, as the worker does.
    return ltrim(convert_from(payload, 'UTF8'), E'\uFEFF')::jsonb;
exception when others then
    return null;
end
$$;
comment on function claimgate_event(bytea) is 'An event as JSON. Null where it is encrypted, or holds a NUL character, which jsonb cannot.';

create view masked_claims as
select claim_id, kind, api, api_schema, verdicts.decision,
    coalesce(revised.decision, verdicts.decision) as decision_in_force,
    level, risk_types, reasons, provider_code, policy_version, attempts, claimed_at, decided_at,
    source_topic, source_partition, source_offset, trace_id, subject,
    event #>> '{account,type}' as account_type,
    claimgate_masked(event #>> '{account,id}') as account_id,
    claimgate_masked(event #>> '{account,phone}') as phone,
    claimgate_network(event #>> '{client,ip}') as network,
    event #>> '{reward,merchant}' as merchant,
    event #>> '{reward,goods}' as goods
from verdicts
-- One that was announced and cut short before Kafka had it is not in force.
left join lateral (
    select revisions.decision from revisions join revision_places using (claim_id, revision)
    where revisions.claim_id = verdicts.claim_id
    order by revision desc limit 1
) as revised on true
-- The event that the verdict rests on. The times keep the look to a few partitions. With a limit
-- the event is parsed once a row.
left join lateral (
    select claimgate_event(payload) as event from claim_events
    where claim_events.claim_id = verdicts.claim_id
        and claim_events.source_offset = verdicts.source_offset
        and claim_events.source_partition = verdicts.source_partition
        and claim_events.source_topic = verdicts.source_topic
        and received_at >= decided_at - interval '31 days'
        and received_at < decided_at + interval '1 day'
    limit 1
) as kept on true;

comment on view masked_claims is 'One row per claim that was decided, with the person''s data masked.';
comment on column masked_claims.claim_id is 'As in verdicts.';
comment on column masked_claims.kind is 'As in verdicts.';
comment on column masked_claims.api is 'As in verdicts.';
comment on column masked_claims.api_schema is 'As in verdicts.';
comment on column masked_claims.decision is 'As in verdicts: what the worker decided.';
comment on column masked_claims.decision_in_force is 'The decision of the last revision that is known to be published, or of the worker where there is none.';
comment on column masked_claims.level is 'As in verdicts.';
comment on column masked_claims.risk_types is 'As in verdicts.';
comment on column masked_claims.reasons is 'As in verdicts.';
comment on column masked_claims.provider_code is 'As in verdicts.';
comment on column masked_claims.policy_version is 'As in verdicts.';
comment on column masked_claims.attempts is 'As in verdicts.';
comment on column masked_claims.claimed_at is 'As in verdicts.';
comment on column masked_claims.decided_at is 'As in verdicts.';
comment on column masked_claims.source_topic is 'As in verdicts.';
comment on column masked_claims.source_partition is 'As in verdicts.';
comment on column masked_claims.source_offset is 'As in verdicts.';
comment on column masked_claims.trace_id is 'As in verdicts.';
comment on column masked_claims.subject is 'As in verdicts: the same for all claims of one account.';
comment on column masked_claims.account_type is 'The event''s account.type.';
comment on column masked_claims.account_id is 'The event''s account.id, masked.';
comment on column masked_claims.phone is 'The event''s account.phone, masked.';
comment on column masked_claims.network is 'The network of the event''s client.ip: /24, of IPv6 /48.';
comment on column masked_claims.merchant is 'The event''s reward.merchant.';
comment on column masked_claims.goods is 'The event''s reward.goods.';

create view masked_calls as
select id, claim_id, attempt, api, requested_at, latency, http_status, provider_code, outcome, reason,
    response is not null as answered, trace_id
from risk_calls;

comment on view masked_calls is 'One row per attempt at a risk API, without request and answer.';
comment on column masked_calls.id is 'As in risk_calls.';
comment on column masked_calls.claim_id is 'As in risk_calls.';
comment on column masked_calls.attempt is 'As in risk_calls.';
comment on column masked_calls.api is 'As in risk_calls.';
comment on column masked_calls.requested_at is 'As in risk_calls.';
comment on column masked_calls.latency is 'As in risk_calls.';
comment on column masked_calls.http_status is 'As in risk_calls.';
comment on column masked_calls.provider_code is 'As in risk_calls.';
comment on column masked_calls.outcome is 'As in risk_calls.';
comment on column masked_calls.reason is 'As in risk_calls.';
comment on column masked_calls.answered is 'Whether an answer is kept.';
comment on column masked_calls.trace_id is 'As in risk_calls.';

create view masked_dead_letters as
select source_topic, source_partition, source_offset, error, error_field,
    octet_length(payload) as bytes, received_at, trace_id
from dead_letters;

comment on view masked_dead_letters is 'One row per dead letter, without the event.';
comment on column masked_dead_letters.source_topic is 'As in dead_letters.';
comment on column masked_dead_letters.source_partition is 'As in dead_letters.';
comment on column masked_dead_letters.source_offset is 'As in dead_letters.';
comment on column masked_dead_letters.error is 'As in dead_letters.';
comment on column masked_dead_letters.error_field is 'As in dead_letters.';
comment on column masked_dead_letters.bytes is 'How long the event is, as it is stored.';
comment on column masked_dead_letters.received_at is 'As in dead_letters.';
comment on column masked_dead_letters.trace_id is 'As in dead_letters.';
