-- The roles of claimgate, and what each may do. It may be run again: after an update, for new
-- tables.
--
-- claimgate_owner     owns the tables: it migrates, and takes away what is past its retention
-- claimgate_worker    adds evidence and reads it, for its status page masked, and what people did
-- claimgate_auditor   reads
-- claimgate_analyst   reads the masked views, which hold no identity
-- claimgate_operator  reads dead letters, and adds replays of them
-- claimgate_reviewer  reads what the auditor reads, revises decisions, and publishes them again

do $$
declare
    name text;
begin
    foreach name in array array[
        'claimgate_owner', 'claimgate_worker', 'claimgate_auditor', 'claimgate_operator',
        'claimgate_reviewer', 'claimgate_analyst'
    ] loop
        if to_regrole(name) is null then
            execute format('create role %I nologin', name);
        end if;
    end loop;
    -- The role that runs this can still migrate.
    if not pg_has_role('claimgate_owner', 'usage') then
        execute format('grant claimgate_owner to %I', current_user);
    end if;
    -- A role that may make functions in the schema of these tables can make the owner call one of
    -- them: of several functions with one name, PostgreSQL calls the one that fits the arguments
    -- best. Before version 15 every role may do that.
    execute format('revoke create on schema %I from public', current_schema());
    execute format('grant usage, create on schema %I to claimgate_owner', current_schema());
    execute format('grant usage on schema %I
        to claimgate_worker, claimgate_auditor, claimgate_operator, claimgate_reviewer,
            claimgate_analyst',
        current_schema());
    -- To give a table away locks it: one that is given away already is left alone.
    for name in
        select format('alter table %s owner to claimgate_owner', oid::regclass) from pg_class
        where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'S', 'v')
            and relowner <> to_regrole('claimgate_owner')
            and relname ~ '^(verdicts|policies|subject_keys|decision_counts|risk_calls|claim_events|dead_letter|token_exchanges|seals|shadow_decisions|revision|republications|remov|masked_|_sqlx)'
            -- A sequence goes with the table that owns it.
            and not exists (select from pg_depend
                where objid = pg_class.oid and deptype in ('a', 'i') and relkind = 'S')
        union all
        select format('alter function %s owner to claimgate_owner', oid::regprocedure) from pg_proc
        where pronamespace = current_schema()::regnamespace and proname ~ '^claimgate_'
    loop
        execute name;
    end loop;
end
$$;

-- A role that adds rows may set every column but those with a default. The server fills these with
-- its time and the login, so no role can write another time or another login there.
do $$
declare
    name text;
    into_table text;
    given_columns text;
begin
    for name, into_table in
        select given.name, unnest(given.tables) from (values
            ('claimgate_worker', array['verdicts', 'policies', 'subject_keys', 'risk_calls',
                'claim_events', 'dead_letters', 'token_exchanges', 'seals', 'shadow_decisions']),
            ('claimgate_operator', array['dead_letter_replays', 'dead_letter_replay_places']),
            ('claimgate_reviewer', array['revisions', 'revision_places', 'republications'])
        ) as given (name, tables)
    loop
        select string_agg(quote_ident(attname), ', ') into given_columns from pg_attribute
        where attrelid = to_regclass(into_table) and attnum > 0 and not attisdropped
            and not atthasdef and attidentity = '';
        execute format('grant insert (%s) on %I to %I', given_columns, into_table, name);
    end loop;
end
$$;

-- The worker may add rows, but never change or remove any.
grant select on verdicts, policies, subject_keys, risk_calls, claim_events, dead_letters,
    token_exchanges, seals, shadow_decisions to claimgate_worker;
grant usage on sequence seals_id_seq to claimgate_worker;
grant execute on function claimgate_seal_head(bytea, bigint, timestamptz, bytea, bytea, bytea, bytea)
    to claimgate_worker, claimgate_auditor;
-- It makes the partitions of the months to come through a function with its owner's rights.
grant execute on function claimgate_ensure_partitions(date, int) to claimgate_worker;
-- It counts decisions through another one.
grant execute on function claimgate_count_decisions() to claimgate_worker;
-- At start it checks that the schema is the one it needs.
grant select on _sqlx_migrations to claimgate_worker;

grant select on verdicts, policies, subject_keys, decision_counts, risk_calls, claim_events,
    dead_letters, dead_letter_replays, dead_letter_replay_places, token_exchanges, seals,
    shadow_decisions, revisions, revision_places, republications, removals, removed_rows,
    masked_claims, masked_calls, masked_steps, masked_dead_letters to claimgate_auditor;

-- `audit retention --dry-run` counts what is past its retention. The months' partitions are not
-- counted.
grant select on risk_calls_default, claim_events_default to claimgate_worker, claimgate_auditor;

-- Views show what their owner may read, so this role needs no right on the tables.
grant select on masked_claims, masked_calls, masked_steps, masked_dead_letters, policies,
    decision_counts, shadow_decisions to claimgate_analyst;
-- The worker's status page shows these.
grant select on masked_claims, masked_steps to claimgate_worker;
-- Operators on call have only the worker's login: `audit claim` and `dead-letters list` read these.
grant select on revisions, revision_places, dead_letter_replays, dead_letter_replay_places
    to claimgate_worker;

-- Operators read dead letters and add replays. They must not see verdicts and calls.
grant select on dead_letters, dead_letter_replays, dead_letter_replay_places to claimgate_operator;

-- Reviewers decide in place of a worker, and publish decisions again.
grant claimgate_auditor to claimgate_reviewer;
