#include "catalog/shadow_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace postern::catalog {
namespace {

using namespace std::chrono_literals;

// PostgreSQL ends a statement itself; this is for when it does not answer at all.
constexpr std::chrono::milliseconds grace = 5s;

// Between the names of a list: no name holds it.
constexpr std::string_view separator = "\x1f";

std::string quoted(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        if (c == '"') out += c;
        out += c;
    }
    return out + '"';
}

std::string joined(const std::vector<std::string>& names) {
    return fmt::format("{}", fmt::join(names, separator));
}

// PostgreSQL's words about names may be shown; those about values may hold a value.
bool is_about_names(std::string_view sqlstate) {
    constexpr std::array<std::string_view, 6>
        known{"42501", "42703", "42704", "42883", "42P01", "3F000"};
    return std::ranges::find(known, sqlstate) != known.end();
}

class transaction {
public:
    transaction(
        connection& where,
        const sampled_read& what,
        const sampler_settings& with,
        const wakeup* called_off)
        : database_{where}
        , read_{what}
        , how_{with}
        , stop_{called_off}
        , limit_{with.statement_timeout + grace} {}

    shadow_outcome run() {
        // What can't be seen through need not be run either.
        if (read_.unqualified.empty()) {
            found_.verdict = shadow_verdict::qualified;
            return found_;
        }
        if (begin() && become() && dress() && look_for_views()) compare();
        if (database_.is_open() && !database_.query("ROLLBACK", limit_, stop_)) database_.close();
        return found_;
    }

private:
    bool begin() {
        const auto sql = fmt::format(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}",
            how_.statement_timeout.count());
        const auto done = database_.query(sql, limit_, stop_);
        if (done) return true;
        found_.never_began = !database_.is_open();
        return fail("BEGIN", done.error());
    }

    bool become() {
        const auto done = set({{"role", read_.role}});
        if (done) return true;
        found_.is_setup = database_.is_open();
        return fail(
            fmt::format("SET ROLE {} by shadow mode's login, not a member of it?", read_.role),
            done.error());
    }

    bool dress() {
        auto all = read_.settings;
        all.emplace_back("search_path", read_.search_path);
        const auto done = set(all);
        return done ? true : fail("the session's settings", done.error());
    }

    outcome<rows> set(const std::vector<std::pair<std::string, std::string>>& all) {
        std::string sql = "SELECT ";
        std::vector<std::string> values;
        for (const auto& [name, value] : all) {
            if (!values.empty()) sql += ", ";
            const auto at = values.size();
            sql += fmt::format("pg_catalog.set_config(${}, ${}, true)", at + 1, at + 2);
            values.push_back(name);
            values.push_back(value);
        }
        return database_.query(sql, limit_, stop_, values);
    }

    // PostgreSQL passes over a schema that is not there or may not be used, and answers as if
    // nothing were hidden: that must not be taken for the policies' word.
    bool look_for_views() {
        constexpr auto sql = R"(
SELECT n.oid IS NOT NULL, coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false),
    EXISTS (SELECT FROM pg_catalog.unnest(pg_catalog.string_to_array($2, $3)) AS wanted(name)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relname = wanted.name
            AND c.relnamespace IN (n.oid, 'pg_catalog'::pg_catalog.regnamespace)))
FROM (SELECT) AS one LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = $1)";
        const std::vector<std::string> names{
            how_.schema,
            joined(read_.unqualified),
            std::string{separator}};
        const auto answer = database_.query(sql, limit_, stop_, names);
        if (!answer) return fail("looking for the views", answer.error());
        const auto& row = answer->front();
        found_.is_setup = true;
        if (row[0] != "t") return fail_by("3F000", fmt::format("no schema {}", how_.schema));
        if (row[1] != "t") {
            return fail_by(
                "42501",
                fmt::format("role {} has no USAGE on schema {}", read_.role, how_.schema));
        }
        found_.is_setup = false;
        lacks_view_ = row[2] == "t";
        return true;
    }

    void compare() {
        const auto without =
            database_.digest(read_.text, read_.bound, how_.rows_max, limit_, stop_);
        if (!without) return (void)fail("without the views", without.error());
        const auto path = quoted(how_.schema) + (read_.search_path.empty() ? "" : ", ") +
                          read_.search_path;
        if (const auto done = set({{"search_path", path}}); !done)
            return (void)fail("search_path", done.error());
        const auto with = database_.digest(read_.text, read_.bound, how_.rows_max, limit_, stop_);
        if (!with) return (void)fail("with the views", with.error());
        found_.rows_without = without->rows();
        found_.rows_with = with->rows();
        if (*without != *with) {
            found_.verdict = shadow_verdict::different;
        } else if (!read_.qualified.empty()) {
            found_.verdict = shadow_verdict::qualified;
        } else {
            found_.verdict = lacks_view_ ? shadow_verdict::no_view : shadow_verdict::same;
        }
    }

    bool fail(const std::string& where, const failure& error) {
        const auto& code = database_.sqlstate();
        const bool tells = is_about_names(code) || found_.is_setup || !database_.is_open();
        return fail_by(code, tells ? fmt::format("{}: {}", where, error.message) : where);
    }

    bool fail_by(std::string code, std::string words) {
        found_.verdict = shadow_verdict::error;
        found_.sqlstate = std::move(code);
        found_.error = std::move(words);
        return false;
    }

    connection& database_;
    const sampled_read& read_;
    const sampler_settings& how_;
    const wakeup* stop_;
    const std::chrono::milliseconds limit_;
    bool lacks_view_ = false;
    shadow_outcome found_;
};

}  // namespace

shadow_outcome run_both_ways(
    connection& database,
    const sampled_read& read,
    const sampler_settings& how,
    const wakeup* stop) {
    return transaction{database, read, how, stop}.run();
}

}  // namespace postern::catalog
