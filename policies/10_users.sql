-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Oneself, and everybody whom one shares a project with. Who is active may change his own name, address and password; who is active and
-- who is what changes an administrator only.
--
-- The application's object mapper selects every column of a user, so tracker_app keeps SELECT on all of them; one that names its columns
-- should lose email and password_hash of others by GRANT SELECT (…).

SET LOCAL client_min_messages = warning;
REVOKE ALL ON users FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON users TO tracker_app;
GRANT UPDATE (email, name, role, password_hash, is_active) ON users TO tracker_app;

-- An OR stands here where other tables have none: users are looked up by their key, not listed. Which memberships are seen, and so whose, is
-- for the policy of project_members to say; asking for one's projects here as well would double the work. What comes later is only asked
-- where what comes earlier does not hold: each request reads its own user first, and lists join colleagues.
DROP POLICY IF EXISTS postern_floor ON users;
DROP POLICY IF EXISTS postern_select ON users;
DROP POLICY IF EXISTS postern_insert ON users;
DROP POLICY IF EXISTS postern_update ON users;
DROP POLICY IF EXISTS postern_delete ON users;
DROP POLICY IF EXISTS postern_owner_select ON users;

CREATE POLICY postern_floor ON users AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON users FOR SELECT TO tracker_app
    USING (
        id = (SELECT postern.user_id())
        OR EXISTS (SELECT FROM project_members pm WHERE pm.user_id = users.id)
        OR (SELECT postern.is_admin())
    );
CREATE POLICY postern_insert ON users FOR INSERT TO tracker_app
    WITH CHECK ((SELECT postern.is_admin()));
CREATE POLICY postern_update ON users FOR UPDATE TO tracker_app
    USING (id = (SELECT postern.user_id()) AND (SELECT postern.role()) IS NOT NULL OR (SELECT postern.is_admin()))
    WITH CHECK (id = (SELECT postern.user_id()) AND (SELECT postern.role()) IS NOT NULL OR (SELECT postern.is_admin()));
CREATE POLICY postern_delete ON users FOR DELETE TO tracker_app
    USING ((SELECT postern.is_admin()));

-- For the functions of postern_owner, with the columns that it is granted: no role needs BYPASSRLS for them.
CREATE POLICY postern_owner_select ON users FOR SELECT TO postern_owner USING (true);

CREATE OR REPLACE TRIGGER postern_guard BEFORE UPDATE OF role, is_active ON users FOR EACH ROW
    WHEN (OLD.role IS DISTINCT FROM NEW.role OR OLD.is_active IS DISTINCT FROM NEW.is_active)
    EXECUTE FUNCTION postern.administrators_only('role', 'is_active');
