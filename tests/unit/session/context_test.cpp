// Transactions and savepoints give and take what a session has set, for the session and for the
// server that it was set on.

#include "session/context.hpp"

#include <doctest/doctest.h>

namespace postern::session {
namespace {

pool::settings_map_ptr settings(const char* value) {
    return std::make_shared<const pool::settings_map>(pool::settings_map{{"work_mem", value}});
}

TEST_SUITE("session/context") {
    TEST_CASE("ROLLBACK brings back what was set before BEGIN, here and on the server") {
        context one;
        const auto worn = settings("worn");
        one.change().settings = settings("before");
        one.begin(worn);
        one.change().settings = settings("within");
        CHECK(one.roll_back() == worn);
        CHECK(one.now().settings->at("work_mem") == "before");
        CHECK_FALSE(one.in_transaction());
    }

    TEST_CASE("COMMIT keeps what was set, but for what was set for the transaction") {
        context one;
        one.begin(nullptr);
        one.change().settings = settings("within");
        one.change().identity_local = settings("me");
        one.commit();
        CHECK(one.now().settings->at("work_mem") == "within");
        CHECK(one.now().identity_local->empty());
    }

    TEST_CASE("ROLLBACK TO can be done twice to the same savepoint") {
        context one;
        one.begin(nullptr);
        one.change().settings = settings("1");
        one.savepoint("a", settings("worn at a"));
        one.change().settings = settings("2");
        CHECK(one.roll_back_to("a")->at("work_mem") == "worn at a");
        one.change().settings = settings("3");
        CHECK(one.roll_back_to("a") != nullptr);
        CHECK(one.now().settings->at("work_mem") == "1");
    }

    TEST_CASE("RELEASE ends a savepoint and those within it") {
        context one;
        one.begin(nullptr);
        one.savepoint("a", settings("a"));
        one.savepoint("b", settings("b"));
        one.release_savepoint("a");
        CHECK(one.roll_back_to("b") == nullptr);
        CHECK(one.roll_back_to("a") == nullptr);
    }

    TEST_CASE("the newest of two savepoints of one name is meant") {
        context one;
        one.begin(nullptr);
        one.savepoint("a", settings("outer"));
        one.savepoint("a", settings("inner"));
        CHECK(one.roll_back_to("a")->at("work_mem") == "inner");
        one.release_savepoint("a");
        CHECK(one.roll_back_to("a")->at("work_mem") == "outer");
    }

    TEST_CASE("a second BEGIN changes nothing") {
        context one;
        one.change().settings = settings("before");
        one.begin(settings("worn"));
        one.change().settings = settings("within");
        one.begin(settings("other"));
        CHECK(one.roll_back()->at("work_mem") == "worn");
        CHECK(one.now().settings->at("work_mem") == "before");
    }
}

}  // namespace
}  // namespace postern::session
