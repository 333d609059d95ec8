-- The requests for access tokens and their results: they show why the APIs could not be called.

create table token_exchanges (
    id            uuid primary key,
    requested_at  timestamptz not null,
    latency       interval not null,
    http_status   int,
    provider_code bigint,
    outcome       text not null,
    reason        text not null,
    cause         text,
    request       text not null,
    response      bytea
);

create index token_exchanges_requested_at_idx on token_exchanges (requested_at);

comment on table token_exchanges is 'One row per request for an access token, whatever its outcome: a few a day, more while something is wrong.';
comment on column token_exchanges.id is 'The exchange''s own id.';
comment on column token_exchanges.requested_at is 'When the request was sent.';
comment on column token_exchanges.latency is 'From sending to the last byte of the answer, or until the attempt was given up.';
comment on column token_exchanges.http_status is 'The HTTP status; null where no answer came.';
comment on column token_exchanges.provider_code is 'errcode; null where there was none to read.';
comment on column token_exchanges.outcome is 'fetched or failed.';
comment on column token_exchanges.reason is 'Why, in one word; empty where a token was fetched.';
comment on column token_exchanges.cause is 'As risk_calls.cause.';
comment on column token_exchanges.request is 'The request as it was sent, the secret removed.';
comment on column token_exchanges.response is 'The answer''s first 4096 bytes, the token removed; null where none came. As text: convert_from(response, ''UTF8'').';
