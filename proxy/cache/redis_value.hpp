// How an entry is written into a Redis value and read back. No I/O.
//
// All numbers little-endian. A value is a header and a body:
//
//   header   "PSTN"   magic
//            u8       format version, 1
//            u8       1: the body is LZ4-compressed, 0: it is not
//            u16      0
//            u32      size of the body, uncompressed
//            u64      XXH3 (low half of the 128 bits) of the uncompressed body
//   body     i64      expires_at, on the monotonic clock of the process that wrote it
//            u32      rule
//            u64      version of "everything"
//            u32 n    number of tags, then n times: u32 slot, u64 version; slots rising
//            u32 ×3   sizes of material, row_description, rows; then their bytes, and nothing more
//
// A process only ever reads what it wrote itself (the key's namespace is its own start token), so
// the format may change with any version; it is versioned all the same.

#pragma once

#include "cache/entry.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace postern::cache {

struct value_limits {
    std::size_t compress_above_bytes = 1024;
    /// Of the uncompressed body. Bounds what a lying value can make us allocate.
    std::size_t body_bytes_max = std::size_t{1} << 20;
};

/// The value for `kept`, or an empty string when it is larger than the limit allows.
std::string encode_value(const entry& kept, const value_limits& limits);

/// The entry that `value` holds, if it is one for exactly this material and not expired at `now`;
/// null for anything else. `value` may be any bytes at all. The messages within are checked for
/// their framing, so that not even a lying Redis can put a client out of step.
entry_ptr decode_value(
    std::string_view value,
    std::string_view material,
    monotonic_ns now,
    const value_limits& limits);

}  // namespace postern::cache
