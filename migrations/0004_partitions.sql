-- Months come and go: one function makes partitions ahead of time, one drops those past their retention.

-- Runs with its owner's rights (security definer), so that a worker that may only insert can still have next month's partitions made.
create function claimgate_ensure_partitions(first_month date, months int) returns setof text
language plpgsql security definer set timezone = 'UTC' as $$
declare
    parent text;
    month timestamptz;
    name text;
begin
    if months is null or months not between 1 and 120 then
        raise exception 'claimgate_ensure_partitions makes 1 to 120 months, not %', months using errcode = 'invalid_parameter_value';
    end if;
    -- Two workers that start at once must not both make the same table. The lock goes with the transaction.
    perform pg_advisory_xact_lock(hashtextextended('claimgate partitions', 0));
    foreach parent in array array['risk_calls', 'claim_events'] loop
        for step in 0 .. months - 1 loop
            month := date_trunc('month', first_month::timestamptz) + make_interval(months => step);
            name := parent || to_char(month, '"_y"YYYY"m"MM');
            continue when to_regclass(quote_ident(name)) is not null;
            begin
                -- Attaching a table lets inserts into the other partitions go on; `create table … partition of` would stop them all.
                execute format('create table %I (like %I including all)', name, parent);
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, name, month, month + interval '1 month');
                return next name;
            exception when check_violation then
                -- The default partition holds rows of this month already. They are safe there, and so is what follows them.
                raise notice '% is not made: % has rows of that month', name, parent || '_default';
            end;
        end loop;
    end loop;
end
$$;
comment on function claimgate_ensure_partitions(date, int) is 'Makes the monthly partitions of risk_calls and claim_events that do not exist yet and returns their names. May run at any time, any number of times, side by side.';

-- Runs with its caller's rights: only the owner of the tables may drop evidence.
create function claimgate_drop_partitions(parent text, older_than timestamptz) returns setof text
language plpgsql set timezone = 'UTC' as $$
declare
    name text;
    time_column text;
begin
    time_column := case parent when 'risk_calls' then 'requested_at' when 'claim_events' then 'received_at' end;
    if time_column is null then
        raise exception 'claimgate_drop_partitions knows risk_calls and claim_events, not %', parent using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('claimgate partitions', 0));
    for name in
        select child.relname
        from pg_inherits join pg_class child on child.oid = pg_inherits.inhrelid
        where pg_inherits.inhparent = to_regclass(quote_ident(parent))
            and child.relname ~ ('^' || parent || '_y[0-9]{4}m[0-9]{2}$')
            and to_date(right(child.relname, 7), 'YYYY"m"MM')::timestamptz + interval '1 month' <= older_than
        order by child.relname
    loop
        execute format('drop table %I', name);
        return next name;
    end loop;
    execute format('delete from %I where %I < $1', parent || '_default', time_column) using older_than;
end
$$;
comment on function claimgate_drop_partitions(text, timestamptz) is 'Drops the partitions of risk_calls or claim_events whose every row is older than the given time, clears the default partition of such rows, and returns the names of what was dropped.';

-- A function that runs with its owner's rights must not look names up where its caller says.
do $$
begin
    execute format('alter function claimgate_ensure_partitions(date, int) set search_path = %I, pg_temp', current_schema());
    execute format('alter function claimgate_drop_partitions(text, timestamptz) set search_path = %I, pg_temp', current_schema());
end
$$;
revoke all on function claimgate_ensure_partitions(date, int) from public;

-- This month and the three that follow; the worker asks for more as time goes on.
select claimgate_ensure_partitions(current_date, 4);
