// Assertions about our own code. They stay on in release: a proxy that has lost track of itself
// must stop before it hands one client another's bytes. Never assert about what a peer sent.

#pragma once

namespace postern::detail {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;
}  // namespace postern::detail

#define POSTERN_ASSERT(condition)       \
    ((condition) ? static_cast<void>(0) \
                 : ::postern::detail::assertion_failed(#condition, __FILE__, __LINE__))
