#include "catalog/builtins.hpp"

#include <doctest/doctest.h>

using namespace postern::catalog;

TEST_CASE("IMMUTABLE functions of pg_catalog are pure") {
    CHECK(judge_builtin("lower", 'i') == builtin_effect::pure);
}

TEST_CASE("STABLE functions are pure only when the list vouches for them") {
    for (const auto* name :
         {"to_char", "date_trunc", "json_agg", "to_tsvector", "timezone", "concat"}) {
        CAPTURE(name);
        CHECK(judge_builtin(name, 's') == builtin_effect::pure);
    }
    for (const auto* name : {"pg_backend_pid", "txid_current_snapshot", "has_table_privilege"}) {
        CAPTURE(name);
        CHECK(judge_builtin(name, 's') == builtin_effect::session);
    }
}

TEST_CASE("VOLATILE functions that write no row are told from those that could run any SQL") {
    for (const auto* name : {"random", "nextval", "pg_sleep", "lo_put", "pg_notify", "setval"}) {
        CAPTURE(name);
        CHECK(judge_builtin(name, 'v') == builtin_effect::changes_nothing);
    }
    for (const auto* name : {"query_to_xml", "ts_stat", "cursor_to_xml", "something_new"}) {
        CAPTURE(name);
        CHECK(judge_builtin(name, 'v') == builtin_effect::unknown);
    }
}

TEST_CASE("session locks and unseen settings are known as such") {
    CHECK(judge_builtin("pg_try_advisory_lock_shared", 'v') == builtin_effect::session_lock);
    CHECK(judge_builtin("pg_advisory_xact_lock", 'v') == builtin_effect::changes_nothing);
    CHECK(judge_builtin("set_config", 'v') == builtin_effect::session_setting);
}

TEST_CASE("core types are plain, also as arrays; those that name catalog objects are not") {
    for (const auto* name : {"int4", "text", "timestamptz", "_uuid", "jsonb", "regconfig"}) {
        CAPTURE(name);
        CHECK(judge_builtin_type(name) == builtin_type::plain);
    }
    CHECK(judge_builtin_type("regclass") == builtin_type::catalog);
    CHECK(judge_builtin_type("citext") == builtin_type::unknown);
    CHECK(judge_builtin_type("_citext") == builtin_type::unknown);
}
