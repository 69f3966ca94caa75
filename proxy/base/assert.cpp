#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace postern::detail {

void assertion_failed(const char* condition, const char* file, int line) noexcept {
    std::fprintf(stderr, "postern: defect: %s does not hold (%s:%d)\n", condition, file, line);
    std::abort();
}

}  // namespace postern::detail
