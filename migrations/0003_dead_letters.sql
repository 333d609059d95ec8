-- Events that are no claims. The dead-letter topic carries them as well; here they can be searched,
-- and a topic that is missing or refuses a large message loses nothing.

create table dead_letters (
    source_topic     text collate "C" not null,
    source_partition int not null,
    source_offset    bigint not null,
    error            text not null,
    error_field      text,
    detail           text not null,
    key              bytea,
    payload          bytea,
    headers          jsonb not null check (jsonb_typeof(headers) = 'array'),
    received_at      timestamptz not null
        check (received_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    trace_id         text not null,
    content          text collate "C" not null check (content ~ '^[0-9a-f]{16}$'),
    recorded_at      timestamptz not null default now()
        check (recorded_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    seal             bigint,
    -- An event is one dead letter, even if it is read several times. Its place alone does not
    -- identify it: a topic that was deleted and created again, or moved to another cluster, counts
    -- from 0.
    constraint dead_letters_key primary key (source_topic, source_partition, source_offset, content)
);

create index dead_letters_received_at_idx on dead_letters (received_at);

comment on table dead_letters is 'One row per event that became no decision: malformed, or in conflict with a claim recorded before.';
comment on column dead_letters.source_topic is 'The topic of the event.';
comment on column dead_letters.source_partition is 'The partition of the event.';
comment on column dead_letters.source_offset is 'The offset of the event.';
comment on column dead_letters.error is 'What is wrong, in one word: not_json, missing_field, claim_id_conflict, unrecordable, …';
comment on column dead_letters.error_field is 'The path of the field at fault, such as account.id; null where the whole event is.';
comment on column dead_letters.detail is 'What is wrong, in one sentence, which repeats no value of the event but its claim id and kind. A NUL character stands as U+FFFD.';
comment on column dead_letters.key is 'The producer''s key, byte for byte; null where there was none.';
comment on column dead_letters.payload is 'The event, byte for byte; null for a tombstone. With postgres.evidence_keys encrypted, as risk_calls.response.';
comment on column dead_letters.headers is 'The producer''s headers, in order: [{"name": …, "text": …}], "base64" in place of "text" where the value is no text, neither where it is null.';
comment on column dead_letters.received_at is 'When the worker took the event on.';
comment on column dead_letters.trace_id is 'The OpenTelemetry trace of the event, 32 hex digits.';
comment on column dead_letters.content is 'A hash of key, headers and payload: it distinguishes two events that had the same place one after the other.';
-- A replay selects only letters that are older than itself; otherwise it would replay those that it
-- caused.
comment on column dead_letters.recorded_at is 'When the row was written, by this server''s clock.';
comment on column dead_letters.seal is 'The row of seals that covers this one; null where no worker wrote it.';
