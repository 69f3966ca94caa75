#include "migrate/settings.hpp"

#include "migrate/statement_kind.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::migrate {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds backoff_first{100};
constexpr milliseconds backoff_max{5000};

std::vector<std::string> set_limits(
    std::string_view scope,
    milliseconds lock,
    milliseconds each_statement) {
    return {
        fmt::format("{} lock_timeout = '{}ms'", scope, lock.count()),
        fmt::format("{} statement_timeout = '{}ms'", scope, each_statement.count())};
}

void append(std::vector<std::string>& to, const std::vector<std::string>& more) {
    to.insert(to.end(), more.begin(), more.end());
}

void add_outside(
    const step& one,
    unsigned number,
    const run_settings& settings,
    std::vector<std::string>& to) {
    const auto& file = one.file();
    to.push_back(fmt::format("-- statement {}, outside of any transaction", number));
    append(to, outside_limits_sql(file, file.statements[number - 1], settings));
    append(to, session_before(file, number));
    to.push_back(file.statements[number - 1].text);
}

void add_by_itself(
    const step& one,
    unsigned number,
    const run_settings& settings,
    std::vector<std::string>& to) {
    const auto& file = one.file();
    to.push_back(fmt::format(
        "-- statement {}{}",
        number,
        file.header.batch ? ", again until it touches no row" : ""));
    to.emplace_back("BEGIN");
    append(to, limits_sql(file, settings));
    append(to, session_before(file, number));
    to.push_back(file.statements[number - 1].text);
    append(to, reset_role_sql());
    auto row = one.row;
    row.state = one.is_revert() ? row_state::reverting : row_state::dirty;
    row.statements = static_cast<unsigned>(file.statements.size());
    row.statements_done = number;
    row.running = 0;
    row.done_sha256 = file.sha256_of_first(number);
    to.push_back(progress_sql(row, settings.by));
    to.emplace_back("COMMIT");
}

void add_statements(const step& one, const run_settings& settings, std::vector<std::string>& to) {
    const auto& all = one.file().statements;
    const bool resumes = one.kind == step_kind::resume || one.kind == step_kind::resume_revert;
    const unsigned done = resumes ? one.row.statements_done : 0;
    for (unsigned number = done + 1; number <= all.size(); ++number) {
        const auto& text = all[number - 1].text;
        if (sets_the_session(text)) continue;  // it stands in front of those that follow
        if (classify(text).kind != outside_kind::none) {
            add_outside(one, number, settings, to);
        } else {
            add_by_itself(one, number, settings, to);
        }
    }
}

}  // namespace

unsigned retries_of(const script& file, const run_settings& settings) {
    return file.header.retry.value_or(settings.retry);
}

std::vector<std::string> limits_sql(const script& file, const run_settings& settings) {
    return set_limits(
        "SET LOCAL",
        file.header.lock_timeout.value_or(settings.lock_timeout),
        file.header.statement_timeout.value_or(settings.statement_timeout));
}

std::vector<std::string> outside_limits_sql(
    const script& file,
    const statement& one,
    const run_settings& settings) {
    const auto kind = classify(one.text).kind;
    const bool stands_in_the_way = kind == outside_kind::none || kind == outside_kind::unknown ||
                                   kind == outside_kind::repeatable;
    const auto lock = stands_in_the_way ? settings.lock_timeout : milliseconds(0);
    return set_limits(
        "SET",
        file.header.lock_timeout.value_or(lock),
        file.header.statement_timeout.value_or(settings.statement_timeout));
}

std::vector<std::string> reset_session_sql() {
    return {"RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"};
}

std::vector<std::string> reset_role_sql() {
    return {"RESET SESSION AUTHORIZATION", "RESET ROLE"};
}

std::vector<std::string> session_before(const script& file, unsigned number) {
    std::vector<std::string> found;
    for (unsigned i = 0; i + 1 < number; ++i)
        if (sets_the_session(file.statements[i].text)) found.push_back(file.statements[i].text);
    return found;
}

std::vector<std::string> end_of_step_sql(const step& one, const writer& by) {
    if (one.is_revert()) return {delete_sql(one.row), make_repeatables_stale_sql()};
    return {applied_sql(one.row, by)};
}

bool is_transient(std::string_view sqlstate) noexcept {
    return sqlstate == "55P03" || sqlstate == "40P01" || sqlstate == "40001";
}

milliseconds backoff(unsigned attempt) noexcept {
    constexpr unsigned doublings_max = 10;  // far above backoff_max
    const auto doublings = std::min(attempt - 2, doublings_max);
    return std::min(backoff_first * (1 << doublings), backoff_max);
}

std::vector<std::string> step_sql(const step& one, const run_settings& settings) {
    const auto& file = one.file();
    std::vector<std::string> all{fmt::format("-- {} {}", to_string(one.kind), file.file)};
    const bool whole = file.header.transaction && one.kind != step_kind::resume &&
                       one.kind != step_kind::resume_revert;
    if (!whole) add_statements(one, settings, all);
    all.emplace_back("BEGIN");
    if (whole) {
        append(all, limits_sql(file, settings));
        for (const auto& each : file.statements)
            all.push_back(each.text);
        append(all, reset_role_sql());
    }
    append(all, end_of_step_sql(one, settings.by));
    all.emplace_back("COMMIT");
    return all;
}

}  // namespace postern::migrate
