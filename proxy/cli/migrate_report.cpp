// What `postern migrate` prints, for people and for programs.

#include "cli/json.hpp"
#include "cli/migrate.hpp"
#include "migrate/tokens.hpp"

#include <fmt/format.h>

namespace postern::cli {

namespace {

using migrate::verb;

json_object problem_json(const migrate::problem& found) {
    json_object made;
    made.text("kind", migrate::to_string(found.kind)).text("message", found.message);
    if (!found.file.empty()) made.text("file", found.file);
    if (found.line > 0) made.number("line", found.line);
    if (found.statement > 0) made.number("statement", found.statement);
    if (!found.summary.empty()) made.text("sql", found.summary);
    if (!found.sqlstate.empty()) made.text("sqlstate", found.sqlstate);
    if (!found.detail.empty()) made.text("detail", found.detail);
    if (!found.hint.empty()) made.text("hint", found.hint);
    if (!found.context.empty()) made.text("context", found.context);
    return made;
}

json_object statement_json(const migrate::statement& one) {
    json_object made;
    made.number("line", one.line).text("sql", migrate::summary(one));
    return made;
}

json_object step_json(const migrate::step_report& one) {
    json_object made;
    made.text("kind", one.kind)
        .text("version", one.version)
        .text("name", one.name)
        .text("file", one.file)
        .flag("transaction", one.transaction)
        .flag("done", one.done);
    if (one.done && one.kind != "verify") {
        made.number("duration_ms", one.result.duration_ms)
            .number("statements", one.result.statements)
            .number("attempts", one.result.attempts)
            .number("rows", one.result.rows);
    }
    if (!one.statements.empty()) {
        std::vector<json_object> all;
        for (const auto& each : one.statements)
            all.push_back(statement_json(each));
        made.objects("statements", all);
    }
    if (!one.sql.empty()) made.texts("sql", one.sql);
    if (one.error) made.object("error", problem_json(*one.error));
    return made;
}

json_object entry_json(const migrate::status_entry& one) {
    json_object made;
    made.text("version", one.version)
        .text("name", one.name)
        .text("kind", migrate::to_string(one.kind))
        .text("state", one.state)
        .text("file", one.file)
        .text("sha256_file", one.sha256_file);
    if (!one.row) return made;
    made.text("sha256_applied", one.row->sha256)
        .text("applied_by", one.row->applied_by)
        .text("applied_at", one.row->applied_at)
        .number("duration_ms", one.row->duration_ms)
        .number("statements_done", one.row->statements_done)
        .number("statements", one.row->statements);
    if (one.row->running > 0) made.number("running", one.row->running);
    return made;
}

std::string status_text(const migrate::report& made) {
    std::string text;
    for (const auto& one : made.entries) {
        auto state = one.state;
        if (one.kind == migrate::row_kind::baseline && state == "applied") state = "baseline";
        const bool half = state == "dirty" || state == "reverting";
        text += fmt::format(
            "{:<12} {}{}{}\n",
            state,
            one.file.empty() ? one.version + " " + one.name : one.file,
            half ? fmt::format(
                       " ({} of {} statements done)",
                       one.row->statements_done,
                       one.row->statements)
                 : "",
            one.row ? fmt::format(
                          "  {} by {}, {} ms",
                          one.row->applied_at,
                          one.row->applied_by,
                          one.row->duration_ms)
                    : "");
    }
    return text.empty() ? "no migrations\n" : text;
}

std::string plan_text(const migrate::report& made) {
    std::string text;
    for (const auto& one : made.steps) {
        text += fmt::format(
            "{:<17} {} ({})\n",
            one.kind,
            one.file,
            one.transaction ? "one transaction" : "statement by statement");
        for (const auto& each : one.statements)
            text += fmt::format("{:>6}: {}\n", each.line, migrate::summary(each));
    }
    return text;
}

// As a script: statements end in semicolons, on a line of its own behind a comment.
std::string sql_text(const migrate::report& made) {
    std::string text;
    for (const auto& step : made.steps) {
        for (const auto& one : step.sql) {
            text += one;
            if (!migrate::first_tokens(one, 1).empty())
                text += one.substr(one.rfind('\n') + 1).find("--") == std::string::npos ? ";"
                                                                                        : "\n;";
            text += '\n';
        }
    }
    return text;
}

bool has_sql(const migrate::report& made) {
    for (const auto& one : made.steps)
        if (!one.sql.empty() && !one.done) return true;
    return false;
}

}  // namespace

std::string migrate_text(const migrate::report& made) {
    if (made.what == verb::status) return made.error ? "" : status_text(made);
    if (has_sql(made)) return sql_text(made);
    if (made.what == verb::plan && !made.steps.empty()) return plan_text(made);
    if (made.what == verb::repair || made.what == verb::baseline) {
        std::string text;
        for (const auto& one : made.steps)
            text += fmt::format("{:<17} {} {}\n", one.kind, one.version, one.name);
        return text;
    }
    if (made.steps.empty() && !made.error)
        return made.what == verb::verify ? "nothing to verify\n" : "nothing to do\n";
    return {};
}

std::string migrate_json(const migrate::report& made) {
    std::vector<json_object> steps;
    for (const auto& one : made.steps)
        steps.push_back(step_json(one));
    std::vector<json_object> entries;
    for (const auto& one : made.entries)
        entries.push_back(entry_json(one));
    json_object all;
    all.text("command", migrate::to_string(made.what))
        .flag("ok", !made.error)
        .text("database", made.database)
        .flag("attention", made.attention)
        .texts("warnings", made.warnings);
    if (made.what == verb::status) {
        all.objects("migrations", entries);
    } else {
        all.objects("steps", steps);
    }
    if (made.error) all.object("error", problem_json(*made.error));
    return all.str();
}

}  // namespace postern::cli
