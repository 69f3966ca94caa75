// Two answers are the same when they have the same columns and the same rows, as often, in any
// order.

#include "catalog/answer_digest.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
#include <vector>

using postern::catalog::answer_digest;

namespace {

using row = std::vector<std::optional<std::string_view>>;

answer_digest digest(std::initializer_list<row> rows, const row& columns = {"a", "b"}) {
    answer_digest out;
    out.columns(columns);
    for (const auto& one : rows)
        out.row(one);
    return out;
}

}  // namespace

TEST_CASE("the order of rows is nothing, their number is") {
    CHECK(digest({{"1", "x"}, {"2", "y"}}) == digest({{"2", "y"}, {"1", "x"}}));
    CHECK(digest({{"1", "x"}, {"1", "x"}}) != digest({{"1", "x"}}));
    CHECK(digest({{"1", "x"}, {"1", "x"}}) != digest({{"2", "y"}, {"2", "y"}}));
    CHECK(digest({{"1", "x"}, {"1", "x"}}).rows() == 2);
    CHECK(digest({}) == digest({}));
}

TEST_CASE("values end where they end, and NULL is no text") {
    CHECK(digest({{"ab", "c"}}) != digest({{"a", "bc"}}));
    CHECK(digest({{"", "x"}}) != digest({{std::nullopt, "x"}}));
    CHECK(digest({{std::nullopt, "x"}}) == digest({{std::nullopt, "x"}}));
}

TEST_CASE("the columns' names count, without rows too") {
    CHECK(digest({}, {"a", "b"}) != digest({}, {"a", "c"}));
    CHECK(digest({}, {"a", "b"}) != digest({}, {"a"}));
}
