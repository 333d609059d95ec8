-- How claims were decided, counted by the hour, so that questions about months are answered at
-- once. All of it can be computed from verdicts again.

create table decision_counts (
    hour           timestamptz not null,
    api            text not null,
    kind           text not null,
    policy_version text not null,
    decision       text not null,
    reasons        jsonb not null,
    claims         bigint not null,
    counted_until  timestamptz not null
);

create index decision_counts_hour_idx on decision_counts (hour);
create index decision_counts_counted_until_idx on decision_counts (counted_until);

comment on table decision_counts is 'How many claims were decided alike in an hour; several rows where some were recorded later than others.';
comment on column decision_counts.hour is 'The beginning of the hour of verdicts.decided_at.';
comment on column decision_counts.api is 'As in verdicts.';
comment on column decision_counts.kind is 'As in verdicts.';
comment on column decision_counts.policy_version is 'As in verdicts.';
comment on column decision_counts.decision is 'As in verdicts.';
comment on column decision_counts.reasons is 'As in verdicts.';
comment on column decision_counts.claims is 'Claims for which all of these are the same.';
comment on column decision_counts.counted_until is 'The verdicts counted were recorded before this time; those recorded since are not counted yet.';

-- Queries without --recount use these.
create trigger decision_counts_only_grow before update or delete on decision_counts
    for each row execute function claimgate_refuse_change();
create trigger decision_counts_are_kept before truncate on decision_counts
    for each statement execute function claimgate_refuse_change();

-- "Which verdicts are not counted yet?" They are written almost in the order of this time.
create index verdicts_recorded_at_idx on verdicts using brin (recorded_at) with (autosummarize = on);

-- Counts the verdicts recorded since the last time, up to the last full hour but one: recorded_at
-- is when a statement began, and a worker's statements end long before an hour has gone. Returns up
-- to where it counted; null if there is nothing to do, or another worker does it.
create function claimgate_count_decisions() returns timestamptz
language plpgsql security definer set timezone = 'UTC' as $$
declare
    counted timestamptz;
    until timestamptz := date_trunc('hour', now() - interval '1 hour');
begin
    -- Only the owner may take this lock; an advisory lock any login of the database could hold.
    begin
        lock table decision_counts in share update exclusive mode nowait;
    exception when lock_not_available then
        return null;
    end;
    select coalesce(max(counted_until), '-infinity') into counted from decision_counts;
    if counted >= until then
        return null;
    end if;
    insert into decision_counts
    select date_trunc('hour', decided_at), api, kind, policy_version, decision, reasons, count(*), until
    from verdicts where recorded_at >= counted and recorded_at < until
    group by date_trunc('hour', decided_at), api, kind, policy_version, decision, reasons;
    return until;
end
$$;
comment on function claimgate_count_decisions() is 'Counts verdicts into decision_counts. May run at any time, any number of times, side by side.';

do $$
begin
    execute format('alter function claimgate_count_decisions() set search_path = %I, pg_temp', current_schema());
end
$$;
revoke all on function claimgate_count_decisions() from public;
