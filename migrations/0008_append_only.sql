-- Evidence is added and never changed, not even by the owner of the tables.
--
-- Two exceptions, only for the owner, in a transaction that names its purpose: retention deletes
-- rows (set local claimgate.removal = 'retention'), and the erasure of a person deletes events,
-- attempts and dead letters and takes the person out of verdicts ('erasure').
-- `claimgate audit retention` and `claimgate audit erase` do so, and record in removals who did it,
-- and why.

-- The arguments are the operation that may be done, and for which purposes.
create function claimgate_refuse_change() returns trigger language plpgsql as $$
begin
    if tg_argv[0] = tg_op and current_setting('claimgate.removal', true) = any (tg_argv)
        and pg_has_role((select relowner from pg_class where oid = tg_relid), 'usage')
    then
        if tg_op = 'DELETE' then
            return old;
        elsif to_jsonb(new) - '{subject,challenge}'::text[]
            = to_jsonb(old) - '{subject,challenge}'::text[]
        then
            return new;
        end if;
    end if;
    raise exception '% of % is refused: evidence is append-only',
        lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege',
            hint = 'docs/audit.md says how the owner of the tables erases a person';
end
$$;
comment on function claimgate_refuse_change() is 'Keeps rows from being changed or removed.';

create table removals (
    id         bigint generated always as identity primary key,
    removed_by text not null check (removed_by ~ '\S'),
    reason     text not null check (reason ~ '\S'),
    role       text not null default session_user,
    removed_at timestamptz not null default now(),
    relation   text,
    before     timestamptz
);

comment on table removals is 'One row per command that deleted evidence, written before it did.';
comment on column removals.id is 'The command''s number: removed_rows.removal.';
comment on column removals.removed_by is 'Who is responsible.';
comment on column removals.reason is 'Why, in their words; for retention, the setting and what was older.';
comment on column removals.role is 'The database role of their login.';
comment on column removals.removed_at is 'When it began.';
comment on column removals.relation is 'For retention: the table whose rows were deleted.';
comment on column removals.before is 'For retention: rows older than this were deleted.';

create table removed_rows (
    seal        bigint not null,
    digest      bytea not null check (octet_length(digest) = 16),
    replacement bytea check (octet_length(replacement) = 16),
    removal     bigint not null references removals,
    constraint removed_rows_key primary key (seal, digest)
);

-- "How many rows did this command remove?"
create index removed_rows_removal_idx on removed_rows (removal);

comment on table removed_rows is 'What the erasure of a person removed: rows that seals cover and that were deleted or changed.';
comment on column removed_rows.seal is 'The seal that covers the row.';
comment on column removed_rows.digest is 'The row''s digest in it.';
comment on column removed_rows.replacement is 'The digest of the row without the person; null where the whole row was deleted.';
comment on column removed_rows.removal is 'The command: removals.id.';

do $$
declare
    evidence text;
    allowed text;
begin
    foreach evidence in array array[
        'verdicts', 'policies', 'subject_keys', 'seals', 'revisions', 'revision_places', 'republications',
        'removals', 'removed_rows', 'dead_letter_replays',
        'dead_letter_replay_places', 'token_exchanges', 'dead_letters', 'risk_calls', 'claim_events'
    ] loop
        allowed := case
            when evidence = 'verdicts' then $arguments$ 'UPDATE', 'erasure' $arguments$
            when evidence in ('dead_letters', 'risk_calls', 'claim_events')
                then $arguments$ 'DELETE', 'retention', 'erasure' $arguments$
            else '' end;
        execute format('create trigger %I before update or delete on %I
            for each row execute function claimgate_refuse_change(%s)',
            case evidence when 'verdicts' then 'verdicts_are_final' else evidence || '_only_grow' end,
            evidence, allowed);
    end loop;
    -- Truncating a partitioned table truncates its partitions, and fires their triggers.
    foreach evidence in array array[
        'verdicts', 'policies', 'subject_keys', 'seals', 'revisions', 'revision_places', 'republications',
        'removals', 'removed_rows', 'dead_letter_replays',
        'dead_letter_replay_places', 'token_exchanges', 'dead_letters', 'risk_calls', 'claim_events',
        'risk_calls_default', 'claim_events_default'
    ] loop
        execute format('create trigger %I before truncate on %I
            for each statement execute function claimgate_refuse_change()',
            evidence || '_are_kept', evidence);
    end loop;
end
$$;
