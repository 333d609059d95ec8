-- Evidence is added and never changed, whoever asks: the owner of the tables, too.
--
-- Retention is the exception: the owner may delete rows of the tables that it covers, after
-- set local claimgate.retention = 'on'. `claimgate audit retention` does so.

create function claimgate_refuse_change() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and tg_argv[0] = 'retention'
        and current_setting('claimgate.retention', true) = 'on'
        and pg_has_role((select relowner from pg_class where oid = tg_relid), 'usage')
    then
        return old;
    end if;
    raise exception '% of % is refused: evidence is added and never changed',
        lower(tg_op), tg_table_name
        using errcode = 'insufficient_privilege',
            hint = 'docs/audit.md says how an administrator erases what the law demands';
end
$$;
comment on function claimgate_refuse_change() is 'Keeps rows from being changed or removed.';

do $$
declare
    evidence text;
    exempt text;
begin
    foreach evidence in array array[
        'verdicts', 'seals', 'dead_letter_replays', 'dead_letter_replay_places', 'token_exchanges',
        'dead_letters', 'risk_calls', 'claim_events'
    ] loop
        exempt := case when evidence in ('dead_letters', 'risk_calls', 'claim_events')
            then 'retention' else '' end;
        execute format('create trigger %I before update or delete on %I
            for each row execute function claimgate_refuse_change(%L)',
            case evidence when 'verdicts' then 'verdicts_are_final' else evidence || '_only_grow' end,
            evidence, exempt);
    end loop;
    -- Truncating a partitioned table truncates its partitions, and fires their triggers.
    foreach evidence in array array[
        'verdicts', 'seals', 'dead_letter_replays', 'dead_letter_replay_places', 'token_exchanges',
        'dead_letters', 'risk_calls', 'claim_events', 'risk_calls_default', 'claim_events_default'
    ] loop
        execute format('create trigger %I before truncate on %I
            for each statement execute function claimgate_refuse_change()',
            evidence || '_are_kept', evidence);
    end loop;
end
$$;
