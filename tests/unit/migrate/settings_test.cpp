// Limits, backoff, progress in words, and the SQL of a step as a dry run shows it.

#include "migrate/settings.hpp"

#include "migrate/progress.hpp"
#include "migrate/runner.hpp"
#include "migrate/tokens.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

namespace postern::migrate {
namespace {

using std::chrono::milliseconds;
using strings = std::vector<std::string>;

migration made(const std::string& text) {
    auto read = parse_script("1_a.up.sql", text);
    REQUIRE_MESSAGE(read.has_value(), (read.has_error() ? read.error().to_text() : ""));
    return {"1", "a", std::move(read).value(), {}, {}};
}

std::size_t place(const strings& in, const std::string& start, std::size_t from = 0) {
    const auto found = std::find_if(
        in.begin() + static_cast<std::ptrdiff_t>(from),
        in.end(),
        [&](const std::string& one) { return one.starts_with(start); });
    REQUIRE_MESSAGE(found != in.end(), start);
    return static_cast<std::size_t>(found - in.begin());
}

TEST_SUITE("migrate/settings") {
    TEST_CASE("waits double up to five seconds") {
        CHECK(backoff(2) == milliseconds(100));
        CHECK(backoff(3) == milliseconds(200));
        CHECK(backoff(7) == milliseconds(3200));
        CHECK(backoff(8) == milliseconds(5000));
        CHECK(backoff(1000) == milliseconds(5000));
    }

    TEST_CASE("a file's limits go before the command line's") {
        run_settings settings;
        settings.lock_timeout = milliseconds(700);
        CHECK(
            limits_sql(made("select 1").up, settings).front() ==
            "SET LOCAL lock_timeout = '700ms'");
        CHECK(
            limits_sql(made("-- postern: lock_timeout=2s\nselect 1").up, settings).front() ==
            "SET LOCAL lock_timeout = '2000ms'");
    }

    TEST_CASE("what works concurrently has no lock timeout but the file's own") {
        const run_settings settings;
        const std::string index = "create index concurrently i on t (a)";
        const auto plain = made("-- postern: transaction=off\n" + index).up;
        const auto own = made("-- postern: transaction=off lock_timeout=3s\n" + index).up;
        CHECK(
            outside_limits_sql(plain, plain.statements[0], settings).front() ==
            "SET lock_timeout = '0ms'");
        CHECK(
            outside_limits_sql(own, own.statements[0], settings).front() ==
            "SET lock_timeout = '3000ms'");
        const auto vacuum = made("-- postern: transaction=off\nvacuum t").up;
        CHECK(
            outside_limits_sql(vacuum, vacuum.statements[0], settings).front() ==
            "SET lock_timeout = '1000ms'");
    }

    TEST_CASE("a whole file and its row commit together") {
        const auto one = made("create table a(); create table b()");
        const auto sql = step_sql({step_kind::apply, &one, nullptr, row_of(one)}, {});
        const auto begin = place(sql, "BEGIN");
        const auto commit = place(sql, "COMMIT");
        CHECK(begin < place(sql, "create table a"));
        CHECK(place(sql, "create table b") < place(sql, "INSERT INTO postern_migration.history"));
        CHECK(place(sql, "INSERT INTO postern_migration.history") < commit);
        CHECK(std::count(sql.begin(), sql.end(), "COMMIT") == 1);
    }

    TEST_CASE("the session's settings stand in front of every statement that follows") {
        const auto one = made(
            "-- postern: transaction=off\n"
            "set role r; create table a(); vacuum a");
        const auto sql = step_sql({step_kind::apply, &one, nullptr, row_of(one)}, {});
        const auto first = place(sql, "set role r");
        CHECK(first < place(sql, "create table a"));
        const auto second = place(sql, "set role r", first + 1);
        CHECK(second + 1 == place(sql, "vacuum a"));
        // The row is the tool's to write, whatever role the file took on.
        CHECK(place(sql, "RESET ROLE", first) < place(sql, "INSERT INTO", first));
    }

    TEST_CASE("progress is told in rows, rate and time left") {
        CHECK(
            batch_text(0, 4000, 8000, milliseconds(1000)) ==
            "4000 rows done, 4000 a second, 8000 left: about 2 s");
        CHECK(batch_text(500, 0, std::nullopt, milliseconds(0)) == "500 rows done, 0 a second");
        CHECK(share_text(25, 100, milliseconds(10'000)) == "25.0 % done, about 30 s left");
        CHECK(share_text(0, 100, milliseconds(10)) == "0.0 % done");
        CHECK(share_text(0, 0, milliseconds(10)).empty());
        CHECK(duration_text(milliseconds(450)) == "450 ms");
        CHECK(duration_text(milliseconds(130'000)) == "2 min");
        CHECK(duration_text(milliseconds(12'000'000)) == "3 h 20 min");
    }

    TEST_CASE("a batch's rows are its tag's count or the one number that a query yields") {
        const auto touched = [](const reply& answered) {
            return rows_touched(answered);
        };
        CHECK(touched({5, false, {}}).value() == 5U);
        CHECK_FALSE(touched({std::nullopt, false, {}}).value().has_value());
        CHECK(touched({1, true, {{"7"}}}).value() == 7U);
        CHECK(touched({2, true, {{"1", "a"}, {"2", "b"}}}).value() == 2U);
        CHECK(touched({1, true, {{"x"}}}).has_error());
        CHECK(touched({1, true, {{""}}}).has_error());
    }

    TEST_CASE("an error's line is that of its character, not of its byte") {
        const script file = made("select 1;\nselect 'éé',\n  nothing").up;
        problem found{problem_kind::sql, "column \"nothing\" does not exist"};
        found.position = 16;
        const auto located = locate(found, file, 2);
        CHECK(located.line == 3);
        CHECK(located.statement == 2);
        CHECK(located.to_text().starts_with("1_a.up.sql:3: statement 2: column"));
    }

    TEST_CASE("a quoted constant survives quotes and backslashes") {
        CHECK(quote_literal("it's") == "'it''s'");
        CHECK(quote_literal("a\\b") == " E'a\\\\b'");
    }
}

}  // namespace
}  // namespace postern::migrate
