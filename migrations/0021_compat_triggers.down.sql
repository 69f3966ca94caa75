-- postern: lock_timeout=1s statement_timeout=30s retry=10
SELECT postern_migration.drop_compat_triggers();
DROP FUNCTION postern_migration.install_compat_triggers();
DROP FUNCTION postern_migration.drop_compat_triggers();
DROP FUNCTION postern_migration.normalise_row();
DROP FUNCTION postern_migration.normalise_batch(text, text, integer);
DROP FUNCTION postern_migration.restore_batch(text, text, integer);
