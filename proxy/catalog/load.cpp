#include "catalog/load.hpp"

#include "catalog/watcher.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace postern::catalog {
namespace {

using namespace std::chrono_literals;

constexpr auto connect_time_max = 5s;
constexpr auto query_time_max = 30s;

constexpr auto begin_sql =
    R"(BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = '')";

// Once a connection: nothing that a schema holds may stand in for pg_catalog's names, and the
// fingerprint is not worth compiling. pg_get_viewdef waits for whoever is altering what the view
// reads; better to try again later.
constexpr auto session_sql = R"(
SET search_path = ''; SET jit = off; SET statement_timeout = '20s'; SET lock_timeout = '2s';
SET timezone = 'UTC'; SET datestyle = 'ISO')";

// What a role may not call is not called, lest the server's log fill with refusals.
constexpr auto run_sql = R"(
SELECT pg_postmaster_start_time()::text, pg_is_in_recovery(),
       has_function_privilege('pg_control_system()', 'EXECUTE'),
       has_function_privilege('pg_control_checkpoint()', 'EXECUTE'),
       has_function_privilege('pg_current_wal_lsn()', 'EXECUTE')
           AND has_function_privilege('pg_walfile_name(pg_lsn)', 'EXECUTE'))";
constexpr auto system_identifier_sql = R"(
SELECT system_identifier::text FROM pg_control_system())";
constexpr auto standby_timeline_sql = R"(
SELECT timeline_id::text FROM pg_control_checkpoint())";
// The last checkpoint's timeline is behind for a while after a promotion; the log's is not.
constexpr auto timeline_sql = R"(
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text)";

// Sums of hashes: no sorting, and equal only if every row is. Where a table's rows change for
// reasons of no interest (statistics, freezing, rewrites, temporary objects) the columns are named;
// elsewhere xmin says that a row is new.
constexpr auto fingerprint_sql = R"(
WITH schemas AS (
    SELECT oid, xmin FROM pg_catalog.pg_namespace
    WHERE nspname !~ '^pg_(toast_)?temp_'),
