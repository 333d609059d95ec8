-- The evidence: every attempt at a risk API, and the claims as they came in.
--
-- By far the largest tables. They are partitioned by month, so that retention drops a table and
-- does not delete rows. The key of a partitioned table must contain the time it is partitioned by.

create table risk_calls (
    id            uuid not null,
    claim_id      text collate "C" not null,
    attempt       int not null check (attempt >= 0),
    api           text not null,
    requested_at  timestamptz not null
        check (requested_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    latency       interval not null,
    http_status   int,
    provider_code bigint,
    outcome       text not null,
    reason        text not null,
    request       text not null,
    response      bytea,
    trace_id      text not null,
    cause         text,
    seal          bigint,
    -- It begins with the claim, so that a claim's attempts are found by it as well.
    constraint risk_calls_key primary key (claim_id, requested_at, id)
) partition by range (requested_at);

-- A call whose month has no partition is kept here: an insert never fails because a table is
-- missing.
create table risk_calls_default partition of risk_calls default;

-- "Which claims were sent to an API and have no verdict?" looks for the attempts of a period. They
-- are written in order of time, so an index of block ranges is enough, and it makes writes no more
-- expensive.
create index risk_calls_requested_at_idx on risk_calls using brin (requested_at);

comment on table risk_calls is 'One row per attempt at a risk API, whatever its outcome, also for claims that are not decided yet. Partitioned by month.';
comment on column risk_calls.id is 'The attempt''s own id: attempt numbers can repeat when a worker died between the call and this row.';
comment on column risk_calls.claim_id is 'The claim that the API was asked about.';
comment on column risk_calls.attempt is '1 for the first attempt since a worker took the claim on.';
comment on column risk_calls.api is 'The risk API that was asked.';
comment on column risk_calls.requested_at is 'When the request was sent.';
comment on column risk_calls.latency is 'From sending to the last byte of the answer, or until the attempt was given up.';
comment on column risk_calls.http_status is 'The HTTP status; null where no answer came.';
comment on column risk_calls.provider_code is 'The API''s own return code; null where there was none to read.';
comment on column risk_calls.outcome is 'assessed, transient, unassessable, access_denied, or unknown: sent, and no whole answer came.';
comment on column risk_calls.reason is 'Why, in one word; empty for a verdict.';
comment on column risk_calls.request is 'The request as it was sent, secrets removed. A NUL character stands as U+FFFD. With postgres.evidence_keys encrypted, in base64 after encrypted:.';
comment on column risk_calls.response is 'The answer, byte for byte, or as much of it as came; null where none came. As text: convert_from(response, ''UTF8''). With postgres.evidence_keys encrypted, after the bytes c1 63 67 31.';
comment on column risk_calls.trace_id is 'The OpenTelemetry trace of the attempt, 32 hex digits.';
comment on column risk_calls.cause is 'Why no usable answer came, as the network, TLS or HTTP library reported it; null where a proper answer came.';
comment on column risk_calls.seal is 'The row of seals that covers this one; null where no worker wrote it.';

create table claim_events (
    source_topic     text collate "C" not null,
    source_partition int not null,
    source_offset    bigint not null,
    claim_id         text collate "C" not null,
    key              bytea,
    headers          jsonb not null,
    payload          bytea,
    received_at      timestamptz not null
        check (received_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    trace_id         text not null,
    phone_hash       bigint,
    network_hash     bigint,
    certificate_hash bigint,
    seal             bigint
) partition by range (received_at);

create table claim_events_default partition of claim_events default;

-- Not unique: an event is written only together with the one verdict of its claim.
create index claim_events_claim_id_idx on claim_events (claim_id);
-- "Which claims named this phone number, came from this address?" A range of blocks without such a
-- hash is skipped. That takes 2 bytes an event, and writing is as cheap as without.
create index claim_events_phone_hash_idx on claim_events
    using brin (phone_hash int8_bloom_ops (n_distinct_per_range = 3000)) with (autosummarize = on);
create index claim_events_network_hash_idx on claim_events
    using brin (network_hash int8_bloom_ops (n_distinct_per_range = 3000)) with (autosummarize = on);
create index claim_events_certificate_hash_idx on claim_events
    using brin (certificate_hash int8_bloom_ops (n_distinct_per_range = 3000)) with (autosummarize = on);

comment on table claim_events is 'The event behind each verdict, as it was received, except for secrets. Partitioned by month.';
comment on column claim_events.source_topic is 'The topic of the event.';
comment on column claim_events.source_partition is 'The partition of the event.';
comment on column claim_events.source_offset is 'The offset of the event.';
comment on column claim_events.claim_id is 'The claim that the event carries.';
comment on column claim_events.key is 'The producer''s key, byte for byte; null where there was none.';
comment on column claim_events.headers is 'The producer''s headers, in order: [{"name": …, "text": …}], "base64" in place of "text" where the value is no text, neither where it is null.';
comment on column claim_events.payload is 'The event, byte for byte, except that login.token and captcha.ticket are replaced by their SHA-256. As text: convert_from(payload, ''UTF8''). With postgres.evidence_keys encrypted, as risk_calls.response.';
comment on column claim_events.received_at is 'When the worker took the event on.';
comment on column claim_events.trace_id is 'The OpenTelemetry trace of the claim, 32 hex digits.';
comment on column claim_events.phone_hash is 'The account''s phone number: the first 8 bytes of HMAC-SHA256 over phone:NUMBER with audit.subject_key; null where none is given.';
comment on column claim_events.network_hash is 'The network of the client''s address, /24 or /64: the same over network:NETWORK; null where the address is none.';
comment on column claim_events.certificate_hash is 'The number of the certificate: the same over certificate:NUMBER; null where none is given.';
comment on column claim_events.seal is 'The row of seals that covers this one; null where no worker wrote it.';
