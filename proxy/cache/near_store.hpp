// Entries in this process: bounded in bytes, sharded, scan-resistant (S3-FIFO).

#pragma once

#include "cache/entry.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace postern::cache {

/// Thread safety: all members may be called from any thread; a shard's lock is held for a look-up
/// or an insertion, never across I/O or a free of many entries.
class near_store {
public:
    struct settings {
        std::size_t bytes_max = std::size_t{256} << 20;
        std::size_t shards = 16;  ///< a power of two
    };

    explicit near_store(settings bounds);
    ~near_store();

    /// The entry whose material equals the key's, or null. Expired entries are not found (and
    /// dropped). Does *not* check versions: the caller does (version_table::current) and may call
    /// erase().
    entry_ptr find(const key_view& key, monotonic_ns now);

    /// Keeps `fresh`, in place of an entry with the same material. An entry larger than a shard's
    /// share is not kept.
    void put(entry_ptr fresh);

    /// Drops the entry if it is still this very one.
    void erase(const entry_ptr& stale);

    void clear();

    struct numbers {
        std::uint64_t entries = 0;
        std::uint64_t bytes = 0;
        std::uint64_t bytes_max = 0;
        std::uint64_t evictions = 0;
    };
    numbers statistics() const;

private:
    struct shard;
    std::vector<std::unique_ptr<shard>> shards_;
};

}  // namespace postern::cache