relations AS (
    SELECT * FROM pg_catalog.pg_class
    WHERE relpersistence <> 't' AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')),
sums (part, total) AS (
    SELECT 1, sum(hashtextextended(ROW(relname, relnamespace, relowner, relkind, relpersistence,
        relrowsecurity, relforcerowsecurity, relacl, reloptions, relnatts, relispartition, reltype,
        reloftype)::text, oid::bigint))
    FROM relations
    UNION ALL SELECT 2, sum(hashint8extended(a.xmin::text::bigint, a.attrelid::bigint * 2048 + a.attnum))
    FROM pg_catalog.pg_attribute a JOIN relations r ON r.oid = a.attrelid
    WHERE a.attrelid >= 16384 AND a.attnum > 0
    UNION ALL SELECT 3, sum(hashint8extended(xmin::text::bigint, oid::bigint)) FROM schemas
    UNION ALL SELECT 4, sum(hashint8extended(xmin::text::bigint, oid::bigint))
    FROM pg_catalog.pg_policy
    UNION ALL SELECT 5, sum(hashtextextended(ROW(t.tgrelid, t.tgname, t.tgfoid, t.tgenabled)::text,
        t.oid::bigint))
    FROM pg_catalog.pg_trigger t JOIN relations r ON r.oid = t.tgrelid
    UNION ALL SELECT 6, sum(hashint8extended(w.xmin::text::bigint, w.oid::bigint))
    FROM pg_catalog.pg_rewrite w WHERE w.oid >= 16384
    UNION ALL SELECT 7, sum(hashint8extended(p.xmin::text::bigint, p.oid::bigint))
    FROM pg_catalog.pg_proc p JOIN schemas s ON s.oid = p.pronamespace
    UNION ALL SELECT 8, sum(hashtextextended(r::text, r.oid::bigint)) FROM pg_catalog.pg_roles r
    UNION ALL SELECT 9, sum(hashint8extended(xmin::text::bigint, roleid::bigint * 4294967296 + member::bigint))
    FROM pg_catalog.pg_auth_members
    UNION ALL SELECT 10, sum(hashint8extended(xmin::text::bigint, setdatabase::bigint * 4294967296 + setrole::bigint))
    FROM pg_catalog.pg_db_role_setting
    UNION ALL SELECT 11, sum(hashint8extended(c.xmin::text::bigint, c.oid::bigint))
    FROM pg_catalog.pg_constraint c
    WHERE c.contypid <> 0 OR EXISTS (SELECT FROM relations r WHERE r.oid = c.conrelid)
    UNION ALL SELECT 12, sum(hashtextextended(ROW(inhparent)::text, inhrelid::bigint))
    FROM pg_catalog.pg_inherits i JOIN relations r ON r.oid = i.inhrelid
    UNION ALL SELECT 13, sum(hashint8extended(o.xmin::text::bigint, o.oid::bigint))
    FROM pg_catalog.pg_operator o WHERE o.oid >= 16384
    UNION ALL SELECT 14, sum(hashint8extended(t.xmin::text::bigint, t.oid::bigint))
    FROM pg_catalog.pg_type t JOIN schemas s ON s.oid = t.typnamespace WHERE t.oid >= 16384
    UNION ALL SELECT 15, sum(hashint8extended(xmin::text::bigint, oid::bigint)) FROM pg_catalog.pg_enum
    UNION ALL SELECT 16, sum(hashint8extended(xmin::text::bigint, oid::bigint))
    FROM pg_catalog.pg_cast WHERE oid >= 16384
    UNION ALL SELECT 17, sum(hashint8extended(d.xmin::text::bigint, d.oid::bigint))
    FROM pg_catalog.pg_attrdef d JOIN relations r ON r.oid = d.adrelid
    UNION ALL SELECT 18, sum(hashint8extended(xmin::text::bigint, oid::bigint))
    FROM pg_catalog.pg_ts_config WHERE oid >= 16384
    UNION ALL SELECT 19, sum(hashint8extended(xmin::text::bigint, mapcfg::bigint * 4294967296
        + maptokentype * 65536 + mapseqno))
    FROM pg_catalog.pg_ts_config_map
    UNION ALL SELECT 20, sum(hashint8extended(xmin::text::bigint, oid::bigint))
    FROM pg_catalog.pg_ts_dict
    UNION ALL SELECT 21, hashtextextended(ROW(datname, datdba, datacl)::text, oid::bigint)
    FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
)
SELECT md5(string_agg(part || ':' || coalesce(total, 0), ' ' ORDER BY part)) FROM sums)";

constexpr auto relations_sql = R"(
SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relowner,
       c.relrowsecurity, c.relforcerowsecurity,
       EXISTS (SELECT FROM pg_catalog.pg_rewrite w
               WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN'),
       EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions)
               WHERE option_name = 'security_invoker' AND option_value::boolean),
       CASE WHEN c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            THEN pg_catalog.pg_get_viewdef(c.oid) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
ORDER BY c.oid)";

constexpr auto children_sql = R"(
SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits ORDER BY 1, 2)";

// What functional notation can call on a relation: functions of its row type, of its ancestors', of
// its columns' composite types, and polymorphic ones; unless a column of the name comes first.
constexpr auto row_functions_sql = R"(
WITH RECURSIVE reach (relation, part) AS (
    SELECT c.oid, c.oid FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'v') AND c.relpersistence <> 't' AND c.oid >= 16384
    UNION
    SELECT r.relation, further.part
    FROM reach r CROSS JOIN LATERAL (
        SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = r.part
        UNION ALL
        SELECT t.typrelid
        FROM pg_attribute a JOIN pg_type c ON c.oid = a.atttypid
        JOIN pg_type t ON t.oid = CASE WHEN c.typelem <> 0 THEN c.typelem
                                       WHEN c.typtype = 'd' THEN c.typbasetype ELSE c.oid END
        WHERE a.attrelid = r.part AND a.attnum > 0 AND t.typrelid <> 0) further (part)
)
SELECT DISTINCT r.relation, p.oid
FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0]
JOIN reach r ON t.typrelid = r.part
    OR t.typname IN ('anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray',
                     'record', 'any') AND t.typnamespace = 'pg_catalog'::regnamespace
