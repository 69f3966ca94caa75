// Which texts are commands of the replication protocol, and what a connection's streams say.

#include "session/replication.hpp"

#include "wire/backend.hpp"
#include "wire/frontend.hpp"

#include <doctest/doctest.h>

#include <string>

namespace postern::session {
namespace {

std::string query(std::string_view text) {
    std::string out;
    wire::write_query(out, text);
    return out;
}

std::string ready() {
    std::string out;
    wire::write_ready_for_query(out, wire::transaction_status::idle);
    return out;
}

/// A message without a body.
std::string bare(char tag) {
    return std::string{tag} + std::string{"\0\0\0\4", 4};
}

TEST_SUITE("session/replication") {
    TEST_CASE("the startup parameter is read as PostgreSQL reads it") {
        using enum replication_mode;
        const std::pair<const char*, std::optional<replication_mode>> cases[] = {
            {"database", logical},
            {"DATABASE", std::nullopt},
            {"true", physical},
            {"T", physical},
            {"yes", physical},
            {"on", physical},
            {"1", physical},
            {"false", none},
            {"f", none},
            {"No", none},
            {"of", none},
            {"0", none},
            {"o", std::nullopt},
            {"", std::nullopt},
            {"truely", std::nullopt},
            {"2", std::nullopt},
        };
        for (const auto& [value, expected] : cases) {
            const std::string_view shown{value};
            CAPTURE(shown);
            CHECK((parse_replication(value) == expected));
        }
    }

    TEST_CASE("only what is no SQL in any version is a command") {
        for (const auto* text :
             {"IDENTIFY_SYSTEM",
              " identify_system;",
              "\n\tBASE_BACKUP (LABEL 'x')",
              "BASE_BACKUP(LABEL 'x')",
              "START_REPLICATION SLOT s LOGICAL 0/0 (\"a\" 'b;c')",
              "SHOW wal_segment_size"}) {
            CAPTURE(text);
            CHECK(is_replication_command(text, true));
        }
        for (const auto* text :
             {"",
              "select 1",
              "SHOW a; insert into t values (1)",
              "/* */ IDENTIFY_SYSTEM",
              "IDENTIFY_SYSTEMS",
              "identify_system$",
              "identify_system2",
              "\"identify_system\"",
              "identify"}) {
            CAPTURE(text);
            CHECK_FALSE(is_replication_command(text, true));
        }
        CHECK(is_replication_command("IDENTIFY_SYSTEM ", false));
        CHECK_FALSE(is_replication_command("IDENTIFY_SYSTEM", false));
        CHECK_FALSE(is_replication_command("SHOW x", false));
    }

    TEST_CASE("SQL may write until it is answered, a command never does") {
        replication_stream one;
        const auto command = query("IDENTIFY_SYSTEM");
        CHECK(one.from_client(command) == command.size());
        CHECK(one.is_asked());
        CHECK_FALSE(one.may_write());
        const auto sql = query("insert into t values (1)");
        CHECK(one.from_client(sql) == sql.size());
        CHECK(one.may_write());
        CHECK(one.from_server(ready()) == 6);
        CHECK(one.may_write());
        CHECK(one.from_server(ready()) == 6);
        CHECK_FALSE(one.may_write());
        CHECK_FALSE(one.is_asked());
    }

    TEST_CASE("what PostgreSQL refuses on such a connection is not taken for harmless") {
        replication_stream one;
        (void)one.from_client(bare('E'));
        CHECK(one.may_write());
        (void)one.from_server(ready());
        CHECK(one.may_write());
        (void)one.from_client(bare('S'));
        (void)one.from_server(ready());
        CHECK_FALSE(one.may_write());
    }

    TEST_CASE("pieces say what the whole says, wherever it is cut") {
        const auto asked = query("IDENTIFY_SYSTEM") + query(std::string(300, ' ') + "select 1") +
                           bare('c') + query("SHOW x");
        for (std::size_t cut = 0; cut <= asked.size(); ++cut) {
            CAPTURE(cut);
            replication_stream one;
            auto used = one.from_client(std::string_view{asked}.substr(0, cut));
            CHECK(used <= cut);
            CHECK(cut - used < 100);
            used += one.from_client(std::string_view{asked}.substr(used));
            CHECK(used == asked.size());
            CHECK(one.may_write());
            (void)one.from_server(ready());
            CHECK(one.may_write());
            (void)one.from_server(ready());
            CHECK_FALSE(one.may_write());
            CHECK(one.is_asked());
        }
    }

    TEST_CASE("a stream of both sides has begun and ended where the server says so") {
        replication_stream one;
        std::string both;
        wire::write_copy_response(both, 'W', {});
        (void)one.from_client(query("START_REPLICATION 0/0"));
        (void)one.from_server(std::string_view{both}.substr(0, 6));
        CHECK(one.is_streaming());
        CHECK(one.rest_to_client() == both.size() - 6);
        (void)one.from_server(std::string_view{both}.substr(6));
        CHECK(one.rest_to_client() == 0);
        std::string done;
        wire::write_command_complete(done, "START_STREAMING");
        (void)one.from_server(done);
        CHECK_FALSE(one.is_streaming());
        CHECK(one.is_asked());
    }

    TEST_CASE("a goodbye is passed on and nothing behind it; what is no message is not") {
        replication_stream one;
        const auto goodbye = bare('X') + query("select 1");
        CHECK(one.from_client(goodbye) == 5);
        CHECK(one.has_ended());
        replication_stream other;
        CHECK(other.from_client("\x01\0\0\0\4") == 0);
        CHECK(other.is_broken());
    }
}

}  // namespace
}  // namespace postern::session
