// Any file of a migrations folder: each statement stands in the text on the line that is said, and
// by itself it is one statement again, so that none is cut in two and no two are run as one.

#include "migrate/script.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace {

using postern::migrate::parse_script;
using postern::migrate::statement;

bool stands_on_its_line(const statement& one, std::string_view text) {
    unsigned line = 1;
    std::size_t counted = 0;
    for (auto at = text.find(one.text); at != std::string_view::npos;
         at = text.find(one.text, at + 1)) {
        line += static_cast<unsigned>(std::count(text.begin() + counted, text.begin() + at, '\n'));
        counted = at;
        if (line == one.line) return true;
    }
    return false;
}

bool is_one_by_itself(const statement& one) {
    const auto again = parse_script("again", "\n" + one.text);  // a byte order mark is none there
    if (again.has_error()) return true;  // what a file as a whole may hold, and why, is for tests
    const auto& all = again.value().statements;
    return all.size() == 1 && all.front().text == one.text && all.front().line == 2;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto read = parse_script("fuzz.sql", text);
    if (read.has_error()) return 0;
    for (const auto& one : read.value().statements) {
        if (one.text.empty() || summary(one).empty()) std::abort();
        if (!stands_on_its_line(one, text) || !is_one_by_itself(one)) std::abort();
    }
    return 0;
}
