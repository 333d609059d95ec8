-- Revisions: what a person decided in place of a worker, or of another person. Verdicts stay as
-- they are.
--
-- There are two tables, because rows are never changed. A revision is announced before it is
-- published, so that every revision leaves a trace; its place is added after Kafka has acknowledged
-- it. A revision without a place was cut short: the next `claimgate audit override` of the claim
-- looks for it in the topic.

create table revisions (
    claim_id   text collate "C" not null,
    revision   int not null check (revision > 0),
    decision   text not null check (decision in ('approve', 'challenge', 'review', 'reject')),
    instead_of text not null check (instead_of in ('approve', 'challenge', 'review', 'reject')),
    revised_by text not null check (revised_by ~ '\S'),
    reason     text not null check (reason ~ '\S'),
    -- The server fills it in: roles.sql grants reviewers no insert into a column with a default.
    role       text not null default session_user,
    revised_at timestamptz not null default now()
        check (revised_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    -- Of two people who revise a claim at once, the second inserts nothing.
    constraint revisions_key primary key (claim_id, revision)
);

create index revisions_revised_at_idx on revisions (revised_at);

comment on table revisions is 'One row per decision that a person made about a claim that had one, written before it is published.';
comment on column revisions.claim_id is 'The claim, as in verdicts.';
comment on column revisions.revision is '1 for the first one; the verdict is 0. The highest one that is published is in force.';
comment on column revisions.decision is 'What was decided.';
comment on column revisions.instead_of is 'What had been decided before.';
comment on column revisions.revised_by is 'Who is responsible.';
comment on column revisions.reason is 'Why, in their words.';
comment on column revisions.role is 'The database role of their login.';
comment on column revisions.revised_at is 'When it was announced: never after it was published.';

create table revision_places (
    claim_id        text collate "C" not null,
    revision        int not null,
    place_topic     text collate "C" not null,
    place_partition int not null,
    place_offset    bigint not null,
    recorded_by     text not null check (recorded_by ~ '\S'),
    recorded_at     timestamptz not null default now(),
    constraint revision_places_key primary key (claim_id, revision),
    constraint revision_places_of foreign key (claim_id, revision) references revisions
);

comment on table revision_places is 'Where revisions were published: one row per revision that Kafka has acknowledged.';
comment on column revision_places.claim_id is 'As in revisions.';
comment on column revision_places.revision is 'As in revisions.';
comment on column revision_places.place_topic is 'The topic of the decision.';
comment on column revision_places.place_partition is 'Its partition there.';
comment on column revision_places.place_offset is 'Its offset there.';
comment on column revision_places.recorded_by is 'Who ran the command that published it, or found it in the topic.';
comment on column revision_places.recorded_at is 'When it was known to be there.';

create table republications (
    id             bigint generated always as identity primary key,
    republished_by text not null check (republished_by ~ '\S'),
    reason         text not null check (reason ~ '\S'),
    role           text not null default session_user,
    decided_from   timestamptz not null,
    decided_before timestamptz not null,
    announced_at   timestamptz not null default now()
);

comment on table republications is 'One row per command that published decisions again, written before it did.';
comment on column republications.id is 'The header claimgate-republished of what it published.';
comment on column republications.republished_by is 'Who is responsible.';
comment on column republications.reason is 'Why, in their words.';
comment on column republications.role is 'The database role of their login.';
comment on column republications.decided_from is 'The claims decided from this time on …';
comment on column republications.decided_before is '… and before this time.';
comment on column republications.announced_at is 'When it began.';
