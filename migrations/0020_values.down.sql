-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- What is left in quarantine has been changed by the application since, or is not to come back.
DROP VIEW postern_migration.bad_value;
DROP FUNCTION postern_migration.normalised(text, text, text);
DROP FUNCTION postern_migration.folded(text);
DROP TABLE postern_migration.quarantine;
DROP TABLE postern_migration.value_map;
DROP TABLE postern_migration.allowed_value;
