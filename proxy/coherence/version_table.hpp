// The heart of coherence for a lone instance: a version and a fence count per tag, DESIGN §5.
//
// A tag hashes into a fixed table; a collision costs a needless miss, never a stale hit.
// "Everything" is a tag of its own that every entry depends on.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace postern::coherence {

/// What a write can touch and an entry can depend on, already hashed.
using tag = std::uint64_t;

/// The tag of a whole table. `database` is any number that is unique to the database in this
/// process.
tag table_tag(std::uint32_t database, std::uint32_t table) noexcept;

/// What an answer depends on, and which version of each it was read at.
struct dependencies {
    struct one {
        std::uint32_t slot;
        std::uint64_t version;
        friend bool operator==(const one&, const one&) = default;
    };
    std::vector<one> tags;  ///< sorted by slot, unique
    std::uint64_t everything = 0;
    friend bool operator==(const dependencies&, const dependencies&) = default;
};

class version_table;

/// "A write on these tags is in flight", from before it is sent until its outcome is known.
///
/// Move-only. Destroyed unresolved it counts as committed: bumps, then lifts.
class fence {
public:
    fence() = default;
    fence(fence&& other) noexcept;
    fence& operator=(fence&& other) noexcept;
    fence(const fence&) = delete;
    fence& operator=(const fence&) = delete;
    ~fence();

    bool raised() const noexcept { return table_ != nullptr; }

    /// The write is committed, or may be: bump every tag, then lift. Idempotent.
    void commit() noexcept;

    /// Nothing was written: lift without bumping. Idempotent.
    void roll_back() noexcept;

private:
    friend class version_table;
    void lift() noexcept;

    version_table* table_ = nullptr;
    std::vector<std::uint32_t> slots_;
    bool everything_ = false;
};

/// Thread safety: everything is lock-free and may be called from any thread. The table outlives all
/// fences and is never resized.
class version_table {
public:
    static constexpr std::size_t slot_count = std::size_t{1} << 16;

    version_table();

    /// Captures the versions of `tags` as they are *before* a read is sent.
    /// False: a fence stands on one of them, or on everything; the read must go past the cache.
    [[nodiscard]] bool capture(std::span<const tag> tags, dependencies& into) const;

    /// No fence, and every version still the captured one.
    [[nodiscard]] bool current(const dependencies& captured) const noexcept;

    /// Whether a fence stands on any of `captured`'s tags or on everything (then current() is false
    /// for that reason, not for a moved version).
    [[nodiscard]] bool fenced(const dependencies& captured) const noexcept;

    [[nodiscard]] fence raise(std::span<const tag> tags);
    [[nodiscard]] fence raise_everything();

    /// Bumps without a fence: for feeds, the catalog's changes, FLUSH.
    void bump(std::span<const tag> tags) noexcept;
    void bump_everything() noexcept;

    /// Fences standing now; for SHOW CACHE.
    std::uint64_t fences_standing() const noexcept;

private:
    friend class fence;
    struct cell {
        std::atomic<std::uint64_t> version{1};
        std::atomic<std::uint32_t> fences{0};
    };

    /// Fence count first, version second, always (version_table.cpp says why). False: fenced.
    static bool capture_cell(const cell& from, std::uint64_t& version) noexcept;
    static void bump(cell& one) noexcept;
    void stand(fence& raised) noexcept;

    static constexpr std::size_t cache_line_size = 64;

    std::unique_ptr<cell[]> cells_;
    // Every look-up reads this one; nothing that each write changes may share its cache line.
    alignas(cache_line_size) cell everything_;
    alignas(cache_line_size) std::atomic<std::uint64_t> standing_{0};
};

}  // namespace postern::coherence
