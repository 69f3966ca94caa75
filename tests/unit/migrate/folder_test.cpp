// File names make versions of any width, in the order of their numbers; what does not fit together
// is refused by name.

#include "migrate/folder.hpp"

#include <doctest/doctest.h>

#include <string>

namespace postern::migrate {
namespace {

source_file file(const std::string& name, const std::string& text = "select 1") {
    return {"m/" + name, name, text};
}

folder build(const std::vector<source_file>& files, const std::vector<source_file>& policies = {}) {
    auto built = build_folder(files, policies);
    REQUIRE_MESSAGE(built.has_value(), (built.has_error() ? built.error().to_text() : ""));
    return std::move(built).value();
}

problem refusal(
    const std::vector<source_file>& files,
    const std::vector<source_file>& policies = {}) {
    const auto built = build_folder(files, policies);
    REQUIRE(built.has_error());
    return built.error();
}

TEST_SUITE("migrate/folder") {
    TEST_CASE("versions of any width are ordered by their number") {
        const auto built = build({
            file("20240101120000_late.up.sql"),
            file("9_b.up.sql"),
            file("0010_c.up.sql"),
            file("1_a.up.sql"),
        });
        REQUIRE(built.versioned.size() == 4);
        CHECK(built.versioned[0].name == "a");
        CHECK(built.versioned[1].name == "b");
        CHECK(built.versioned[2].name == "c");
        CHECK(built.versioned[3].name == "late");
        CHECK(built.find("10") == &built.versioned[2]);
        CHECK(built.find("11") == nullptr);
    }

    TEST_CASE("only the up file is needed") {
        const auto built = build({
            file("1_a.up.sql"),
            file("2_b.up.sql"),
            file("2_b.down.sql"),
            file("2_b.verify.sql"),
        });
        CHECK_FALSE(built.versioned[0].down.has_value());
        CHECK_FALSE(built.versioned[0].verify.has_value());
        CHECK(built.versioned[1].down.has_value());
        CHECK(built.versioned[1].verify.has_value());
    }

    TEST_CASE("files with other names are passed over with a warning") {
        const auto built = build({file("1_a.up.sql"), file("notes.sql"), file("2_b.upp.sql")});
        CHECK(built.versioned.size() == 1);
        CHECK(built.warnings.size() == 2);
    }

    TEST_CASE("two files of one version, and a down without its up, are refused") {
        CHECK(
            refusal({file("10_a.up.sql"), file("0010_b.up.sql")}).message.find("m/10_a.up.sql") !=
            std::string::npos);
        CHECK(refusal({file("1_a.down.sql")}).file == "m/1_a.down.sql");
    }

    TEST_CASE("repeatable files come in the order of their names, with what verifies them") {
        const auto built = build(
            {},
            {file("10_b.sql"), file("00_a.sql"), file("10_b.verify.sql"), file("matrix.yaml")});
        REQUIRE(built.repeatables.size() == 2);
        CHECK(built.repeatables[0].name == "00_a");
        CHECK(built.repeatables[1].verify.has_value());
        CHECK(refusal({}, {file("1_a.verify.sql")}).message.find("1_a.sql") != std::string::npos);
        CHECK(refusal({}, {file("1.sql", "-- postern: transaction=off\nselect 1")}).line == 1);
    }
}

}  // namespace
}  // namespace postern::migrate
