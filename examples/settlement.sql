-- The tables of the settlement examples, see docs/settlement.md. Apply once:
--   psql "$SETTLEMENT_DATABASE_URL" --single-transaction --file examples/settlement.sql

-- What holds for each claim: the decision with the highest revision that was read so far.
create table decisions (
    decision_id uuid primary key,
    claim_id    text not null,
    revision    int not null,
    decision    text not null,
    seal        text not null,
    read_at     timestamptz not null default now()
);
comment on table decisions is
    'One row per claim. A message that is older than its row, or repeats it, changes nothing.';
comment on column decisions.revision is '0: a worker decided; from 1 on: a person did.';
comment on column decisions.decision is
    'No check: a word that is not known yet is kept, and not paid.';
comment on column decisions.seal is
    'The header claimgate-seal, or none: proves what the worker''s tables held.';

-- Whoever moves the money reads this table, and hands decision_id on as the idempotency key.
create table payments (
    decision_id uuid primary key, -- at most one payment a claim, whatever is delivered how often
    claim_id    text not null,
    revision    int not null,
    paid_at     timestamptz not null default now()
);
comment on table payments is 'One row per claim that was approved: the order to pay.';
comment on column payments.revision is 'The revision that approved it.';

create table revised_payments (
    decision_id uuid not null,
    revision    int not null,
    decision    text not null,
    read_at     timestamptz not null default now(),
    primary key (decision_id, revision)
);
comment on table revised_payments is
    'Revisions of claims that were paid already. A person decides what to do about the money.';

create table set_aside (
    topic         text not null,
    partition     int not null,
    record_offset bigint not null,
    record_time   timestamptz not null,
    reason        text not null,
    key           bytea,
    value         bytea,
    set_aside_at  timestamptz not null default now(),
    -- The time as well: a topic that was recreated counts its offsets from 0 again.
    primary key (topic, partition, record_offset, record_time)
);
comment on table set_aside is
    'Messages that nobody was paid from because they were not understood. A row here is an alarm.';
