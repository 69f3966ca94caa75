// The version table's contract, one thread at a time; version_table_threads_test.cpp does the rest.

#include "coherence/version_table.hpp"

#include "base/metrics.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <utility>

using namespace postern;
using namespace postern::coherence;

namespace {

constexpr tag issues = 7;
constexpr tag comments = 8;
/// Another tag in the same slot as `issues`.
constexpr tag like_issues = issues + version_table::slot_count;

dependencies captured(const version_table& table, std::initializer_list<tag> tags) {
    dependencies result;
    REQUIRE(table.capture(std::span{tags.begin(), tags.size()}, result));
    return result;
}

bool can_capture(const version_table& table, tag one) {
    dependencies ignored;
    return table.capture(std::array{one}, ignored);
}

}  // namespace

TEST_CASE("what was captured stays current while nothing is written") {
    const version_table table;
    const auto read = captured(table, {issues, comments});
    CHECK(table.current(read));
    CHECK_FALSE(table.fenced(read));
}

TEST_CASE("captured slots are sorted and each stands once") {
    const version_table table;
    const auto read = captured(table, {comments, issues, like_issues, issues});
    REQUIRE(read.tags.size() == 2);
    CHECK(read.tags[0].slot < read.tags[1].slot);
    CHECK(table.current(read));
}

TEST_CASE("capturing again forgets what was captured before") {
    const version_table table;
    auto read = captured(table, {issues, comments});
    REQUIRE(table.capture(std::array{comments}, read));
    CHECK(read.tags.size() == 1);
}

TEST_CASE("a fence forbids hits and captures on its tags only") {
    version_table table;
    const auto on_issues = captured(table, {issues});
    const auto on_comments = captured(table, {comments});
    const auto on_both = captured(table, {issues, comments});
    auto write = table.raise(std::array{issues});

    CHECK(write.raised());
    CHECK_FALSE(table.current(on_issues));
    CHECK_FALSE(table.current(on_both));
    CHECK(table.fenced(on_issues));
    CHECK(table.fenced(on_both));
    CHECK_FALSE(can_capture(table, issues));
    CHECK(table.current(on_comments));
    CHECK_FALSE(table.fenced(on_comments));
    CHECK(can_capture(table, comments));
    write.roll_back();
}

TEST_CASE("after a commit what was captured before is out of date for ever") {
    version_table table;
    const auto before = captured(table, {issues});
    auto write = table.raise(std::array{issues});
    write.commit();

    CHECK_FALSE(write.raised());
    CHECK_FALSE(table.current(before));
    CHECK_FALSE(table.fenced(before));
    CHECK(table.current(captured(table, {issues})));
}

TEST_CASE("after a rollback what was captured before holds again") {
    version_table table;
    const auto before = captured(table, {issues});
    auto write = table.raise(std::array{issues});
    write.roll_back();

    CHECK_FALSE(write.raised());
    CHECK(table.current(before));
}

TEST_CASE("a fence that is destroyed unresolved counts as committed") {
    version_table table;
    const auto before = captured(table, {issues});
    { const auto lost = table.raise(std::array{issues}); }
    CHECK_FALSE(table.current(before));
    CHECK(can_capture(table, issues));
}

TEST_CASE("a fence that is assigned over counts as committed") {
    version_table table;
    const auto on_issues = captured(table, {issues});
    const auto on_comments = captured(table, {comments});
    auto write = table.raise(std::array{issues});
    write = table.raise(std::array{comments});

    CHECK_FALSE(table.fenced(on_issues));
    CHECK_FALSE(table.current(on_issues));
    CHECK(table.fenced(on_comments));
    write.roll_back();
    CHECK(table.current(on_comments));
}

TEST_CASE("a fence that was moved from no longer fences") {
    version_table table;
    const auto before = captured(table, {issues});
    auto first = table.raise(std::array{issues});
    fence second{std::move(first)};
    first.commit();  // NOLINT(bugprone-use-after-move): that it does nothing is the point
    CHECK_FALSE(first.raised());
    CHECK(table.fenced(before));
    second.roll_back();
    CHECK(table.current(before));
}

