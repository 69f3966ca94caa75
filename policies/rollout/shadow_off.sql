-- Takes away what shadow_on.sql made. What else somebody has put into that schema makes it refuse.
--     psql -X -f policies/rollout/shadow_off.sql
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '1s';
SET LOCAL client_min_messages = warning;
\ir shadow_drop.sql
COMMIT;
