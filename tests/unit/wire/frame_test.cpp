// Framing: headers, limits, and conversations cut at every byte.

#include "wire/frame.hpp"

#include "wire/backend.hpp"
#include "wire/frontend.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::wire {
namespace {

using namespace std::string_view_literals;

constexpr std::uint32_t limit = 1 << 20;

std::string frame(char tag, std::uint32_t length, std::string_view body = {}) {
    std::string bytes(1, tag);
    for (int shift = 24; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<char>(length >> shift & 0xff));
    }
    return bytes.append(body);
}

struct framed {
    char tag;
    std::string body;
    friend bool operator==(const framed&, const framed&) = default;
};

// Takes all whole messages off the front of `buffer`.
void drain(std::string& buffer, direction from, std::vector<framed>& into) {
    for (;;) {
        const message_result found = peek_message(buffer, from, limit);
        REQUIRE(found.state != frame_state::malformed);
        if (found.state == frame_state::incomplete) return;
        REQUIRE(found.message.whole.substr(message_header::encoded_size) == found.message.body);
        into.push_back({found.message.tag, std::string(found.message.body)});
        buffer.erase(0, found.message.whole.size());
    }
}

// What a driver sends after its startup: a login, the simple protocol, a pipeline, COPY.
std::string client_conversation() {
    std::string out;
    const std::optional<std::string_view> values[] = {"7"sv, std::nullopt, ""sv};
    const std::uint32_t types[] = {23, 25, 25};
    write_sasl_initial(out, "SCRAM-SHA-256", "n,,n=,r=abc");
    write_sasl_response(out, "c=biws,r=abcdef,p=cHJvb2Y=");
    write_query(out, "BEGIN; SELECT 1");
    write_parse(out, "s1", "SELECT $1, $2, $3", types);
    write_describe(out, 'S', "s1");
    write_flush(out);
    write_bind_text(out, "", "s1", values);
    write_execute(out, "", 0);
    write_sync(out);
    write_close(out, 'S', "s1");
    write_sync(out);
    write_query(out, "COPY t FROM STDIN");
    write_copy_data(out, std::string(300, '\n'));
    write_copy_data(out, "");
    write_copy_done(out);
    write_copy_fail(out, "no more");
    write_terminate(out);
    return out;
}
constexpr std::string_view client_tags = "ppQPDHBESCSQddcfX";

// What the server answers, with what it says unasked.
std::string server_conversation() {
    std::string out;
    const std::string_view mechanisms[] = {"SCRAM-SHA-256"sv};
    const std::optional<std::string_view> values[] = {"7"sv, std::nullopt, ""sv};
    const std::uint32_t types[] = {23, 25, 25};
    const field_description fields[] = {{"id", 16384, 1, 23, 4, -1, 0}, {"t", 0, 0, 25, -1, 5, 1}};
    write_sasl_mechanisms(out, mechanisms);
    write_authentication(out, authentication::sasl_continue, "r=abcdef,s=c2FsdA==,i=4096");
    write_authentication(out, authentication::sasl_final, "v=c2ln");
    write_authentication(out, authentication::ok);
    write_parameter_status(out, "server_version", "15.4");
    write_backend_key_data(out, 4711, "\1\2\3\4");
    write_ready_for_query(out, transaction_status::idle);
    write_parse_complete(out);
    write_parameter_description(out, types);
    write_row_description(out, fields);
    write_bind_complete(out);
    write_data_row(out, values);
    write_portal_suspended(out);
    write_command_complete(out, "SELECT 1");
    write_notice(out, "WARNING", "25P01", "there is no transaction in progress");
    write_error(out, "ERROR", "42601", "syntax error", "near x", "look there");
    write_ready_for_query(out, transaction_status::failed);
    write_close_complete(out);
    write_no_data(out);
    write_empty_query_response(out);
    write_notification(out, {4711, "channel", "payload"});
    write_copy_response(out, 'G', {1, {1, 1}});
    write_function_call_response(out, "42");
    write_negotiate_protocol_version(out, 0, {});
    return out;
}
constexpr std::string_view server_tags = "RRRRSKZ1tT2DsCNEZ3nIAGVv";

void check_every_cut(const std::string& bytes, direction from, std::string_view tags) {
    std::vector<framed> whole;
    std::string buffer = bytes;
    drain(buffer, from, whole);
    REQUIRE(buffer.empty());
    std::string found_tags;
    for (const framed& each : whole) {
        found_tags.push_back(each.tag);
    }
    REQUIRE(found_tags == tags);

    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        std::vector<framed> parts;
        buffer = bytes.substr(0, cut);
        drain(buffer, from, parts);
        buffer.append(bytes, cut);
        drain(buffer, from, parts);
        CAPTURE(cut);
        REQUIRE(parts == whole);
    }

    std::vector<framed> byte_by_byte;
    buffer.clear();
    for (const char byte : bytes) {
        buffer.push_back(byte);
        drain(buffer, from, byte_by_byte);
    }
    CHECK(byte_by_byte == whole);
}

