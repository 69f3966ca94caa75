// Input: one byte that chooses the material asked for, then the bytes of a Redis value. Whatever a
// lying Redis answers, the decoder must neither crash nor exceed its bounds; and what it believes
// must be for the material asked for and must survive being written and read again.

#include "base/assert.hpp"
#include "cache/redis_value.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

using namespace postern;
using namespace postern::cache;

namespace {

constexpr value_limits limits{.compress_above_bytes = 64, .body_bytes_max = 4096};

void check_decoded(std::string_view value, std::string_view material) {
    const auto got = decode_value(value, material, 0, limits);
    if (got == nullptr) return;
    POSTERN_ASSERT(got->material == material);
    POSTERN_ASSERT(got->rows.size() <= limits.body_bytes_max);
    const auto again = decode_value(encode_value(*got, limits), material, 0, limits);
    POSTERN_ASSERT(again != nullptr);
    POSTERN_ASSERT(again->rows == got->rows && again->depends_on == got->depends_on);
}

/// The checksum keeps random bytes out of the body's decoder: here they get one that is right.
void check_sealed(std::string_view body, std::string_view material) {
    std::string value{"PSTN\x01\0\0\0", 8};
    const auto little = [&](std::uint64_t number, int bytes) {
        for (int i = 0; i < bytes; ++i)
            value += static_cast<char>(number >> (8 * i) & 0xff);
    };
    little(body.size(), 4);
    little(hash_bytes(body).low, 8);
    check_decoded(value.append(body), material);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string material(data[0] % 4, 'm');
    const std::string_view bytes{reinterpret_cast<const char*>(data + 1), size - 1};
    check_decoded(bytes, material);
    check_sealed(bytes, material);
    return 0;
}
