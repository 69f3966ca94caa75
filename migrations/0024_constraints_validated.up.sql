-- postern: transaction=off lock_timeout=1s statement_timeout=0 retry=10 requires=0023 reversible=yes
-- VALIDATE reads the table under SHARE UPDATE EXCLUSIVE: everybody reads and writes meanwhile. A transaction each, and none of them the one that
-- added the constraint, which would hold ACCESS EXCLUSIVE for as long.
ALTER TABLE users VALIDATE CONSTRAINT users_role_check;
ALTER TABLE project_members VALIDATE CONSTRAINT project_members_role_check;
ALTER TABLE sprints VALIDATE CONSTRAINT sprints_status_check;
ALTER TABLE issues VALIDATE CONSTRAINT issues_status_check;
ALTER TABLE issues VALIDATE CONSTRAINT issues_priority_check;
ALTER TABLE issues VALIDATE CONSTRAINT issues_issue_type_check;
