-- Replays of dead letters: who sent an event to the input topic again, why, and where it went.
--
-- There are two tables, because rows are never changed. A replay is announced before its event is
-- sent, so that every replay leaves a trace; its place is added after Kafka has acknowledged it. A
-- replay without a place was cut short: only the topic shows whether it has the event. The next
-- `claimgate dead-letters replay` looks there before it sends anything.

-- No reference to dead_letters: a letter can be erased where the law requires it, and the trace of
-- its replays stays.
create table dead_letter_replays (
    source_topic     text collate "C" not null,
    source_partition int not null,
    source_offset    bigint not null,
    content          text collate "C" not null,
    number           int not null check (number > 0),
    replayed_by      text not null check (replayed_by ~ '\S'),
    reason           text not null check (reason ~ '\S'),
    role             text not null default session_user,
    announced_at     timestamptz not null default now()
        check (announced_at between '1970-01-01 00:00+00' and '2200-01-01 00:00+00'),
    -- "No event is sent twice under one number" depends on this key: of two operators, the second
    -- inserts nothing.
    constraint dead_letter_replays_key primary key (source_topic, source_partition, source_offset, content, number)
);

create index dead_letter_replays_announced_at_idx on dead_letter_replays (announced_at);

comment on table dead_letter_replays is 'One row per replay of a dead letter, written before its event is sent. Rows are never changed or removed.';
comment on column dead_letter_replays.source_topic is 'The topic of the dead letter''s event.';
comment on column dead_letter_replays.source_partition is 'The partition of the dead letter''s event.';
comment on column dead_letter_replays.source_offset is 'The offset of the dead letter''s event.';
comment on column dead_letter_replays.content is 'The dead letter''s content, as in dead_letters.';
comment on column dead_letter_replays.number is 'How often the event was replayed with this one, those before it became this dead letter included: its header claimgate-replays.';
comment on column dead_letter_replays.replayed_by is 'Who is responsible.';
comment on column dead_letter_replays.reason is 'Why, in their words.';
comment on column dead_letter_replays.role is 'The database role of their login.';
comment on column dead_letter_replays.announced_at is 'When it was announced: never after its event was sent.';

create table dead_letter_replay_places (
    source_topic     text collate "C" not null,
    source_partition int not null,
    source_offset    bigint not null,
    content          text collate "C" not null,
    number           int not null,
    place_topic      text collate "C" not null,
    place_partition  int not null,
    place_offset     bigint not null,
    recorded_by      text not null check (recorded_by ~ '\S'),
    recorded_at      timestamptz not null default now(),
    constraint dead_letter_replay_places_key primary key (source_topic, source_partition, source_offset, content, number),
    constraint dead_letter_replay_places_of foreign key (source_topic, source_partition, source_offset, content, number)
        references dead_letter_replays
);

comment on table dead_letter_replay_places is 'Where replays went: one row per replay that Kafka has acknowledged. Rows are never changed or removed.';
comment on column dead_letter_replay_places.source_topic is 'As in dead_letter_replays.';
comment on column dead_letter_replay_places.source_partition is 'As in dead_letter_replays.';
comment on column dead_letter_replay_places.source_offset is 'As in dead_letter_replays.';
comment on column dead_letter_replay_places.content is 'As in dead_letter_replays.';
comment on column dead_letter_replay_places.number is 'As in dead_letter_replays.';
comment on column dead_letter_replay_places.place_topic is 'The topic to which the event was sent.';
comment on column dead_letter_replay_places.place_partition is 'Its partition there.';
comment on column dead_letter_replay_places.place_offset is 'Its offset there.';
comment on column dead_letter_replay_places.recorded_by is 'Who ran the command that sent it, or found it in the topic: not replayed_by if the first command was interrupted.';
comment on column dead_letter_replay_places.recorded_at is 'When it was known that the event is there.';