TEST_CASE("resolving a fence twice does nothing the second time") {
    version_table table;
    auto write = table.raise(std::array{issues});
    write.roll_back();
    const auto after = captured(table, {issues});
    write.commit();
    write.roll_back();
    CHECK(table.current(after));
    CHECK(table.fences_standing() == 0);
}

TEST_CASE("two fences on one tag both have to be lifted") {
    version_table table;
    auto first = table.raise(std::array{issues});
    auto second = table.raise(std::array{issues});
    CHECK(table.fences_standing() == 2);
    first.commit();
    CHECK_FALSE(can_capture(table, issues));
    second.roll_back();
    CHECK(can_capture(table, issues));
    CHECK(table.fences_standing() == 0);
}

TEST_CASE("tags of one fence that share a slot are counted once and lifted once") {
    version_table table;
    auto write = table.raise(std::array{issues, like_issues, issues});
    CHECK_FALSE(can_capture(table, issues));
    write.commit();
    CHECK(can_capture(table, issues));
    auto again = table.raise(std::array{issues});
    CHECK_FALSE(can_capture(table, issues));
    again.roll_back();
    CHECK(can_capture(table, issues));
}

TEST_CASE("a tag that shares a slot invalidates too much, never too little") {
    version_table table;
    const auto before = captured(table, {issues});
    table.bump(std::array{like_issues});
    CHECK_FALSE(table.current(before));
}

TEST_CASE("a fence on everything forbids everything, and its commit invalidates everything") {
    version_table table;
    const auto before = captured(table, {issues});
    const auto of_nothing = captured(table, {});
    auto write = table.raise_everything();
    CHECK_FALSE(table.current(before));
    CHECK_FALSE(table.current(of_nothing));
    CHECK(table.fenced(before));
    CHECK(table.fenced(of_nothing));
    CHECK_FALSE(can_capture(table, comments));

    SUBCASE("committed") {
        write.commit();
        CHECK_FALSE(table.current(before));
        CHECK_FALSE(table.current(of_nothing));
    }
    SUBCASE("rolled back") {
        write.roll_back();
        CHECK(table.current(before));
        CHECK(table.current(of_nothing));
    }
    CHECK(can_capture(table, comments));
}

TEST_CASE("bumps without a fence invalidate what they name") {
    version_table table;
    const auto on_issues = captured(table, {issues});
    const auto on_comments = captured(table, {comments});
    table.bump(std::array{issues});
    CHECK_FALSE(table.current(on_issues));
    CHECK(table.current(on_comments));
    table.bump_everything();
    CHECK_FALSE(table.current(on_comments));
}

TEST_CASE("a fence on no tags stands and is lifted like any other") {
    version_table table;
    auto write = table.raise({});
    CHECK(write.raised());
    CHECK(table.fences_standing() == 1);
    write.commit();
    CHECK(table.fences_standing() == 0);
}

TEST_CASE("a dependency with an impossible slot is answered, not followed") {
    const version_table table;
    const dependencies lie{.tags = {{0xffff'ffffU, 77}}, .everything = 1};
    CHECK_FALSE(table.current(lie));
    CHECK_FALSE(table.fenced(lie));
}

TEST_CASE("tags of dense object ids spread over the slots") {
    std::set<std::uint64_t> slots;
    for (std::uint32_t oid = 16384; oid < 16384 + 1000; ++oid) {
        slots.insert(table_tag(1, oid) % version_table::slot_count);
    }
    CHECK(slots.size() > 970);  // about 992 expected of a random spread
    CHECK(table_tag(1, 16384) != table_tag(2, 16384));
}

TEST_CASE("fences and invalidations are counted") {
    version_table table;
    const auto before = metrics::collect();
    table.raise(std::array{issues, comments}).commit();
    table.raise(std::array{issues}).roll_back();
    table.raise_everything().commit();
    table.bump(std::array{issues});
    const auto after = metrics::collect();
    using metrics::counter;
    CHECK(after[counter::fences] - before[counter::fences] == 3);
    CHECK(after[counter::invalidations] - before[counter::invalidations] == 4);
}
