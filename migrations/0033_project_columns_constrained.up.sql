-- postern: transaction=off lock_timeout=1s statement_timeout=30s retry=10 requires=0032 reversible=yes
-- That the column tells the truth is PostgreSQL's business from here on: an issue can't leave its project while it has comments or
-- attachments, unless these go with it (SET CONSTRAINTS ALL DEFERRED, then both). NOT VALID: no row is looked at yet.
ALTER TABLE comments DROP CONSTRAINT IF EXISTS comments_project_id_check,
    ADD CONSTRAINT comments_project_id_check CHECK (project_id IS NOT NULL) NOT VALID;
ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_project_id_check,
    ADD CONSTRAINT attachments_project_id_check CHECK (project_id IS NOT NULL) NOT VALID;
ALTER TABLE comments DROP CONSTRAINT IF EXISTS comments_issue_project_fkey,
    ADD CONSTRAINT comments_issue_project_fkey FOREIGN KEY (issue_id, project_id) REFERENCES issues (id, project_id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE NOT VALID;
ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_issue_project_fkey,
    ADD CONSTRAINT attachments_issue_project_fkey FOREIGN KEY (issue_id, project_id) REFERENCES issues (id, project_id)
    ON DELETE CASCADE DEFERRABLE INITIALLY IMMEDIATE NOT VALID;
