-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Members see a project, its managers describe it, administrators make it, end it and say whose it is.

SET LOCAL client_min_messages = warning;
REVOKE ALL ON projects FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON projects TO tracker_app;
GRANT UPDATE (key, name, description, owner_id) ON projects TO tracker_app;

DROP POLICY IF EXISTS projects_visible ON projects;
DROP POLICY IF EXISTS postern_floor ON projects;
DROP POLICY IF EXISTS postern_select ON projects;
DROP POLICY IF EXISTS postern_insert ON projects;
DROP POLICY IF EXISTS postern_update ON projects;
DROP POLICY IF EXISTS postern_delete ON projects;
DROP POLICY IF EXISTS postern_owner_select ON projects;

CREATE POLICY postern_floor ON projects AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON projects FOR SELECT TO tracker_app
    USING (id = ANY ((SELECT postern.project_ids())::integer[]));
CREATE POLICY postern_insert ON projects FOR INSERT TO tracker_app
    WITH CHECK ((SELECT postern.is_admin()));
CREATE POLICY postern_update ON projects FOR UPDATE TO tracker_app
    USING (id = ANY ((SELECT postern.managed_project_ids())::integer[]))
    WITH CHECK (id = ANY ((SELECT postern.managed_project_ids())::integer[]));
CREATE POLICY postern_delete ON projects FOR DELETE TO tracker_app
    USING ((SELECT postern.is_admin()));

-- For the functions of postern_owner, with the columns that it is granted: no role needs BYPASSRLS for them.
CREATE POLICY postern_owner_select ON projects FOR SELECT TO postern_owner USING (true);

CREATE OR REPLACE TRIGGER postern_guard BEFORE UPDATE OF owner_id ON projects FOR EACH ROW
    WHEN (OLD.owner_id IS DISTINCT FROM NEW.owner_id)
    EXECUTE FUNCTION postern.administrators_only('owner_id');
