-- Keys, foreign keys and indexes: after the load, which is several times faster this way round.

ALTER TABLE users ADD PRIMARY KEY (id);
ALTER TABLE projects ADD PRIMARY KEY (id);
ALTER TABLE project_members ADD PRIMARY KEY (project_id, user_id);
ALTER TABLE sprints ADD PRIMARY KEY (id);
ALTER TABLE issues ADD PRIMARY KEY (id);
ALTER TABLE comments ADD PRIMARY KEY (id);
ALTER TABLE attachments ADD PRIMARY KEY (id);

ALTER TABLE users ADD UNIQUE (email);
ALTER TABLE projects ADD UNIQUE (key);
ALTER TABLE issues ADD UNIQUE (project_id, number);

CREATE INDEX project_members_user_id_idx ON project_members (user_id, project_id);
CREATE INDEX sprints_project_id_status_idx ON sprints (project_id, status);
CREATE INDEX issues_project_id_created_at_idx ON issues (project_id, created_at DESC);
CREATE INDEX issues_project_id_status_idx ON issues (project_id, status);
CREATE INDEX issues_sprint_id_idx ON issues (sprint_id);
CREATE INDEX issues_assignee_id_idx ON issues (assignee_id);
CREATE INDEX issues_reporter_id_idx ON issues (reporter_id);
CREATE INDEX comments_issue_id_created_at_idx ON comments (issue_id, created_at);
CREATE INDEX comments_author_id_idx ON comments (author_id);
CREATE INDEX attachments_issue_id_idx ON attachments (issue_id);

ALTER TABLE projects ADD FOREIGN KEY (owner_id) REFERENCES users;
ALTER TABLE project_members ADD FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
ALTER TABLE project_members ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE sprints ADD FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
ALTER TABLE issues ADD FOREIGN KEY (project_id) REFERENCES projects ON DELETE CASCADE;
ALTER TABLE issues ADD FOREIGN KEY (sprint_id) REFERENCES sprints ON DELETE SET NULL;
ALTER TABLE issues ADD FOREIGN KEY (reporter_id) REFERENCES users;
ALTER TABLE issues ADD FOREIGN KEY (assignee_id) REFERENCES users ON DELETE SET NULL;
ALTER TABLE comments ADD FOREIGN KEY (issue_id) REFERENCES issues ON DELETE CASCADE;
ALTER TABLE comments ADD FOREIGN KEY (author_id) REFERENCES users;
ALTER TABLE attachments ADD FOREIGN KEY (issue_id) REFERENCES issues ON DELETE CASCADE;
ALTER TABLE attachments ADD FOREIGN KEY (uploader_id) REFERENCES users;
