-- A claim's story without the people in it, for the worker's status page and for analysts.

create view masked_steps as
select claim_id, received_at as at, 'received' as step,
    concat_ws('/', source_topic, source_partition, source_offset) as source,
    null::text as api, null::int as attempt, null::text as outcome, null::text as reason,
    null::int as http_status, null::bigint as provider_code, null::interval as latency,
    null::text as decision, seal
from claim_events
union all
select claim_id, requested_at, 'called', null, api, attempt, outcome, reason, http_status,
    provider_code, latency, null, seal
from risk_calls
union all
select claim_id, decided_at, 'decided', null, api, attempts, null, null, null, provider_code, null,
    decision, null
from verdicts
union all
select claim_id, recorded_at, 'recorded', null, null, null, null, null, null, null, null, null, seal
from verdicts
union all
select claim_id, revised_at, 'revised', null, null, revision, null, null, null, null, null,
    decision, null
from revisions;

comment on view masked_steps is 'One row per step of a claim, without the content of events, answers and revisions.';
comment on column masked_steps.claim_id is 'As in verdicts.';
comment on column masked_steps.at is 'When, by the worker''s clock; recorded and revised by PostgreSQL''s.';
comment on column masked_steps.step is 'received, called, decided, recorded or revised.';
comment on column masked_steps.source is 'received: the record, as topic/partition/offset.';
comment on column masked_steps.api is 'called, decided: the risk API.';
comment on column masked_steps.attempt is 'called: as in risk_calls. decided: how many there were. revised: the revision.';
comment on column masked_steps.outcome is 'called: as in risk_calls.';
comment on column masked_steps.reason is 'called: as in risk_calls.';
comment on column masked_steps.http_status is 'called: as in risk_calls.';
comment on column masked_steps.provider_code is 'called, decided: as in risk_calls.';
comment on column masked_steps.latency is 'called: as in risk_calls.';
comment on column masked_steps.decision is 'decided, revised: the decision.';
comment on column masked_steps.seal is 'received, called, recorded: as in verdicts.';
