-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Who is in a project sees who else is. Its managers take people in and put them out: nobody writes himself into a project.

SET LOCAL client_min_messages = warning;
REVOKE ALL ON project_members FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON project_members TO tracker_app;
GRANT UPDATE (role) ON project_members TO tracker_app;

DROP POLICY IF EXISTS postern_floor ON project_members;
DROP POLICY IF EXISTS postern_select ON project_members;
DROP POLICY IF EXISTS postern_insert ON project_members;
DROP POLICY IF EXISTS postern_update ON project_members;
DROP POLICY IF EXISTS postern_delete ON project_members;
DROP POLICY IF EXISTS postern_owner_select ON project_members;

CREATE POLICY postern_floor ON project_members AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON project_members FOR SELECT TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]));
CREATE POLICY postern_insert ON project_members FOR INSERT TO tracker_app
    WITH CHECK (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));
CREATE POLICY postern_update ON project_members FOR UPDATE TO tracker_app
    USING (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]))
    WITH CHECK (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));
CREATE POLICY postern_delete ON project_members FOR DELETE TO tracker_app
    USING (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));

-- For the functions of postern_owner, with the columns that it is granted: no role needs BYPASSRLS for them.
CREATE POLICY postern_owner_select ON project_members FOR SELECT TO postern_owner USING (true);
