#include "auth/saslprep.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stringprep.h>

namespace postern::auth {
namespace {

struct freed_by_c {
    void operator()(char* text) const noexcept { std::free(text); }
};

bool is_ascii(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::string prepare_password(std::string_view password) {
    std::string given(password);
    // The library reads up to a zero byte, which no password of PostgreSQL's can hold.
    if (is_ascii(given) || given.find('\0') != std::string::npos) return given;

    char* prepared_raw = nullptr;
    const int error =
        stringprep_profile(given.c_str(), &prepared_raw, "SASLprep", STRINGPREP_NO_UNASSIGNED);
    const std::unique_ptr<char, freed_by_c> prepared(
        error == STRINGPREP_OK ? prepared_raw : nullptr);
    if (prepared == nullptr || *prepared == '\0') return given;
    return {prepared.get()};
}

}  // namespace postern::auth
