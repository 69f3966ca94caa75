// The packets that open a connection: what is told apart, what is refused, and how early.

#include "wire/frontend.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::wire {
namespace {

using namespace std::string_view_literals;
using parameters = std::vector<std::pair<std::string_view, std::string_view>>;

// A packet with the right length around `body`.
std::string packet(std::string_view body) {
    const std::size_t length = body.size() + 4;
    std::string bytes{'\0', '\0', static_cast<char>(length >> 8), static_cast<char>(length & 0xff)};
    return bytes.append(body);
}

errc refusal(std::string_view bytes) {
    const startup_result found = peek_startup(bytes);
    CHECK(found.state == frame_state::malformed);
    return found.error;
}

void check_incomplete_until_the_end(const std::string& bytes) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        CAPTURE(size);
        const auto found = peek_startup(std::string_view(bytes).substr(0, size));
        CHECK(found.state == frame_state::incomplete);
    }
    CHECK(peek_startup(bytes).state == frame_state::complete);
    CHECK(peek_startup(bytes).packet.size == bytes.size());
    CHECK(peek_startup(bytes + "more").packet.size == bytes.size());
}

}  // namespace

TEST_SUITE("wire/startup") {
    TEST_CASE("a StartupMessage gives its version and parameters in order") {
        const parameters given = {{"user", "alice"}, {"database", ""}, {"options", "-c a=b"}};
        std::string bytes;
        write_startup(bytes, given);
        check_incomplete_until_the_end(bytes);
        const auto found = peek_startup(bytes);
        CHECK(found.packet.kind == startup_kind::startup);
        CHECK(found.packet.version == protocol_3_0);
        CHECK(found.packet.parameters == given);
    }

    TEST_CASE("any minor version of 3 is read, and what it is left to the session") {
        for (const std::uint32_t version :
             {protocol_3_0, protocol_3_0 + 2, protocol_3_0 + 0xffff}) {
            std::string bytes;
            write_startup(bytes, {}, version);
            const auto found = peek_startup(bytes);
            CHECK(found.state == frame_state::complete);
            CHECK(found.packet.version == version);
            CHECK(found.packet.parameters.empty());
        }
    }

    TEST_CASE("another major version is refused by its number") {
        for (const std::uint32_t version : {2U << 16, 4U << 16, 0U, 1234U << 16 | 5681}) {
            std::string bytes;
            write_startup(bytes, {}, version);
            CHECK(refusal(bytes) == errc::unsupported_version);
            CHECK(peek_startup(bytes).packet.version == version);
        }
    }

    TEST_CASE("requests for encryption are told apart") {
        std::string bytes;
        write_ssl_request(bytes);
        check_incomplete_until_the_end(bytes);
        CHECK(peek_startup(bytes).packet.kind == startup_kind::ssl_request);
        const std::string gssenc = packet("\x04\xd2\x16\x30"sv);
        check_incomplete_until_the_end(gssenc);
        CHECK(peek_startup(gssenc).packet.kind == startup_kind::gssenc_request);
        CHECK(refusal(packet("\x04\xd2\x16\x2f."sv)) == errc::trailing_bytes);
        CHECK(refusal(packet("\x04\xd2\x16\x30."sv)) == errc::trailing_bytes);
    }

    TEST_CASE("a CancelRequest gives its process and a secret of 4 to 256 bytes") {
        for (const std::size_t size : {4U, 32U, 256U}) {
            const std::string secret(size, '\x80');
            std::string bytes;
            write_cancel_request(bytes, -5, secret);
            check_incomplete_until_the_end(bytes);
            const auto found = peek_startup(bytes);
            CHECK(found.packet.kind == startup_kind::cancel_request);
            CHECK(found.packet.cancel_pid == -5);
            CHECK(found.packet.cancel_secret == secret);
        }
        std::string bytes;
        write_cancel_request(bytes, 1, "abc");
        CHECK(refusal(bytes) == errc::truncated);
        CHECK(refusal(packet("\x04\xd2\x16\x2e\0\0"sv)) == errc::truncated);
        bytes.clear();
        write_cancel_request(bytes, 1, std::string(257, 'x'));
        CHECK(refusal(bytes) == errc::length_too_large);
    }

    TEST_CASE("an impossible length is refused by its four bytes alone") {
        CHECK(refusal("\0\0\0\0"sv) == errc::length_too_small);
        CHECK(refusal("\0\0\0\7"sv) == errc::length_too_small);
        CHECK(peek_startup("\0\0\0\10"sv).state == frame_state::incomplete);
        CHECK(peek_startup("\0\0\x27\x10"sv).state == frame_state::incomplete);  // 10000
        CHECK(refusal("\0\0\x27\x11"sv) == errc::length_too_large);
        CHECK(refusal("\xff\xff\xff\xff"sv) == errc::length_too_large);
        CHECK(refusal("GET / HTTP/1.1\r\n"sv) == errc::length_too_large);
        CHECK(refusal("\x16\x03\x01\x02\0\x01"sv) == errc::length_too_large);  // a TLS ClientHello
    }

    TEST_CASE("the largest packet is read whole") {
        const std::string value(startup_size_max - 4 - 4 - 2 - 1 - 1, 'v');
        std::string bytes;
        write_startup(bytes, parameters{{"n", value}});
        REQUIRE(bytes.size() == startup_size_max);
        CHECK(peek_startup(bytes).packet.parameters == parameters{{"n", value}});
    }

    TEST_CASE("a parameter list without its end, or with more behind it, is refused") {
        CHECK(refusal(packet("\0\3\0\0"sv)) == errc::missing_terminator);
        CHECK(refusal(packet("\0\3\0\0user"sv)) == errc::missing_terminator);
        CHECK(refusal(packet("\0\3\0\0user\0"sv)) == errc::missing_terminator);
        CHECK(refusal(packet("\0\3\0\0user\0alice"sv)) == errc::missing_terminator);
        CHECK(refusal(packet("\0\3\0\0user\0alice\0"sv)) == errc::missing_terminator);
        CHECK(refusal(packet("\0\3\0\0user\0alice\0\0\0"sv)) == errc::trailing_bytes);
    }

    TEST_CASE("a value with a zero byte can't forge a parameter") {
        std::string bytes;
        write_startup(bytes, parameters{{"user", "alice\0user\0root"sv}});
        CHECK(peek_startup(bytes).packet.parameters == parameters{{"user", "alice"}});
    }
}

}  // namespace postern::wire
