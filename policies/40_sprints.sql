-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Members see them, the project's managers plan them.

SET LOCAL client_min_messages = warning;
REVOKE ALL ON sprints FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON sprints TO tracker_app;
GRANT UPDATE (name, goal, status, start_date, end_date) ON sprints TO tracker_app;

DROP POLICY IF EXISTS postern_floor ON sprints;
DROP POLICY IF EXISTS postern_select ON sprints;
DROP POLICY IF EXISTS postern_insert ON sprints;
DROP POLICY IF EXISTS postern_update ON sprints;
DROP POLICY IF EXISTS postern_delete ON sprints;

CREATE POLICY postern_floor ON sprints AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON sprints FOR SELECT TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]));
CREATE POLICY postern_insert ON sprints FOR INSERT TO tracker_app
    WITH CHECK (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));
CREATE POLICY postern_update ON sprints FOR UPDATE TO tracker_app
    USING (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]))
    WITH CHECK (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));
CREATE POLICY postern_delete ON sprints FOR DELETE TO tracker_app
    USING (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));
