-- A function makes the partitions of coming months. `claimgate audit retention` drops those past
-- their retention.

-- Runs with its owner's rights (security definer), so that a worker that may only insert can still
-- have next month's partitions made.
create function claimgate_ensure_partitions(first_month date, months int) returns setof text
language plpgsql security definer set timezone = 'UTC' set lock_timeout = '500ms' as $$
declare
    parent text;
    month timestamptz;
    name text;
    caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
begin
    if months is null or months not between 1 and 120 then
        raise exception 'claimgate_ensure_partitions makes 1 to 120 months, not %', months using errcode = 'invalid_parameter_value';
    end if;
    -- Partitions slow down each statement on their table, and a worker's login must not be able to
    -- make thousands.
    if not pg_has_role(caller::name, current_user, 'usage')
        and (months > 12 or first_month not between current_date - 31 and current_date + 31)
    then
        raise exception 'must be owner of the tables to make other partitions than those of the next 12 months'
            using errcode = 'insufficient_privilege';
    end if;
    -- Two workers that start at once must not both make the same table. Reading and adding rows do
    -- not wait for this lock, and only the owner may take it; any login of the database could take
    -- an advisory lock. It ends with the transaction. `only`: to lock a partition would be to wait
    -- for its vacuum.
    lock table only risk_calls in share update exclusive mode;
    foreach parent in array array['risk_calls', 'claim_events'] loop
        for step in 0 .. months - 1 loop
            month := date_trunc('month', first_month::timestamptz) + make_interval(months => step);
            name := parent || to_char(month, '"_y"YYYY"m"MM');
            continue when to_regclass(quote_ident(name)) is not null;
            begin
                -- Attaching a table lets inserts into the other partitions go on;
                -- `create table … partition of` would stop them all. It locks the default
                -- partition: behind somebody's long transaction it gives up soon, for inserts would
                -- queue up behind it.
                execute format('create table %I (like %I including all)', name, parent);
                execute format('create trigger %I before truncate on %I
                    for each statement execute function claimgate_refuse_change()',
                    name || '_are_kept', name);
                execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                    parent, name, month, month + interval '1 month');
                return next name;
            exception when check_violation then
                -- The default partition holds rows of this month already. They are safe there, and
                -- so is what follows them.
                raise notice '% is not made: % has rows of that month', name, parent || '_default';
            end;
        end loop;
    end loop;
end
$$;
comment on function claimgate_ensure_partitions(date, int) is 'Makes the monthly partitions of risk_calls and claim_events that do not exist yet and returns their names. May run at any time, any number of times, side by side. Only the owner of the tables may have any month made; others have those of the next year.';

-- A function that runs with its owner's rights must not look names up where its caller says.
do $$
begin
    execute format('alter function claimgate_ensure_partitions(date, int) set search_path = %I, pg_temp', current_schema());
end
$$;
revoke all on function claimgate_ensure_partitions(date, int) from public;

-- This month and the three that follow; the worker asks for more as time goes on.
select claimgate_ensure_partitions(current_date, 4);