WHERE p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AND p.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = r.part AND a.attname = p.proname AND NOT a.attisdropped)
ORDER BY 1, 2)";

constexpr auto policies_sql = R"(
SELECT polrelid, polname, polcmd, array_to_string(polroles, ','),
       pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid)
FROM pg_catalog.pg_policy ORDER BY oid)";

// Triggers of our own making (not a foreign key's), and what else runs code on a write: VOLATILE
// functions in column defaults, CHECK constraints and policies.
constexpr auto triggers_sql = R"(
SELECT t.tgrelid, t.tgname, t.tgfoid
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
WHERE t.tgenabled <> 'D' AND (NOT t.tgisinternal OR p.oid >= 16384)
UNION
SELECT a.adrelid, 'default of ' || c.attname, p.oid
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
JOIN pg_catalog.pg_attribute c ON c.attrelid = a.adrelid AND c.attnum = a.adnum
JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_proc'::regclass
  AND p.provolatile = 'v' AND p.oid >= 16384
UNION
SELECT k.conrelid, 'constraint ' || k.conname, p.oid
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint k ON k.oid = d.objid
JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_constraint'::regclass
  AND d.refclassid = 'pg_catalog.pg_proc'::regclass
  AND k.conrelid <> 0 AND p.provolatile = 'v' AND p.oid >= 16384
UNION
SELECT y.polrelid, 'policy ' || y.polname, p.oid
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_policy y ON y.oid = d.objid
JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid
WHERE d.classid = 'pg_catalog.pg_policy'::regclass AND d.refclassid = 'pg_catalog.pg_proc'::regclass
  AND p.provolatile = 'v' AND p.oid >= 16384
ORDER BY 1, 2)";

constexpr auto cascades_sql = R"(
SELECT confrelid, conrelid, confdeltype IN ('c', 'n', 'd'), confupdtype IN ('c', 'n', 'd')
FROM pg_catalog.pg_constraint WHERE contype = 'f' ORDER BY oid)";

// One row a name of pg_catalog: its overloads are judged together anyway.
constexpr auto functions_sql = R"(
SELECT min(p.oid::bigint), 'pg_catalog', p.proname,
       CASE WHEN bool_or(p.provolatile = 'v') THEN 'v'
            WHEN bool_or(p.provolatile = 's') THEN 's' ELSE 'i' END
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
GROUP BY p.proname
UNION ALL
SELECT p.oid::bigint, n.nspname, p.proname, p.provolatile::text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'pg_catalog' OR p.oid >= 16384
ORDER BY 1)";

constexpr auto roles_sql = R"(
SELECT oid, rolname, rolsuper, rolbypassrls FROM pg_catalog.pg_roles ORDER BY oid)";

// The database's owner is a member of pg_database_owner without a row that says so.
constexpr auto members_sql = R"(
WITH RECURSIVE direct (member, roleid) AS (
    SELECT member, roleid FROM pg_catalog.pg_auth_members
    UNION
    SELECT d.datdba, r.oid FROM pg_catalog.pg_database d, pg_catalog.pg_roles r
    WHERE d.datname = pg_catalog.current_database() AND r.rolname = 'pg_database_owner'
), closure (member, roleid) AS (
    SELECT member, roleid FROM direct
    UNION
    SELECT c.member, d.roleid FROM closure c JOIN direct d ON d.member = c.roleid
)
SELECT member, roleid FROM closure WHERE member <> roleid ORDER BY 1, 2)";

