-- Seals: hashes that identify the rows that a worker wrote together.
--
-- The worker makes a digest of each row before it sends it: the first 16 bytes of the SHA-256 of
-- its columns. Each statement that writes evidence adds one row here, with the digests of the rows
-- that it wrote, and a hash over them and the hash of the seal before it. The hash is published
-- with the decisions, so their readers have it even if rows are rewritten here. docs/audit.md says
-- how to verify it.

create sequence seals_id_seq;

create table seals (
    id           bigint not null,
    previous     bigint,
    verdicts     bytea not null,
    claim_events bytea not null,
    risk_calls   bytea not null,
    dead_letters bytea not null,
    sealed_at    timestamptz not null,
    head         bytea not null check (octet_length(head) = 32),
    constraint seals_key primary key (id)
);

-- Digests do not compress.
alter table seals
    alter column verdicts set storage external,
    alter column claim_events set storage external,
    alter column risk_calls set storage external,
    alter column dead_letters set storage external;

comment on table seals is 'One row per statement by which a worker wrote evidence: digests of its rows, and a hash that also covers the seal before it.';
comment on column seals.id is 'The seal''s number. Numbers may be missing.';
comment on column seals.previous is 'The seal that the same worker wrote before, or the newest one when it began; null for the first of all.';
comment on column seals.verdicts is 'The digests of the rows of verdicts, 16 bytes each.';
comment on column seals.claim_events is 'The digests of the rows of claim_events, 16 bytes each.';
comment on column seals.risk_calls is 'The digests of the rows of risk_calls, 16 bytes each.';
comment on column seals.dead_letters is 'The digests of the rows of dead_letters, 16 bytes each.';
comment on column seals.sealed_at is 'When its rows were written.';
comment on column seals.head is 'claimgate_seal_head of this row and the head of the previous one. The header claimgate-seal of decisions has it.';

create function claimgate_seal_head(
    previous_head bytea, id bigint, sealed_at timestamptz,
    verdicts bytea, claim_events bytea, risk_calls bytea, dead_letters bytea
) returns bytea language sql stable as $$
    select sha256(
        previous_head || int8send(id) || timestamptz_send(sealed_at)
        || int4send(octet_length(verdicts)) || verdicts
        || int4send(octet_length(claim_events)) || claim_events
        || int4send(octet_length(risk_calls)) || risk_calls
        || int4send(octet_length(dead_letters)) || dead_letters)
$$;
comment on function claimgate_seal_head(bytea, bigint, timestamptz, bytea, bytea, bytea, bytea) is 'The hash of a seal.';

-- Every chain begins here.
insert into seals
select id, null, '', '', '', '', now(), claimgate_seal_head('', id, now(), '', '', '', '')
from nextval('seals_id_seq') as id;

-- "Which seals are of this period?" They are written in order of time, so an index of block ranges
-- is enough, and it makes writes no more expensive.
create index seals_sealed_at_idx on seals using brin (sealed_at) with (autosummarize = on);

-- "Which rows does this seal cover?" Seals are numbered almost in the order of writing, so an index
-- of block ranges is enough.
create index verdicts_seal_idx on verdicts using brin (seal) with (autosummarize = on);
create index claim_events_seal_idx on claim_events using brin (seal) with (autosummarize = on);
create index risk_calls_seal_idx on risk_calls using brin (seal) with (autosummarize = on);
create index dead_letters_seal_idx on dead_letters using brin (seal) with (autosummarize = on);
