-- "Which claims were asked about and have no verdict?" looks for the attempts of a time. They are
-- written in the order of their time, so a range of blocks tells enough, and costs writes nothing.
create index risk_calls_requested_at_idx on risk_calls using brin (requested_at);