errc refusal(std::string_view bytes, direction from, std::uint32_t body_size_max = limit) {
    const header_result found = peek_header(bytes, from, body_size_max);
    const message_result whole = peek_message(bytes, from, body_size_max);
    CHECK(whole.error == found.error);
    CHECK((found.state == frame_state::malformed) == (found.error != errc::ok));
    return found.error;
}

}  // namespace

TEST_SUITE("wire/frame") {
    TEST_CASE("a client's conversation is framed alike wherever it is cut") {
        check_every_cut(client_conversation(), direction::from_client, client_tags);
    }

    TEST_CASE("a server's conversation is framed alike wherever it is cut") {
        check_every_cut(server_conversation(), direction::from_server, server_tags);
    }

    TEST_CASE("each direction knows its own tags and no other") {
        const auto known = [](direction from) {
            std::string tags;
            for (int tag = 0; tag < 256; ++tag) {
                const std::string bytes = frame(static_cast<char>(tag), 4);
                if (refusal(bytes, from) == errc::ok) tags.push_back(static_cast<char>(tag));
                // An unknown tag is refused before its length has arrived.
                CHECK(refusal(bytes.substr(0, 1), from) == refusal(bytes, from));
            }
            return tags;
        };
        CHECK(known(direction::from_client) == "BCDEFHPQSXcdfp");
        CHECK(known(direction::from_server) == "123ACDEGHIKNRSTVWZcdnstv");
    }

    TEST_CASE("a header is incomplete until its fifth byte, a message until its last") {
        const std::string bytes = frame('Q', 4 + 3, "hi\0"sv);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            CAPTURE(size);
            const bytes_view front = std::string_view(bytes).substr(0, size);
            const auto header = peek_header(front, direction::from_client, limit);
            CHECK((header.state == frame_state::complete) == (size >= 5));
            CHECK(
                peek_message(front, direction::from_client, limit).state ==
                frame_state::incomplete);
        }
        const auto header = peek_header(bytes, direction::from_client, limit);
        CHECK(header.header.tag == 'Q');
        CHECK(header.header.body_size == 3);
        CHECK(header.header.message_size() == bytes.size());
        const std::string followed = bytes + "next";
        const auto whole = peek_message(followed, direction::from_client, limit);
        CHECK(whole.state == frame_state::complete);
        CHECK(whole.message.tag == 'Q');
        CHECK(whole.message.body == "hi\0"sv);
        CHECK(whole.message.whole == bytes);
    }

    TEST_CASE("a length that does not count its own field is refused") {
        for (std::uint32_t length = 0; length < 4; ++length) {
            CHECK(refusal(frame('Q', length), direction::from_client) == errc::length_too_small);
            CHECK(refusal(frame('D', length), direction::from_server) == errc::length_too_small);
        }
    }

    TEST_CASE("the caller's limit is accepted, one byte more is not") {
        CHECK(refusal(frame('Q', 4 + 100), direction::from_client, 100) == errc::ok);
        CHECK(refusal(frame('Q', 4 + 101), direction::from_client, 100) == errc::length_too_large);
        CHECK(refusal(frame('D', 4 + 100), direction::from_server, 100) == errc::ok);
        CHECK(refusal(frame('D', 4 + 101), direction::from_server, 100) == errc::length_too_large);
        CHECK(
            refusal(frame('d', 0xffffffff), direction::from_client, 0x7fffffff) ==
            errc::length_too_large);
    }

    TEST_CASE("messages of names and counts are held to PostgreSQL's small limit") {
        for (const char tag : "CDEHSXcf"sv) {
            CAPTURE(tag);
            CHECK(refusal(frame(tag, 10000), direction::from_client) == errc::ok);
            CHECK(refusal(frame(tag, 10001), direction::from_client) == errc::length_too_large);
        }
        for (const char tag : "BFPQdp"sv) {
            CAPTURE(tag);
            CHECK(refusal(frame(tag, 10001), direction::from_client) == errc::ok);
        }
    }

    TEST_CASE("server messages without a body must have none") {
        for (const char tag : "123Icns"sv) {
            CAPTURE(tag);
            CHECK(refusal(frame(tag, 5), direction::from_server) == errc::length_too_large);
        }
        CHECK(refusal(frame('Z', 5), direction::from_server) == errc::ok);
        CHECK(refusal(frame('Z', 6), direction::from_server) == errc::length_too_large);
    }

    TEST_CASE("every error has a sentence of its own") {
        std::vector<std::string_view> sentences;
        for (int error = 0; error <= static_cast<int>(errc::unsupported_version); ++error) {
            const std::string_view sentence = describe(static_cast<errc>(error));
            CHECK(sentence != "unknown error");
            for (const std::string_view other : sentences) {
                CHECK(sentence != other);
            }
            sentences.push_back(sentence);
        }
    }
}

}  // namespace postern::wire
