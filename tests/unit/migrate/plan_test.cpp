// What is to be done, and what is refused, from made-up folders and histories.

#include "migrate/plan.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace postern::migrate {
namespace {

using rows = std::vector<history_row>;
using strings = std::vector<std::string>;

source_file file(const std::string& name, const std::string& text) {
    return {name, name, text};
}

/// Three versions with down files, two repeatable files. `off` is the second one's directives.
folder three(const std::string& off = "") {
    auto built = build_folder(
        {
            file("1_a.up.sql", "create table a()"),
            file("1_a.down.sql", "drop table a"),
            file("2_b.up.sql", off + "create table b1(); create table b2(); vacuum_not()"),
            file("2_b.down.sql", "drop table b1, b2"),
            file("3_c.up.sql", "create table c()"),
            file("3_c.down.sql", "drop table c"),
        },
        {file("00_f.sql", "select 1"), file("10_p.sql", "select 2")});
    REQUIRE(built.has_value());
    return std::move(built).value();
}

rows all_rows(const folder& files) {
    rows made;
    for (const auto& one : files.versioned)
        made.push_back(row_of(one));
    for (const auto& one : files.repeatables)
        made.push_back(row_of(one));
    return made;
}

strings names(const answer<steps>& plan) {
    REQUIRE_MESSAGE(plan.has_value(), (plan.has_error() ? plan.error().to_text() : ""));
    strings found;
    for (const auto& one : plan.value())
        found.push_back(std::string(to_string(one.kind)) + " " + one.file().file);
    return found;
}

problem_kind refusal(const answer<steps>& plan) {
    REQUIRE(plan.has_error());
    return plan.error().kind;
}

plan_options to(const std::string& version) {
    plan_options options;
    options.to = version;
    options.server_major = 16;  // whose grammar is not known here
    return options;
}

TEST_SUITE("migrate/plan") {
    TEST_CASE("up applies what is pending, then what is repeatable") {
        const auto files = three();
        CHECK(
            names(plan_up(files, {}, to(""))) == strings{
                                                     "apply 1_a.up.sql",
                                                     "apply 2_b.up.sql",
                                                     "apply 3_c.up.sql",
                                                     "apply_repeatable 00_f.sql",
                                                     "apply_repeatable 10_p.sql"});
        CHECK(names(plan_up(files, all_rows(files), to(""))).empty());
    }

    TEST_CASE("repeatable files wait until no version is pending") {
        const auto files = three();
        CHECK(
            names(plan_up(files, {}, to("0002"))) ==
            strings{"apply 1_a.up.sql", "apply 2_b.up.sql"});
        CHECK(refusal(plan_up(files, {}, to("7"))) == problem_kind::usage);
    }

    TEST_CASE("a repeatable file that changed or became stale is applied again") {
        const auto files = three();
        auto history = all_rows(files);
        history[3].sha256 = "other";
        CHECK(names(plan_up(files, history, to(""))) == strings{"apply_repeatable 00_f.sql"});
        history[4].state = row_state::stale;
        CHECK(names(plan_up(files, history, to(""))).size() == 2);
    }

    TEST_CASE("drift names both checksums, a missing file its version") {
        const auto files = three();
        auto history = all_rows(files);
        history[0].sha256 = "feed";
        const auto drifted = plan_up(files, history, to(""));
        REQUIRE(drifted.has_error());
        CHECK(drifted.error().kind == problem_kind::drift);
        CHECK(drifted.error().file == "1_a.up.sql");
        CHECK(drifted.error().detail.find("feed") != std::string::npos);
        CHECK(drifted.error().detail.find(files.versioned[0].up.sha256) != std::string::npos);
        CHECK(refusal(plan_down(files, history, to("0"))) == problem_kind::drift);

        history = all_rows(files);
        history[1].version = "7";
        CHECK(refusal(plan_up(files, history, to(""))) == problem_kind::missing);
    }

    TEST_CASE("a version below an applied one is out of order unless that is asked for") {
        const auto files = three();
        auto history = all_rows(files);
        history.erase(history.begin() + 1);
        CHECK(refusal(plan_up(files, history, to(""))) == problem_kind::out_of_order);
        auto options = to("");
        options.out_of_order = true;
        CHECK(names(plan_up(files, history, options)) == strings{"apply 2_b.up.sql"});
    }

    TEST_CASE("requires is met by what is applied or comes before") {
        auto built = build_folder(
            {
                file("1_a.up.sql", "select 1"),
                file("2_b.up.sql", "-- postern: requires=0001\nselect 1"),
                file("3_c.up.sql", "-- postern: requires=9\nselect 1"),
            },
            {});
        REQUIRE(built.has_value());
        CHECK(names(plan_up(built.value(), {}, to("2"))).size() == 2);
        CHECK(refusal(plan_up(built.value(), {}, to("3"))) == problem_kind::unmet);
    }

    TEST_CASE("down undoes the newest first and keeps the version it is told") {
        const auto files = three();
        const auto history = all_rows(files);
        CHECK(
            names(plan_down(files, history, to("1"))) ==
            strings{"revert 3_c.down.sql", "revert 2_b.down.sql"});
        CHECK(names(plan_down(files, history, to("0"))).size() == 3);
        CHECK(names(plan_down(files, history, to("3"))).empty());
        CHECK(refusal(plan_down(files, history, to("5"))) == problem_kind::usage);
    }

    TEST_CASE(
        "there is no way down without a file, from a baseline, or past a loss not asked for") {
        const auto loses = build_folder(
            {file("1_a.up.sql", "-- postern: reversible=data-loss\nselect 1"),
             file("1_a.down.sql", "select 1"),
             file("2_b.up.sql", "select 1")},
            {});
        REQUIRE(loses.has_value());
        const auto& files = loses.value();
        CHECK(
            refusal(plan_down(files, {row_of(files.versioned[1])}, to("1"))) ==
            problem_kind::irreversible);
        rows first{row_of(files.versioned[0])};
        CHECK(refusal(plan_down(files, first, to("0"))) == problem_kind::irreversible);
        auto options = to("0");
        options.allow_data_loss = true;
        CHECK(names(plan_down(files, first, options)).size() == 1);
        first[0].kind = row_kind::baseline;
        CHECK(refusal(plan_down(files, first, options)) == problem_kind::irreversible);
    }

    TEST_CASE("a half done file goes on where it stopped, unless what is done has changed") {
        const auto files = three("-- postern: transaction=off\n");
        rows history{row_of(files.versioned[0]), row_of(files.versioned[1])};
        history[1].state = row_state::dirty;
        history[1].statements_done = 1;
        history[1].sha256 = "of the file before it was mended";
        history[1].done_sha256 = files.versioned[1].up.sha256_of_first(1);
        const auto plan = plan_up(files, history, to("2"));
        CHECK(names(plan) == strings{"resume 2_b.up.sql"});
        CHECK(plan.value()[0].row.sha256 == files.versioned[1].up.sha256);
        CHECK(refusal(plan_down(files, history, to("0"))) == problem_kind::dirty);
        history[1].done_sha256 = "other";
        CHECK(refusal(plan_up(files, history, to("2"))) == problem_kind::drift);
    }

    TEST_CASE("a statement that may or may not have run is for a person to judge") {
        const auto files = three("-- postern: transaction=off\n");
        rows history{row_of(files.versioned[0]), row_of(files.versioned[1])};
        history[1].state = row_state::dirty;
        history[1].running = 3;
        history[1].statements_done = 2;
        history[1].done_sha256 = files.versioned[1].up.sha256_of_first(2);
        const auto plan = plan_up(files, history, to("2"));
        REQUIRE(plan.has_error());
        CHECK(plan.error().kind == problem_kind::dirty);
        CHECK(plan.error().hint.find("repair 2 --done 3") != std::string::npos);
    }

    TEST_CASE("up finishes a down that was interrupted, and applies everything anew") {
        const auto files = three();
        auto history = all_rows(files);
        history[2].state = row_state::reverting;
        CHECK(
            names(plan_up(files, history, to(""))) == strings{
                                                          "resume_revert 3_c.down.sql",
                                                          "apply 3_c.up.sql",
                                                          "apply_repeatable 00_f.sql",
                                                          "apply_repeatable 10_p.sql"});
    }

    TEST_CASE("redo is the newest version down and up, with what is repeatable") {
        const auto files = three();
        CHECK(
            names(plan_redo(files, all_rows(files), to(""))) == strings{
                                                                    "revert 3_c.down.sql",
                                                                    "apply 3_c.up.sql",
                                                                    "apply_repeatable 00_f.sql",
                                                                    "apply_repeatable 10_p.sql"});
        CHECK(refusal(plan_redo(files, {}, to(""))) == problem_kind::usage);
    }

    TEST_CASE("a baseline takes all up to its version, and nothing that was applied") {
        const auto files = three();
        const auto made = plan_baseline(files, {}, "2");
        REQUIRE(made.has_value());
        REQUIRE(made.value().size() == 2);
        CHECK(made.value()[1].kind == row_kind::baseline);
        CHECK(plan_baseline(files, made.value(), "2").value().empty());
        CHECK(plan_baseline(files, {row_of(files.versioned[0])}, "2").has_error());
        CHECK(plan_baseline(files, {}, "9").has_error());
    }

    TEST_CASE("the grammar's word is final up to its own version of the server") {
        const auto files = three();
        auto options = to("2");
        options.server_major = 15;
        CHECK(refusal(plan_up(files, {}, options)) == problem_kind::file);
    }

    TEST_CASE("status tells files and rows apart") {
        const auto files = three();
        auto history = all_rows(files);
        history[0].sha256 = "feed";
        history[1].version = "7";
        history[3].sha256 = "feed";
        history.pop_back();
        strings found;
        for (const auto& one : make_status(files, history))
            found.push_back(one.version + " " + one.state);
        CHECK(
            found == strings{
                         "1 drifted",
                         "2 out_of_order",
                         "3 applied",
                         "7 missing",
                         "00_f.sql changed",
                         "10_p.sql pending"});
    }
}

}  // namespace
}  // namespace postern::migrate
