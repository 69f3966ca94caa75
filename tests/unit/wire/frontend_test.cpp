// What clients send: written, framed, read back equal; and every way a body can be wrong.

#include "wire/frontend.hpp"

#include "wire/strictness.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::wire {
namespace {

using namespace std::string_view_literals;

bytes_view body(const std::string& bytes, char tag) {
    return body_of(bytes, direction::from_client, tag);
}

}  // namespace

TEST_SUITE("wire/frontend") {
    TEST_CASE("Query is read back") {
        std::string bytes;
        write_query(bytes, "SELECT 1");
        std::string_view text;
        check_strictly_read(body(bytes, 'Q'), [&](bytes_view part) {
            return read_query(part, text);
        });
        REQUIRE(read_query(body(bytes, 'Q'), text) == errc::ok);
        CHECK(text == "SELECT 1");
        CHECK(read_query("SELECT 1"sv, text) == errc::missing_terminator);
        CHECK(read_query(""sv, text) == errc::missing_terminator);
        CHECK(read_query("a\0b\0"sv, text) == errc::trailing_bytes);
    }

    TEST_CASE("Parse is read back") {
        const std::vector<std::uint32_t> types = {23, 0, 0xffffffff};
        std::string bytes;
        write_parse(bytes, "name", "SELECT $1", types);
        parse_message into;
        check_strictly_read(body(bytes, 'P'), [&](bytes_view part) {
            return read_parse(part, into);
        });
        REQUIRE(read_parse(body(bytes, 'P'), into) == errc::ok);
        CHECK(into.name == "name");
        CHECK(into.query == "SELECT $1");
        CHECK(into.parameter_types == types);
    }

    TEST_CASE("Parse with a count beyond its bytes is refused without making room for it") {
        parse_message into;
        CHECK(read_parse("s\0q\0\xff\xff\0\0\0\1"sv, into) == errc::truncated);
        CHECK(into.parameter_types.capacity() < 100);
    }

    TEST_CASE("Bind is read back, and its rest is what follows the names") {
        const std::optional<std::string_view> values[] = {"7"sv, std::nullopt, ""sv, "a\0b"sv};
        std::string bytes;
        write_bind_text(bytes, "portal", "statement", values);
        bind_message into;
        check_strictly_read(body(bytes, 'B'), [&](bytes_view part) {
            return read_bind(part, into);
        });
        REQUIRE(read_bind(body(bytes, 'B'), into) == errc::ok);
        CHECK(into.portal == "portal");
        CHECK(into.statement == "statement");
        CHECK(into.parameter_formats.empty());
        CHECK(into.result_formats.empty());
        CHECK(into.values == std::vector<std::optional<std::string_view>>(values, values + 4));

        std::string again;
        write_bind(again, into.portal, into.statement, into.rest);
        CHECK(again == bytes);
    }

    TEST_CASE("Bind keeps the formats that were given") {
        bind_message into;
        constexpr bytes_view one_for_all = "\0\0\0\1\0\1\0\2\0\0\0\1x\0\0\0\1y\0\2\0\0\0\1"sv;
        REQUIRE(read_bind(one_for_all, into) == errc::ok);
        CHECK(into.parameter_formats == std::vector<std::int16_t>{1});
        CHECK(into.values.size() == 2);
        CHECK(into.result_formats == std::vector<std::int16_t>{0, 1});
        CHECK(into.rest == one_for_all.substr(2));
        // Formats that PostgreSQL does not know are PostgreSQL's to refuse.
        REQUIRE(read_bind("\0\0\0\1\0\7\0\0\0\0"sv, into) == errc::ok);
        CHECK(into.parameter_formats == std::vector<std::int16_t>{7});
    }

    TEST_CASE("Bind with impossible counts or lengths is refused by its reason") {
        bind_message into;
        // Two formats for one value.
        CHECK(read_bind("\0\0\0\2\0\0\0\0\0\1\0\0\0\0\0\0"sv, into) == errc::bad_count);
        // A length of -2.
        CHECK(read_bind("\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"sv, into) == errc::bad_value);
        // A value longer than the message.
        CHECK(read_bind("\0\0\0\0\0\1\0\0\0\3ab"sv, into) == errc::truncated);
        CHECK(read_bind("\0\0\0\0\0\1\x7f\xff\xff\xff"sv, into) == errc::truncated);
        // More values than the message could hold.
        CHECK(read_bind("\0\0\0\0\xff\xff\0\0\0\0"sv, into) == errc::truncated);
        CHECK(into.values.capacity() < 100);
        CHECK(read_bind("no zero"sv, into) == errc::missing_terminator);
    }

    TEST_CASE("as many parameters as PostgreSQL allows are read") {
        const std::vector<std::optional<std::string_view>> values(65535, "v"sv);
        std::string bytes;
        write_bind_text(bytes, "", "", values);
        bind_message into;
        REQUIRE(read_bind(body(bytes, 'B'), into) == errc::ok);
        CHECK(into.values.size() == 65535);
    }

    TEST_CASE("a reader used again holds nothing of the message before") {
        const std::optional<std::string_view> many[] = {"1"sv, "2"sv, std::nullopt};
        std::string first;
        std::string second;
        write_bind_text(first, "p", "s", many);
        write_bind_text(second, "", "", std::span(many, 1));
        bind_message into;
        REQUIRE(read_bind(body(first, 'B'), into) == errc::ok);
        REQUIRE(read_bind(body(second, 'B'), into) == errc::ok);
        CHECK(into.portal.empty());
        CHECK(into.statement.empty());
        CHECK(into.values == std::vector<std::optional<std::string_view>>{"1"sv});
    }

    TEST_CASE("Describe and Close are read back and know two kinds of target") {
        target_message into;
        for (const char kind : {'S', 'P'}) {
            std::string described;
            std::string closed;
            write_describe(described, kind, "name");
            write_close(closed, kind, "name");
            CHECK(body(described, 'D') == body(closed, 'C'));
            check_strictly_read(body(closed, 'C'), [&](bytes_view part) {
                return read_target(part, into);
            });
            REQUIRE(read_target(body(closed, 'C'), into) == errc::ok);
            CHECK(into.kind == kind);
            CHECK(into.name == "name");
        }
        CHECK(read_target("Xname\0"sv, into) == errc::bad_value);
        CHECK(read_target(""sv, into) == errc::truncated);
        CHECK(read_target("S"sv, into) == errc::missing_terminator);
    }

    TEST_CASE("Execute is read back, and a negative limit means all, as with PostgreSQL") {
        std::string bytes;
        write_execute(bytes, "portal", 100);
        execute_message into;
        check_strictly_read(body(bytes, 'E'), [&](bytes_view part) {
            return read_execute(part, into);
        });
        REQUIRE(read_execute(body(bytes, 'E'), into) == errc::ok);
        CHECK(into.portal == "portal");
        CHECK(into.rows_max == 100);
        REQUIRE(read_execute("\0\xff\xff\xff\xff"sv, into) == errc::ok);
        CHECK(into.rows_max == 0);
        REQUIRE(read_execute("\0\x7f\xff\xff\xff"sv, into) == errc::ok);
        CHECK(into.rows_max == 0x7fffffff);
    }

    TEST_CASE("passwords and SASL messages share a tag and are read back") {
        std::string bytes;
        write_password(bytes, "secret");
        std::string_view password;
        check_strictly_read(body(bytes, 'p'), [&](bytes_view part) {
            return read_password(part, password);
        });
        REQUIRE(read_password(body(bytes, 'p'), password) == errc::ok);
        CHECK(password == "secret");

        bytes.clear();
        write_sasl_initial(bytes, "SCRAM-SHA-256", "n,,n=,r=abc");
        sasl_initial_message into;
        check_strictly_read(body(bytes, 'p'), [&](bytes_view part) {
            return read_sasl_initial(part, into);
        });
        REQUIRE(read_sasl_initial(body(bytes, 'p'), into) == errc::ok);
        CHECK(into.mechanism == "SCRAM-SHA-256");
        CHECK(into.response == "n,,n=,r=abc");
        REQUIRE(read_sasl_initial("M\0\xff\xff\xff\xff"sv, into) == errc::ok);
        CHECK_FALSE(into.response.has_value());
        CHECK(read_sasl_initial("M\0\xff\xff\xff\xfe"sv, into) == errc::bad_value);

        bytes.clear();
        write_sasl_response(bytes, "c=biws");
        CHECK(body(bytes, 'p') == "c=biws");
    }

    TEST_CASE("FunctionCall is read back") {
        const function_call_message call{1598, {0, 1}, {"7"sv, std::nullopt}, 1};
        std::string bytes;
        write_function_call(bytes, call);
        function_call_message into;
        check_strictly_read(body(bytes, 'F'), [&](bytes_view part) {
            return read_function_call(part, into);
        });
        REQUIRE(read_function_call(body(bytes, 'F'), into) == errc::ok);
        CHECK(into.function == call.function);
        CHECK(into.argument_formats == call.argument_formats);
        CHECK(into.arguments == call.arguments);
        CHECK(into.result_format == 1);
        CHECK(
            read_function_call("\0\0\0\1\0\2\0\0\0\0\0\1\0\0\0\0\0\0"sv, into) == errc::bad_count);
    }

    TEST_CASE("the messages of COPY are read back") {
        std::string bytes;
        write_copy_data(bytes, "1\t2\n\0"sv);
        CHECK(body(bytes, 'd') == "1\t2\n\0"sv);
        bytes.clear();
        write_copy_done(bytes);
        CHECK(body(bytes, 'c').empty());
        bytes.clear();
        write_copy_fail(bytes, "why");
        std::string_view message;
        check_strictly_read(body(bytes, 'f'), [&](bytes_view part) {
            return read_copy_fail(part, message);
        });
        REQUIRE(read_copy_fail(body(bytes, 'f'), message) == errc::ok);
        CHECK(message == "why");
    }

    TEST_CASE("messages without a body are a header") {
        std::string bytes;
        write_sync(bytes);
        write_flush(bytes);
        write_terminate(bytes);
        CHECK(bytes == "S\0\0\0\4H\0\0\0\4X\0\0\0\4"sv);
    }
}

}  // namespace postern::wire
