// A bounded table from texts to what is known about them. A hash finds, the whole text confirms;
// what was not asked for since the hand last came by is dropped first (second chance). Inside this
// room.

#pragma once

#include "base/hash.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstddef>
#include <list>
#include <string>
#include <string_view>
#include <utility>

namespace postern::sql {

/// What a bookkeeping entry costs beside its text, roughly.
inline constexpr std::size_t text_table_overhead_bytes = 160;

template <class Value>
class text_table {
public:
    struct limits {
        std::size_t bytes_max;
        std::size_t count_max;
    };

    explicit text_table(limits bounds)
        : bounds_(bounds) {}

    /// Null when `text` is not there. Valid until the next insert().
    Value* find(const hash128& hash, std::string_view text) noexcept {
        const auto found = index_.find(hash);
        if (found == index_.end() || found->second->text != text) return nullptr;
        found->second->used = true;
        return &found->second->value;
    }

    /// Counts `value_bytes` besides the text itself.
    /// REQUIRES: find() did not find it. Takes the place of another text with the same hash.
    void insert(const hash128& hash, std::string_view text, Value value, std::size_t value_bytes) {
        const std::size_t cost = text.size() + value_bytes + text_table_overhead_bytes;
        if (cost > bounds_.bytes_max || bounds_.count_max == 0) return;
        if (const auto same = index_.find(hash); same != index_.end()) erase(same->second);
        while (bytes_ + cost > bounds_.bytes_max || entries_.size() >= bounds_.count_max)
            evict();
        entries_.push_back({std::string(text), hash, std::move(value), cost, false});
        index_.emplace(hash, std::prev(entries_.end()));
        bytes_ += cost;
    }

    std::size_t size() const noexcept { return entries_.size(); }

private:
    struct entry {
        std::string text;
        hash128 hash;
        Value value;
        std::size_t cost = 0;
        bool used = false;
    };
    using entry_list = std::list<entry>;

    void erase(typename entry_list::iterator victim) {
        bytes_ -= victim->cost;
        index_.erase(victim->hash);
        entries_.erase(victim);
    }

    void evict() {
        while (entries_.front().used) {
            entries_.front().used = false;
            entries_.splice(entries_.end(), entries_, entries_.begin());
        }
        erase(entries_.begin());
    }

    limits bounds_;
    std::size_t bytes_ = 0;
    entry_list entries_;  ///< oldest first
    /// Most texts with constants in them are not there: that is seen without looking at any entry.
    boost::unordered_flat_map<hash128, typename entry_list::iterator, hash128_hasher> index_;
};

}  // namespace postern::sql
