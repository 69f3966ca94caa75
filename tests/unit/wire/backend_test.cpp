// What servers send: written, framed, read back equal; and every way a body can be wrong.

#include "wire/backend.hpp"

#include "wire/strictness.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::wire {
namespace {

using namespace std::string_view_literals;

bytes_view body(const std::string& bytes, char tag) {
    return body_of(bytes, direction::from_server, tag);
}

}  // namespace

TEST_SUITE("wire/backend") {
    TEST_CASE("Authentication messages are read back, and those of fixed size are held to it") {
        authentication_message into;
        std::string bytes;
        write_authentication(bytes, authentication::ok);
        CHECK(body(bytes, 'R') == "\0\0\0\0"sv);
        check_strictly_read(body(bytes, 'R'), [&](bytes_view part) {
            return read_authentication(part, into);
        });

        bytes.clear();
        write_authentication(bytes, authentication::md5_password, "salt");
        check_strictly_read(body(bytes, 'R'), [&](bytes_view part) {
            return read_authentication(part, into);
        });
        REQUIRE(read_authentication(body(bytes, 'R'), into) == errc::ok);
        CHECK(into.code == 5);
        CHECK(into.data == "salt");

        bytes.clear();
        write_authentication(bytes, authentication::sasl_continue, "r=abc");
        REQUIRE(read_authentication(body(bytes, 'R'), into) == errc::ok);
        CHECK(into.code == 11);
        CHECK(into.data == "r=abc");

        // A method that we don't speak is read, so that it can be named.
        REQUIRE(read_authentication("\0\0\0\7"sv, into) == errc::ok);
        CHECK(into.code == 7);
        CHECK(read_authentication("\0\0\0\3x"sv, into) == errc::trailing_bytes);
        CHECK(read_authentication("\0\0"sv, into) == errc::truncated);
    }

    TEST_CASE("SASL mechanisms are read back") {
        const std::vector<std::string_view> mechanisms = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"};
        std::string bytes;
        write_sasl_mechanisms(bytes, mechanisms);
        authentication_message message;
        REQUIRE(read_authentication(body(bytes, 'R'), message) == errc::ok);
        CHECK(message.code == 10);
        std::vector<std::string_view> into = {"left over"};
        check_strictly_read(message.data, [&](bytes_view part) {
            return read_sasl_mechanisms(part, into);
        });
        REQUIRE(read_sasl_mechanisms(message.data, into) == errc::ok);
        CHECK(into == mechanisms);
        CHECK(read_sasl_mechanisms("A\0"sv, into) == errc::missing_terminator);
        REQUIRE(read_sasl_mechanisms("\0"sv, into) == errc::ok);
        CHECK(into.empty());
    }

    TEST_CASE("ReadyForQuery knows three states") {
        for (const auto status :
             {transaction_status::idle,
              transaction_status::in_transaction,
              transaction_status::failed}) {
            std::string bytes;
            write_ready_for_query(bytes, status);
            auto into = transaction_status::idle;
            check_strictly_read(body(bytes, 'Z'), [&](bytes_view part) {
                return read_ready_for_query(part, into);
            });
            REQUIRE(read_ready_for_query(body(bytes, 'Z'), into) == errc::ok);
            CHECK(into == status);
        }
        auto into = transaction_status::failed;
        CHECK(read_ready_for_query("X"sv, into) == errc::bad_value);
        CHECK(into == transaction_status::failed);
    }

    TEST_CASE("ParameterStatus is read back") {
        std::string bytes;
        write_parameter_status(bytes, "TimeZone", "Etc/UTC");
        std::string_view name;
        std::string_view value;
        check_strictly_read(body(bytes, 'S'), [&](bytes_view part) {
            return read_parameter_status(part, name, value);
        });
        REQUIRE(read_parameter_status(body(bytes, 'S'), name, value) == errc::ok);
        CHECK(name == "TimeZone");
        CHECK(value == "Etc/UTC");
    }

    TEST_CASE("BackendKeyData has a secret of 4 to 256 bytes") {
        std::int32_t pid = 0;
        std::string_view secret;
        for (const std::size_t size : {4U, 32U, 256U}) {
            std::string bytes;
            const std::string given(size, '\xee');
            write_backend_key_data(bytes, -4711, given);
            REQUIRE(read_backend_key_data(body(bytes, 'K'), pid, secret) == errc::ok);
            CHECK(pid == -4711);
            CHECK(secret == given);
        }
        CHECK(read_backend_key_data("\0\0\0\1abc"sv, pid, secret) == errc::truncated);
        CHECK(read_backend_key_data("\0\0"sv, pid, secret) == errc::truncated);
        const std::string long_secret(4 + 257, 'x');
        CHECK(read_backend_key_data(long_secret, pid, secret) == errc::length_too_large);
    }

    TEST_CASE("CommandComplete is read back") {
        std::string bytes;
        write_command_complete(bytes, "INSERT 0 1");
        std::string_view tag;
        check_strictly_read(body(bytes, 'C'), [&](bytes_view part) {
            return read_command_complete(part, tag);
        });
        REQUIRE(read_command_complete(body(bytes, 'C'), tag) == errc::ok);
        CHECK(tag == "INSERT 0 1");
    }

    TEST_CASE("NegotiateProtocolVersion is read back") {
        const std::vector<std::string_view> options = {"_pq_.one", "_pq_.two"};
        std::string bytes;
        write_negotiate_protocol_version(bytes, std::uint32_t{2}, options);
        std::uint32_t version = 0;
        std::vector<std::string_view> into = {"left over"};
        check_strictly_read(body(bytes, 'v'), [&](bytes_view part) {
            return read_negotiate_protocol_version(part, version, into);
        });
        REQUIRE(read_negotiate_protocol_version(body(bytes, 'v'), version, into) == errc::ok);
        CHECK(version == 2);
        CHECK(into == options);
        CHECK(
            read_negotiate_protocol_version("\0\0\0\0\xff\xff\xff\xff"sv, version, into) ==
            errc::bad_count);
        CHECK(
            read_negotiate_protocol_version("\0\0\0\0\0\0\0\2a\0"sv, version, into) ==
            errc::missing_terminator);
    }

    TEST_CASE("ErrorResponse is read back with all its fields") {
        std::string bytes;
        write_error(bytes, "ERROR", "42501", "denied", "because", "ask");
        error_fields into;
        check_strictly_read(body(bytes, 'E'), [&](bytes_view part) {
            return read_error(part, into);
        });
        REQUIRE(read_error(body(bytes, 'E'), into) == errc::ok);
        CHECK(into.severity == "ERROR");
        CHECK(into.code == "42501");
        CHECK(into.message == "denied");
        CHECK(into.detail == "because");
        CHECK(into.hint == "ask");
        CHECK(into.all.size() == 6);
        CHECK(into.all.front() == std::pair('S', "ERROR"sv));

        bytes.clear();
        write_notice(bytes, "NOTICE", "00000", "hello");
        REQUIRE(read_error(body(bytes, 'N'), into) == errc::ok);
        CHECK(into.message == "hello");
        CHECK(into.detail.empty());
        CHECK(into.all.size() == 4);
    }

    TEST_CASE("the severity is the unlocalised one wherever there is one") {
        error_fields into;
        REQUIRE(read_error("SFEHLER\0VERROR\0\0"sv, into) == errc::ok);
        CHECK(into.severity == "ERROR");
        REQUIRE(read_error("VERROR\0SFEHLER\0\0"sv, into) == errc::ok);
        CHECK(into.severity == "ERROR");
        REQUIRE(read_error("SFEHLER\0\0"sv, into) == errc::ok);
        CHECK(into.severity == "FEHLER");
        CHECK(into.code.empty());
        // A field of a version to come is kept, not understood.
        REQUIRE(read_error("?new\0\0"sv, into) == errc::ok);
        CHECK(into.all.front() == std::pair('?', "new"sv));
    }

    TEST_CASE("a zero byte in an error's text can't forge a field") {
        std::string bytes;
        write_error(bytes, "ERROR", "42501", "denied\0C00000"sv);
        error_fields into;
        REQUIRE(read_error(body(bytes, 'E'), into) == errc::ok);
        CHECK(into.code == "42501");
        CHECK(into.message == "denied");
    }

    TEST_CASE("RowDescription is read back") {
        const field_description fields[] = {
            {"id", 16384, 1, 23, 4, -1, 0},
            {"", 0, 0, 1043, -1, 259, 1}};
        std::string bytes;
        write_row_description(bytes, fields);
        std::vector<field_description> into(5);
        check_strictly_read(body(bytes, 'T'), [&](bytes_view part) {
            return read_row_description(part, into);
        });
        REQUIRE(read_row_description(body(bytes, 'T'), into) == errc::ok);
        REQUIRE(into.size() == 2);
        for (std::size_t i = 0; i < 2; ++i) {
            CHECK(into[i].name == fields[i].name);
            CHECK(into[i].table == fields[i].table);
            CHECK(into[i].column == fields[i].column);
            CHECK(into[i].type == fields[i].type);
            CHECK(into[i].type_size == fields[i].type_size);
            CHECK(into[i].type_modifier == fields[i].type_modifier);
            CHECK(into[i].format == fields[i].format);
        }
        into = {};
        CHECK(read_row_description("\xff\xff"sv, into) == errc::truncated);
        CHECK(into.capacity() < 100);
    }

    TEST_CASE("ParameterDescription is read back") {
        const std::vector<std::uint32_t> types = {23, 4294967295};
        std::string bytes;
        write_parameter_description(bytes, types);
        std::vector<std::uint32_t> into;
        check_strictly_read(body(bytes, 't'), [&](bytes_view part) {
            return read_parameter_description(part, into);
        });
        REQUIRE(read_parameter_description(body(bytes, 't'), into) == errc::ok);
        CHECK(into == types);
    }

    TEST_CASE("DataRow is read back") {
        const std::vector<std::optional<std::string_view>> values = {"1"sv, std::nullopt, ""sv};
        std::string bytes;
        write_data_row(bytes, values);
        std::vector<std::optional<std::string_view>> into;
        check_strictly_read(body(bytes, 'D'), [&](bytes_view part) {
            return read_data_row(part, into);
        });
        REQUIRE(read_data_row(body(bytes, 'D'), into) == errc::ok);
        CHECK(into == values);
        CHECK(read_data_row("\0\1\xff\xff\xff\xfe"sv, into) == errc::bad_value);
    }

    TEST_CASE("NotificationResponse is read back") {
        std::string bytes;
        write_notification(bytes, {4711, "channel", "payload"});
        notification_message into;
        check_strictly_read(body(bytes, 'A'), [&](bytes_view part) {
            return read_notification(part, into);
        });
        REQUIRE(read_notification(body(bytes, 'A'), into) == errc::ok);
        CHECK(into.pid == 4711);
        CHECK(into.channel == "channel");
        CHECK(into.payload == "payload");
    }

    TEST_CASE("the three copy responses are read back") {
        for (const char tag : {'G', 'H', 'W'}) {
            std::string bytes;
            write_copy_response(bytes, tag, {1, {1, 0, 1}});
            copy_response into;
            check_strictly_read(body(bytes, tag), [&](bytes_view part) {
                return read_copy_response(part, into);
            });
            REQUIRE(read_copy_response(body(bytes, tag), into) == errc::ok);
            CHECK(into.format == 1);
            CHECK(into.column_formats == std::vector<std::int16_t>{1, 0, 1});
        }
        copy_response into;
        CHECK(read_copy_response("\2\0\0"sv, into) == errc::bad_value);
    }

    TEST_CASE("FunctionCallResponse is read back") {
        std::optional<std::string_view> into;
        std::string bytes;
        write_function_call_response(bytes, "42");
        check_strictly_read(body(bytes, 'V'), [&](bytes_view part) {
            return read_function_call_response(part, into);
        });
        REQUIRE(read_function_call_response(body(bytes, 'V'), into) == errc::ok);
        CHECK(into == "42");
        bytes.clear();
        write_function_call_response(bytes, std::nullopt);
        REQUIRE(read_function_call_response(body(bytes, 'V'), into) == errc::ok);
        CHECK_FALSE(into.has_value());
    }

    TEST_CASE("messages without a body are a header") {
        std::string bytes;
        write_parse_complete(bytes);
        write_bind_complete(bytes);
        write_close_complete(bytes);
        write_no_data(bytes);
        write_portal_suspended(bytes);
        write_empty_query_response(bytes);
        CHECK(bytes == "1\0\0\0\0042\0\0\0\0043\0\0\0\4n\0\0\0\4s\0\0\0\4I\0\0\0\4"sv);
    }
}

}  // namespace postern::wire
