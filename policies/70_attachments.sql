-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Members see a project's attachments and add their own. Its managers may remove any.
-- project_id is filled in by a trigger, from the issue (migrations/0030): a hidden issue and one that does not exist are refused alike.

SET LOCAL client_min_messages = warning;
REVOKE ALL ON attachments FROM tracker_app;
GRANT SELECT, INSERT, DELETE ON attachments TO tracker_app;
GRANT UPDATE (filename, content_type, size_bytes) ON attachments TO tracker_app;

DROP POLICY IF EXISTS postern_floor ON attachments;
DROP POLICY IF EXISTS postern_select ON attachments;
DROP POLICY IF EXISTS postern_insert ON attachments;
DROP POLICY IF EXISTS postern_update ON attachments;
DROP POLICY IF EXISTS postern_delete ON attachments;
DROP POLICY IF EXISTS postern_owner_select ON attachments;

CREATE POLICY postern_floor ON attachments AS RESTRICTIVE TO tracker_app
    USING ((SELECT postern.user_id()) IS NOT NULL);
CREATE POLICY postern_select ON attachments FOR SELECT TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]));
CREATE POLICY postern_insert ON attachments FOR INSERT TO tracker_app
    WITH CHECK (project_id = ANY ((SELECT postern.project_ids())::integer[]) AND uploader_id = (SELECT postern.user_id()) OR (SELECT postern.is_admin()));
CREATE POLICY postern_update ON attachments FOR UPDATE TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]) AND uploader_id = (SELECT postern.user_id()) OR (SELECT postern.is_admin()))
    WITH CHECK (project_id = ANY ((SELECT postern.project_ids())::integer[]) AND uploader_id = (SELECT postern.user_id()) OR (SELECT postern.is_admin()));
CREATE POLICY postern_delete ON attachments FOR DELETE TO tracker_app
    USING (project_id = ANY ((SELECT postern.project_ids())::integer[]) AND uploader_id = (SELECT postern.user_id()) OR project_id = ANY ((SELECT postern.managed_project_ids())::integer[]));

-- For the functions of postern_owner, with the columns that it is granted: no role needs BYPASSRLS for them.
CREATE POLICY postern_owner_select ON attachments FOR SELECT TO postern_owner USING (true);
