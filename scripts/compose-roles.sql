-- The worker's login, for docker-compose.yml alone: its password is public. It owns nothing;
-- `claimgate migrate --roles` grants claimgate_worker its rights.
create role claimgate_worker nologin;
create role worker login password 'worker' in role claimgate_worker;
