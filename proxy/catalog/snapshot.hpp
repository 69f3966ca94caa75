// What the database knows, at one moment: relations, views, policies, triggers, foreign keys,
// functions, operators, types. Immutable once built; shared by all threads.

#pragma once

#include "catalog/footprint.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace postern::catalog {

/// One row of pg_class that matters here.
struct relation {
    oid id = 0;
    std::string schema;
    std::string name;
    char kind = 'r';         ///< pg_class.relkind
    char persistence = 'p';  ///< pg_class.relpersistence
    oid owner = 0;
    bool rls_enabled = false;
    bool rls_forced = false;
    bool has_user_rules = false;    ///< rewrite rules other than a view's _RETURN
    bool security_invoker = false;  ///< of a view
    std::string view_definition;    ///< pg_get_viewdef with an empty search_path; views only
    std::vector<oid> children;      ///< pg_inherits: partitions and inheritance children
    /// Functions that `t.name` or `(t.column).name` can call: of one argument of the row's type, or
    /// of a type within it, where that type has no column of the name.
    std::vector<oid> row_functions;
};

struct policy {
    oid table = 0;
    std::string name;
    char command = '*';      ///< pg_policy.polcmd
    std::vector<oid> roles;  ///< 0 = PUBLIC
    std::string using_expression;
    std::string check_expression;
};

/// Code that a write on `table` runs: a trigger, or a VOLATILE function in a column default, a
/// CHECK constraint or a policy.
struct trigger {
    oid table = 0;
    std::string name;
    oid function = 0;
};

/// A foreign key. One with neither action matters to TRUNCATE … CASCADE alone.
struct cascade {
    oid parent = 0;
    oid child = 0;
    bool on_delete = false;  ///< ON DELETE CASCADE, SET NULL or SET DEFAULT
    bool on_update = false;  ///< ON UPDATE CASCADE, SET NULL or SET DEFAULT
};

struct function {
    oid id = 0;
    std::string schema;
    std::string name;
    char volatility = 'v';  ///< pg_proc.provolatile
};

struct role {
    oid id = 0;
    std::string name;
    bool superuser = false;
    bool bypass_rls = false;
    std::vector<oid> member_of;  ///< transitively
};

/// What a DBA vouches for in rules.yaml: a function that does no more than this.
struct vouched_function {
    std::string schema;
    std::string name;
    std::vector<std::string> reads;   ///< schema.table
    std::vector<std::string> writes;  ///< schema.table
    bool cacheable = false;  ///< its result depends on arguments, `reads` and identity only
};

/// What a snapshot is built from: rows as the catalog gives them.
struct snapshot_data {
    std::vector<relation> relations;
    std::vector<policy> policies;
    std::vector<trigger> triggers;
    std::vector<cascade> cascades;
    std::vector<function> functions;
    std::vector<role> roles;
    std::vector<std::pair<std::string, std::string>>
        operators;  ///< schema, name; outside pg_catalog only
    std::vector<std::pair<std::string, std::string>>
        volatile_operators;  ///< of those, whose function is VOLATILE
    std::vector<std::pair<std::string, std::string>>
        types;  ///< schema, name; outside pg_catalog that are enums or domains over core types
    std::vector<vouched_function> vouched;
    std::vector<std::string> identity_variables;  ///< settings that are part of the identity

    std::string system_identifier;  ///< pg_control_system()
    std::string timeline;           ///< pg_control_checkpoint()
    std::string started_at;         ///< pg_postmaster_start_time()
};

class snapshot {
public:
    explicit snapshot(snapshot_data data, std::uint64_t generation);
    ~snapshot();

    /// Unique and rising within the process; what was resolved under another must be resolved anew.
    std::uint64_t generation() const noexcept { return generation_; }

    /// Resolves one statement. Pure; cost is that of a new shape, so callers remember the result.
    footprint resolve(const sql::statement_facts& facts, const resolve_context& context) const;

    /// Relation by its name or null. `name` may be schema-qualified ("public.issues").
    const relation* find(std::string_view name, const resolve_context& context) const;
    const relation* find(oid id) const;
    const snapshot_data& data() const noexcept { return data_; }

private:
    struct index;
    snapshot_data data_;
    std::uint64_t generation_;
    std::unique_ptr<const index> index_;
};

using snapshot_ptr = std::shared_ptr<const snapshot>;

}  // namespace postern::catalog