constexpr auto operators_sql = R"(
SELECT n.nspname, o.oprname, bool_or(p.provolatile = 'v')
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
LEFT JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
WHERE n.nspname <> 'pg_catalog' GROUP BY 1, 2 ORDER BY 1, 2)";

// Enums, and domains without constraints over core types: reading and writing them runs no code but
// PostgreSQL's own. A cast by a user's function could run with nothing in the text to show it.
constexpr auto types_sql = R"(
SELECT n.nspname, t.typname
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname !~ '^pg_(temp_|toast_temp_)'
  AND (t.typtype = 'e' OR (t.typtype = 'd' AND b.typtype = 'b'
       AND b.typnamespace = 'pg_catalog'::regnamespace
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid)))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast k
                  WHERE (k.castsource = t.oid OR k.casttarget = t.oid) AND k.castfunc >= 16384)
ORDER BY 1, 2)";

oid to_oid(const std::string& text) {
    oid value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

bool to_bool(const std::string& text) {
    return text == "t";
}

char to_char(const std::string& text) {
    return text.empty() ? '\0' : text.front();
}

std::vector<oid> to_oids(std::string_view list) {
    std::vector<oid> ids;
    while (!list.empty()) {
        const auto comma = std::min(list.find(','), list.size());
        ids.push_back(to_oid(std::string(list.substr(0, comma))));
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return ids;
}

// Runs queries until the first failure, which stays.
class reader {
public:
    reader(connection& database, const wakeup* stop)
        : database_(database)
        , stop_(stop) {}

    rows operator()(const char* sql) {
        if (error) return {};
        auto answer = database_.query(sql, query_time_max, stop_);
        if (answer) return std::move(*answer);
        error = answer.error();
        return {};
    }

    std::optional<failure> error;

private:
    connection& database_;
    const wakeup* stop_;
};

void read_relations(reader& read, snapshot_data& data) {
    std::unordered_map<oid, std::size_t> position;
    for (auto& row : read(relations_sql)) {
        relation one;
        one.id = to_oid(row[0]);
        one.schema = std::move(row[1]);
        one.name = std::move(row[2]);
        one.kind = to_char(row[3]);
        one.persistence = to_char(row[4]);
        one.owner = to_oid(row[5]);
        one.rls_enabled = to_bool(row[6]);
        one.rls_forced = to_bool(row[7]);
        one.has_user_rules = to_bool(row[8]);
        one.security_invoker = to_bool(row[9]);
        one.view_definition = std::move(row[10]);
        position.emplace(one.id, data.relations.size());
        data.relations.push_back(std::move(one));
    }
    const auto attach = [&](const char* sql, std::vector<oid> relation::*list) {
        for (const auto& row : read(sql)) {
            const auto found = position.find(to_oid(row[0]));
            if (found == position.end()) continue;
            (data.relations[found->second].*list).push_back(to_oid(row[1]));
        }
    };
    attach(children_sql, &relation::children);
    attach(row_functions_sql, &relation::row_functions);
}

void read_what_hangs_on_relations(reader& read, snapshot_data& data) {
    for (auto& row : read(policies_sql)) {
        data.policies.push_back(
            {to_oid(row[0]),
             std::move(row[1]),
             to_char(row[2]),
             to_oids(row[3]),
             std::move(row[4]),
             std::move(row[5])});
    }
    for (auto& row : read(triggers_sql)) {
        data.triggers.push_back({to_oid(row[0]), std::move(row[1]), to_oid(row[2])});
    }
    for (const auto& row : read(cascades_sql)) {
        data.cascades.push_back({to_oid(row[0]), to_oid(row[1]), to_bool(row[2]), to_bool(row[3])});
    }
}

void read_names(reader& read, snapshot_data& data) {
    for (auto& row : read(functions_sql)) {
        data.functions.push_back(
            {to_oid(row[0]), std::move(row[1]), std::move(row[2]), to_char(row[3])});
    }
    for (auto& row : read(operators_sql)) {
        if (to_bool(row[2])) data.volatile_operators.emplace_back(row[0], row[1]);
        data.operators.emplace_back(std::move(row[0]), std::move(row[1]));
    }
    for (auto& row : read(types_sql))
        data.types.emplace_back(std::move(row[0]), std::move(row[1]));
}

void read_roles(reader& read, snapshot_data& data) {
    std::map<oid, std::vector<oid>> memberships;
    for (const auto& row : read(members_sql)) {
        memberships[to_oid(row[0])].push_back(to_oid(row[1]));
    }
    for (auto& row : read(roles_sql)) {
        const oid id = to_oid(row[0]);
        data.roles.push_back(
            {id, std::move(row[1]), to_bool(row[2]), to_bool(row[3]), std::move(memberships[id])});
    }
}

// The first field of the first row; empty also when the role may not ask.
std::string ask(connection& database, const char* sql, const wakeup* stop) {
    auto answer = database.query(sql, query_time_max, stop);
    return answer && !answer->empty() ? std::move(answer->front().front()) : std::string{};
}

}  // namespace

outcome<void> open_session(connection& database, const std::string& conninfo, const wakeup* stop) {
    if (auto opened = database.open(conninfo, connect_time_max, stop); !opened) return opened;
    if (auto set = database.query(session_sql, query_time_max, stop); !set) return set.error();
    return {};
}

outcome<server_identity> read_identity(connection& database, const wakeup* stop) {
    const auto run = database.query(run_sql, query_time_max, stop);
    if (!run) return run.error();
    if (run->empty()) return failure{"the server does not say when it was started"};
    const auto& row = run->front();
    server_identity identity;
    identity.started_at = row[0];
    const bool standby = to_bool(row[1]);
    if (to_bool(row[2])) identity.system_identifier = ask(database, system_identifier_sql, stop);
    if (to_bool(row[standby ? 3 : 4]) && database.is_open()) {
        identity.timeline = ask(database, standby ? standby_timeline_sql : timeline_sql, stop);
    }
    if (!database.is_open()) return failure{"connection lost"};
    return identity;
}

outcome<std::string> read_fingerprint(connection& database, const wakeup* stop) {
    auto answer = database.query(fingerprint_sql, query_time_max, stop);
    if (!answer) return answer.error();
    if (answer->empty()) return failure{"the fingerprint query gave no row"};
    return outcome<std::string>(boost::system::in_place_value, std::move(answer->front().front()));
}

outcome<loaded> read_catalog(connection& database, const wakeup* stop) {
    auto identity = read_identity(database, stop);
    if (!identity) return identity.error();
    loaded result;
    reader read(database, stop);
    read(begin_sql);
    if (const auto answer = read(fingerprint_sql); !answer.empty()) {
        result.fingerprint = answer.front().front();
    }
    read_relations(read, result.data);
    read_what_hangs_on_relations(read, result.data);
    read_names(read, result.data);
    read_roles(read, result.data);
    if (database.is_open()) {
        const auto ended = database.query("ROLLBACK", query_time_max, stop);
        if (!ended && !read.error) read.error = ended.error();
    }
    if (read.error) return *std::move(read.error);
    result.data.system_identifier = std::move(identity->system_identifier);
    result.data.timeline = std::move(identity->timeline);
    result.data.started_at = std::move(identity->started_at);
    return result;
}

outcome<snapshot_data> load(const std::string& conninfo) {
    connection database;
    if (const auto opened = open_session(database, conninfo, nullptr); !opened) {
        return opened.error();
    }
    auto result = read_catalog(database, nullptr);
    if (!result) return result.error();
    return std::move(result->data);
}

}  // namespace postern::catalog
