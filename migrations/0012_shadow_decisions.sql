-- Claims that a policy in shadow ([policy.shadow]) would have decided differently.
--
-- Written after the verdict is committed: no claim waits for a row, and a worker that is killed may
-- leave one out. Kept as evidence is: rows are added and never changed. No seal covers them: they
-- are evidence of no decision.

create table shadow_decisions (
    claim_id        text collate "C" not null,
    api             text not null,
    decided_at      timestamptz not null,
    policy_version  text not null,
    decision        text not null check (decision in ('approve', 'challenge', 'review', 'reject')),
    shadow_version  text not null,
    shadow_decision text not null check (shadow_decision in ('approve', 'challenge', 'review', 'reject')),
    -- A claim has one verdict, so it is decided in shadow once.
    constraint shadow_decisions_key primary key (claim_id)
);

-- "What would it have decided differently since yesterday?"
create index shadow_decisions_decided_at_idx on shadow_decisions (decided_at);

comment on table shadow_decisions is 'One row per claim that a policy in shadow would have decided otherwise. It decided nothing, so no seal covers the row.';
comment on column shadow_decisions.claim_id is 'As in verdicts.';
comment on column shadow_decisions.api is 'As in verdicts.';
comment on column shadow_decisions.decided_at is 'As in verdicts.';
comment on column shadow_decisions.policy_version is 'As in verdicts: the policy that decided.';
comment on column shadow_decisions.decision is 'As in verdicts: what it decided.';
comment on column shadow_decisions.shadow_version is 'The hash of the policy in shadow.';
comment on column shadow_decisions.shadow_decision is 'What that one would have decided.';

create trigger shadow_decisions_only_grow before update or delete on shadow_decisions
    for each row execute function claimgate_refuse_change('DELETE', 'retention', 'erasure');
create trigger shadow_decisions_are_kept before truncate on shadow_decisions
    for each statement execute function claimgate_refuse_change();
