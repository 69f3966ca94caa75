#include "cli/explanation.hpp"

#include "cli/json.hpp"
#include "cli/units.hpp"
#include "session/plan.hpp"
#include "sql/analyzer.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::cli {

namespace {

using relation_ids = std::vector<catalog::oid>;

std::vector<std::string> names_of(
    const session::plan& plan,
    relation_ids catalog::footprint::*tables,
    const catalog::snapshot& catalog) {
    std::vector<std::string> names;
    for (const auto& footprint : plan.footprints) {
        for (const auto id : footprint.*tables) {
            const auto* table = catalog.find(id);
            names.push_back(
                table == nullptr ? fmt::format("oid {}", id)
                                 : fmt::format("{}.{}", table->schema, table->name));
        }
    }
    std::ranges::sort(names);
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

/// What the session would say next of a statement that the plan has nothing against.
reason judge(const session::plan& plan) {
    if (!plan.cacheable()) return plan.why_not;
    if (!plan.settings->cache_enabled) return reason::cache_off;
    if (plan.analysis->hint_bypass) return reason::hint_bypass;
    return plan.why_not;
}

bool rule_decided(reason why) {
    switch (why) {
    case reason::none:
    case reason::rule_disabled:
    case reason::rule_bypass:
    case reason::rule_observe: return true;
    default: return false;
    }
}

std::string joined(const std::vector<std::string>& names) {
    return names.empty() ? "nothing" : fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

explanation explain_statement(
    std::string_view statement,
    const catalog::snapshot& catalog,
    const session::settings_ptr& settings,
    const session::database& database,
    const catalog::resolve_context& names) {
    sql::analyzer analyzer;
    session::plan_context context;
    context.database = database.number;
    context.database_name = database.name;
    context.names = names;
    const auto plan = session::make_plan(
        analyzer.analyze(statement),
        std::make_shared<const session::plan_context>(std::move(context)),
        &catalog,
        settings);

    explanation out;
    out.why = judge(*plan);
    out.detail = plan->why_not_detail;
    out.database = database.name;
    out.role = names.role;
    out.search_path = names.search_path;
    out.statements = plan->analysis->facts->statements.size();
    out.fingerprint = plan->analysis->facts->fingerprint;
    out.reads = names_of(*plan, &catalog::footprint::reads, catalog);
    out.writes = names_of(*plan, &catalog::footprint::writes, catalog);
    out.writes_everything = plan->writes_everything;
    out.identity_matters = plan->identity_matters;
    for (const auto& footprint : plan->footprints) {
        if (footprint.pin == sql::pin_cause::none || !out.pin.empty()) continue;
        out.pin = name(footprint.pin);
        if (!footprint.pin_detail.empty()) out.pin += fmt::format(" ({})", footprint.pin_detail);
    }
    if (rule_decided(plan->why_not)) {
        const auto& rule = settings->rules.rules.at(plan->rule);
        out.rule = {plan->rule + 1, rule.name, rule.where, rule.ttl, rule.answer_bytes_max};
    }
    return out;
}

std::string explanation::to_text() const {
    std::string text;
    const auto add = [&](std::string_view label, std::string_view value) {
        text += fmt::format("{:<12} {}\n", label, value);
    };
    add("cacheable", why == reason::none ? "yes" : "no");
    add("reason", code(why));
    add("", sentence(why));
    if (!detail.empty()) add("detail", detail);
    add("database", database);
    add("role", role);
    add("search_path", search_path);
    add("reads", joined(reads));
    add("writes", writes_everything ? "everything, as far as can be told" : joined(writes));
    add("identity",
        identity_matters ? "part of the key: row-level security applies"
                         : "not part of the key: no row-level security applies");
    if (!pin.empty()) add("keeps", fmt::format("its server: {}", pin));
    if (rule) {
        add("rule", fmt::format("#{} {} ({})", rule->number, rule->name, rule->where));
        add("ttl", format_duration(rule->ttl));
        add("max_size", format_size(static_cast<std::int64_t>(rule->answer_bytes_max)));
    }
    add("fingerprint", fmt::format("{:016x}", fingerprint));
    return text;
}

std::string explanation::to_json() const {
    json_object all;
    all.flag("cacheable", why == reason::none)
        .text("reason", code(why))
        .text("sentence", sentence(why))
        .text("detail", detail)
        .text("database", database)
        .text("role", role)
        .text("search_path", search_path)
        .number("statements", statements)
        .texts("reads", reads)
        .texts("writes", writes)
        .flag("writes_everything", writes_everything)
        .flag("identity_matters", identity_matters)
        .text("pin", pin);
    if (rule) {
        all.object(
            "rule",
            json_object{}
                .number("number", rule->number)
                .text("name", rule->name)
                .text("where", rule->where)
                .number("ttl_ms", rule->ttl.count())
                .number("max_size_bytes", rule->answer_bytes_max));
    } else {
        all.null("rule");
    }
    all.text("fingerprint", fmt::format("{:016x}", fingerprint));
    return all.str() + "\n";
}

}  // namespace postern::cli
