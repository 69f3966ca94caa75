-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Members see a project's issues and report new ones, as themselves. Who reported an issue or works on it may edit it; the project's managers
-- may do all that with any. An issue stays in its project and keeps its number and its reporter: those columns can't be updated.
--
-- A sprint has to be the project's. Whether another project's sprint exists can't be learnt this way: either is refused alike.

SET LOCAL client_min_messages = warning;
REVOKE ALL ON issues FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON issues TO tracker_app;
GRANT UPDATE (sprint_id, title, description, status, priority, issue_type, assignee_id, story_points, position, version, updated_at) ON issues TO tracker_app;

DROP POLICY IF EXISTS issues_visible ON issues;
DROP POLICY IF EXISTS postern_floor ON issues;
DROP POLICY IF EXISTS postern_select ON issues;
DROP POLICY IF EXISTS postern_insert ON issues;
DROP POLICY IF EXISTS postern_update ON issues;
DROP POLICY IF EXISTS postern_delete ON issues;
DROP POLICY IF EXISTS postern_owner_select ON issues;

CREATE POLICY postern_floor ON issues AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON issues FOR SELECT TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]));
CREATE POLICY postern_insert ON issues FOR INSERT TO tracker_app
    WITH CHECK (
        (project_id = ANY ((SELECT postern.managed_project_ids())::integer[])
            OR project_id = ANY ((SELECT postern.project_ids())::integer[]) AND reporter_id = (SELECT postern.user_id()))
        AND (sprint_id IS NULL OR EXISTS (SELECT FROM sprints s WHERE s.id = issues.sprint_id AND s.project_id = issues.project_id))
    );
CREATE POLICY postern_update ON issues FOR UPDATE TO tracker_app
    USING (
        project_id = ANY ((SELECT postern.managed_project_ids())::integer[])
        OR project_id = ANY ((SELECT postern.project_ids())::integer[]) AND (SELECT postern.user_id()) IN (reporter_id, assignee_id)
    )
    WITH CHECK (
        project_id = ANY ((SELECT postern.project_ids())::integer[])
        AND (sprint_id IS NULL OR EXISTS (SELECT FROM sprints s WHERE s.id = issues.sprint_id AND s.project_id = issues.project_id))
    );
CREATE POLICY postern_delete ON issues FOR DELETE TO tracker_app
    USING (project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));

-- For the functions of postern_owner, with the columns that it is granted: no role needs BYPASSRLS for them.
CREATE POLICY postern_owner_select ON issues FOR SELECT TO postern_owner USING (true);
