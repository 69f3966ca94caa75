SELECT 'postern_migration.normalise_row()'::regprocedure;
