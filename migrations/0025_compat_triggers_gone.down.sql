-- postern: lock_timeout=1s statement_timeout=30s retry=10
SELECT postern_migration.install_compat_triggers();
