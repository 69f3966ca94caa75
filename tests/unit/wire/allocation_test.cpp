// The readers on the way of every statement must not allocate once they are warm. Goal: a bound on
// the cost of a hit. Method: this program counts its own allocations.

#include "wire/frame.hpp"
#include "wire/frontend.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace {
std::uint64_t allocations = 0;
}  // namespace

void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace postern::wire {

using namespace std::string_view_literals;

TEST_SUITE("wire/allocation") {
    TEST_CASE("framing and the readers of Parse, Bind and Execute do not allocate when warm") {
        const std::optional<std::string_view> values[] = {"7"sv, std::nullopt, "eight"sv};
        const std::uint32_t types[] = {23, 25, 25};
        std::string bytes;
        write_parse(bytes, "statement", "SELECT $1, $2, $3", types);
        write_bind_text(bytes, "portal", "statement", values);
        write_execute(bytes, "portal", 0);

        parse_message parse;
        bind_message bind;
        execute_message execute;
        int read = 0;
        const auto read_all = [&] {
            bytes_view rest = bytes;
            while (!rest.empty()) {
                const auto found = peek_message(rest, direction::from_client, 1 << 20);
                rest.remove_prefix(found.message.whole.size());
                const bytes_view body = found.message.body;
                switch (found.message.tag) {
                case 'P': read += read_parse(body, parse) == errc::ok; break;
                case 'B': read += read_bind(body, bind) == errc::ok; break;
                default: read += read_execute(body, execute) == errc::ok; break;
                }
            }
        };
        read_all();
        const std::uint64_t warm = allocations;
        CHECK(warm > 0);
        for (int i = 0; i < 100; ++i) {
            read_all();
        }
        const std::uint64_t after = allocations;
        CHECK(after == warm);
        CHECK(read == 303);
    }
}

}  // namespace postern::wire
