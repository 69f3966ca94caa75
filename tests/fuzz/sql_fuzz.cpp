// Any text at all: the facts that an analyzer remembers by shape are those of a fresh parse, and
// nothing a text can hold stops the process.

#include "../unit/sql/describe.hpp"
#include "sql/analyzer.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace postern::sql;
    // Shared between inputs, so that later ones meet the shapes of earlier ones; small, so that
    // both memories turn over.
    static analyzer shared({.text_bytes_max = 64 << 10, .shape_count_max = 256});
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const analysis_ptr found = shared.analyze(text);
    if (describe(*found->facts) != describe(parse_facts(text))) std::abort();
    analyzer fresh;
    const analysis_ptr alone = fresh.analyze(text);
    if (alone->has_time_constant != found->has_time_constant) std::abort();
    if (alone->hint_bypass != found->hint_bypass) std::abort();
    return 0;
}
