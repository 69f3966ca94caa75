// One statement's facts against one snapshot: the work behind snapshot::resolve.

#pragma once

#include "catalog/index.hpp"

#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace postern::catalog {

/// Gathers one footprint. Whatever it cannot prove harmless it refuses, and goes on, so that the
/// writes are complete in any case.
class resolver {
public:
    resolver(const catalog_index& index, const resolve_context& context);

    footprint run(const sql::statement_facts& facts);

private:
    // Whose rights and policies count: the session's role, or a view's owner. Null: unknown role.
    using actor = const role*;

    // Where a name stands: in the statement, or inside a view or a policy.
    struct scope {
        const search_path& path;
        actor as = nullptr;
        reason wrapped_as =
            reason::none;   // what a refusal is called in here; none: by its own name
        std::string label;  // the view or policy
        int depth = 0;
        const std::vector<std::string>& attributes;  // statement_facts::attributes
    };

    // How a write reaches a table, as far as foreign keys tell actions apart.
    struct touch {
        oid table = 0;
        bool update = false;
        bool remove = false;
        bool truncate = false;
        friend auto operator<=>(const touch&, const touch&) = default;
    };

    void deny(const scope& where, reason why, std::string_view detail);
    void pin(sql::pin_cause cause, std::string_view detail);
    void uses(const sql::statement_facts& facts, const scope& where);

    void read(const sql::relation_use& use, const scope& where);
    void read_relation(const relation& target, const scope& where);
    void read_table(const relation& table, const scope& where);
    void read_view(const relation& view, const scope& where);
    void read_policies(const relation& table, const scope& where);
    void read_row_functions(const relation& table, const scope& where);

    void write(const sql::relation_use& use, const scope& where);
    void write_relation(const relation& target, sql::access how, int depth);
    void write_view(const relation& view, sql::access how, int depth);
    void write_table(touch first);
    void write_one(const touch& one, std::vector<touch>& pending);
    void run_triggers(const relation& table);
    void write_vouched(const vouched_function& callee);
    void write_everything() { result_.writes_everything = true; }

    void call(const sql::function_use& use, const scope& where);
    void call_builtin(std::string_view name, char volatility, const scope& where);
    void call_user(const function& callee, const scope& where);
    void call_vouched(const vouched_function& callee, const scope& where);
    void apply_operator(const sql::name_use& use, const scope& where);
    void name_type(const sql::name_use& use, const scope& where);
    void read_setting(std::string_view name, const scope& where);

    std::vector<const relation*> descendants(const relation& root) const;
    bool policies_apply(const relation& table, actor as) const;
    static bool concerns(const policy& rule, actor as);

    const catalog_index& index_;
    search_path path_;
    search_path catalog_only_ = catalog_only();
    actor session_role_;
    footprint result_;
    std::set<std::pair<oid, actor>> seen_reads_;
    std::set<touch> seen_writes_;
    std::set<std::pair<oid, sql::access>> seen_view_writes_;
};

}  // namespace postern::catalog
