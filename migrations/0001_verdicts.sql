-- What was decided about each claim, once and for ever.
--
-- Migrations are never edited after a release: a change comes as a new file. `claimgate migrate`
-- applies them, `claimgate run` does so too unless `postgres.migrate` is false.

-- Claims may hold any character; only UTF8 accepts them all.
do $$
begin
    if current_setting('server_encoding') <> 'UTF8' then
        raise exception 'claimgate needs a database with the encoding UTF8, and this one has %', current_setting('server_encoding')
            using hint = 'create database … encoding ''UTF8'' template template0';
    end if;
end
$$;

-- Texts that identify something are compared byte by byte (collate "C"): the same order as the
-- worker's own, which sorts a batch before it writes it so that two workers cannot deadlock, and no
-- index to rebuild when the system's locales change.
--
-- Rows are never removed, and one that commands cannot read would stop every question that meets
-- it: infinity, or a number of attempts below 0. The look-up by day asks for each day from the
-- first verdict to the last one, so one of the year 200000 would stop it too. Whoever has a
-- worker's login may add rows, so all these are refused, here and in the other tables.
create table verdicts (
    claim_id         text collate "C" not null,
    kind             text not null,
    api              text not null,
    api_schema       text not null,
    -- A check and not an enum type: a fifth decision would be a one-line migration that locks
    -- nothing for long.
    decision         text not null check (decision in ('approve', 'challenge', 'review', 'reject')),
    level            smallint,
    risk_types       int[] not null check (array_position(risk_types, null) is null
        and coalesce(array_lower(risk_types, 1), 1) = 1),
    -- Counts take the list apart, and commands read each reason: a code, and perhaps a value that
    -- is a whole bigint, a name and a group. Anything else would be an error for all rows beside
    -- it. For a key that is missing a comparison is unknown: hence `is unknown` for the code.
    reasons          jsonb not null check (reasons = '[]' or jsonb_typeof(reasons) = 'array'
        and not reasons @? 'strict $[*] ? (@.type() != "object"
            || (@.code.type() == "string") is unknown || @.code.type() != "string"
            || @.value.type() != "number" && @.value.type() != "null"
            || @.value < -9223372036854775808 || @.value > 9223372036854775807
            || @.name.type() != "string" && @.name.type() != "null"
            || @.group.type() != "string" && @.group.type() != "null")'
        -- 1.0 is whole and no bigint. The pattern costs more than the rest: it is the second look.
        and (strpos(reasons::text, '.') = 0 or reasons::text !~ '"value": -?[0-9]+[.]')),
    provider_code    bigint,
    policy_version   text not null,
    attempts         int not null check (attempts >= 0),
    challenge        text,
    claimed_at       timestamptz not null,
    decided_at       timestamptz not null
        check (decided_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    source_topic     text collate "C" not null,
    source_partition int not null,
    source_offset    bigint not null,
    trace_id         text not null,
    subject          text collate "C" not null,
    fingerprint      bytea not null check (octet_length(fingerprint) = 32),
    recorded_at      timestamptz not null default now()
        check (recorded_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    seal             bigint,
    -- "One decision per claim" depends on this key: of two inserts, the second inserts nothing.
    constraint verdicts_claim_id_key primary key (claim_id)
);

-- "What was decided about this person?" and "in this trace?" Both values are random: writes to an
-- index by value alone would go to all of its pages, and cost more with each month. By day, writes
-- stay in the part of the day, and a question reads one part after the other. A day and 11
-- characters fill 16 bytes.
create index verdicts_subject_idx on verdicts (((decided_at at time zone 'UTC')::date), left(subject, 11));
create index verdicts_trace_id_idx on verdicts (((decided_at at time zone 'UTC')::date), left(trace_id, 11));
-- "What was decided since yesterday?"
create index verdicts_decided_at_idx on verdicts (decided_at);
-- "What happened to this record?" Not unique: a topic that was deleted and recreated counts from 0
-- again. Few topics have the same offset, so their names are not worth their bytes here.
create index verdicts_source_idx on verdicts (source_offset, source_partition);

comment on table verdicts is 'One row per claim: what was decided, by which API and policy, and why. The first row recorded for a claim wins and is never changed.';
comment on column verdicts.claim_id is 'The claim''s idempotency key, as the producer gave it.';
comment on column verdicts.kind is 'The kind of claim; configuration says which API serves it.';
comment on column verdicts.api is 'The risk API that was asked.';
comment on column verdicts.api_schema is 'The edition of that API''s documents that defines level, risk_types and provider_code.';
comment on column verdicts.decision is 'approve: pay. challenge: the user must prove themselves first. review: a person decides. reject: do not pay.';
comment on column verdicts.level is 'The risk level, 0 the lowest; null where the API gave none.';
comment on column verdicts.risk_types is 'The types of risk as the API gave them, unknown ones too.';
comment on column verdicts.reasons is 'Why: [{"code": "level"|"risk_type"|"unassessable"|"unassessed"|"captcha"|"ticket", "value": …, "name": …, "group": …}].';
comment on column verdicts.provider_code is 'The API''s own return code; null where no answer came.';
comment on column verdicts.policy_version is 'The hash of the policy that decided.';
comment on column verdicts.attempts is 'How many times an API was asked; each is a row of risk_calls.';
comment on column verdicts.challenge is 'The captcha''s script, for claims of kind captcha.';
comment on column verdicts.claimed_at is 'When the user claimed.';
comment on column verdicts.decided_at is 'When the worker decided.';
comment on column verdicts.source_topic is 'The topic of the claim''s event.';
comment on column verdicts.source_partition is 'The partition of the claim''s event.';
comment on column verdicts.source_offset is 'The offset of the claim''s event.';
comment on column verdicts.trace_id is 'The OpenTelemetry trace in which the claim was assessed, 32 hex digits.';
comment on column verdicts.subject is 'Who claimed, hashed with audit.subject_key: it can be searched, but not read. See docs/audit.md.';
comment on column verdicts.fingerprint is 'SHA-256 of the event''s content: distinguishes a claim that was sent twice from two claims with one id.';
comment on column verdicts.recorded_at is 'When the row was written: never after its decision was published.';
comment on column verdicts.seal is 'The row of seals that covers this one; null where no worker wrote it.';

-- The policies that workers started with, each once for each use: an auditor can read which was in
-- force.
create table policies (
    version       text collate "C" not null,
    content       text not null,
    used          text collate "C" not null check (used in ('to_decide', 'in_shadow')),
    first_used_at timestamptz not null default now()
        check (first_used_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    constraint policies_key primary key (version, used),
    constraint policies_are_their_hash
        check (version = 'sha256:' || encode(sha256(convert_to(content, 'UTF8')), 'hex'))
);

comment on table policies is 'One row per policy that was ever in force, and one per policy that was ever in shadow.';
comment on column policies.version is 'As in verdicts.policy_version and shadow_decisions.shadow_version: the SHA-256 of content.';
comment on column policies.content is 'The policy as JSON: each API''s levels with their decisions, the effects of risk types, the decision about claims that no API assessed.';
comment on column policies.used is 'to_decide: it decided claims. in_shadow: it was evaluated beside one that did ([policy.shadow]), and decided nothing.';
comment on column policies.first_used_at is 'When a worker first used it in this way.';

-- The ids of the keys under which persons were hashed. A key's id does not reveal the key.
create table subject_keys (
    id            text collate "C" not null,
    first_used_at timestamptz not null default now(),
    constraint subject_keys_key primary key (id)
);

comment on table subject_keys is 'One row per key (audit.subject_key) with which a worker ever hashed persons.';
comment on column subject_keys.id is 'The first 8 bytes, as hex, of HMAC-SHA256 over key:claimgate with the key.';
comment on column subject_keys.first_used_at is 'When a worker first used it.';
