// S3-FIFO, one instance a shard (Yang et al., "FIFO queues are all you need for cache eviction",
// SOSP 2023): new entries enter a small queue; what is asked for again while there moves to the
// main queue on its way out, the rest leaves, and only its hash is remembered for a while in the
// ghost queue. A newcomer that the ghost remembers goes to the main queue at once. A scan therefore
// washes through a tenth of the shard and leaves the hot set alone, and a hit moves nothing: it
// adds one to a counter.
//
//      put ──ghost?──no──> small ──asked again?──no──> ghost (hash only)
//              └───yes──────┐  └───────yes─────┐
//                           └────> main <──────┘ ──asked since?──no──> gone
//                                   ^───────────────yes (one less)┘
//
// No entry is freed under a shard's lock: what leaves is chained up and freed after the unlock.

#include "cache/near_store.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <random>
#include <utility>

namespace postern::cache {

namespace {

/// Share of a shard that the small queue may hold before it is the one that gives way.
constexpr std::size_t small_divisor = 10;
/// Hits that are counted; more make no difference (two bits in the paper).
constexpr std::uint8_t frequency_max = 3;
/// Hits in the small queue that are worth a place in main: one could be a mere retry.
constexpr std::uint8_t frequency_worth_main = 2;
/// A shard's fixed index: one bucket for this many of its bytes, so that it never has to grow.
constexpr std::size_t bytes_a_bucket = 512;
constexpr std::size_t buckets_min = 64;
constexpr std::size_t buckets_max = std::size_t{1} << 22;

struct node;
using node_ptr = std::unique_ptr<node>;

enum class queue_name : std::uint8_t { small, main };

struct node {
    entry_ptr kept;
    std::size_t bytes = 0;
    node_ptr next_in_bucket;  // the index owns; once outside, the chain of the doomed
    node* newer = nullptr;
    node* older = nullptr;
    queue_name where = queue_name::small;
    std::uint8_t frequency = 0;
};

/// Nodes that left the index, freed when this goes out of scope: declare it before the lock.
class doomed_nodes {
public:
    doomed_nodes() = default;
    doomed_nodes(const doomed_nodes&) = delete;
    doomed_nodes& operator=(const doomed_nodes&) = delete;
    ~doomed_nodes() {
        while (head_ != nullptr)
            head_ = std::move(head_->next_in_bucket);  // never recursive
    }
    void add(node_ptr one) noexcept {
        one->next_in_bucket = std::move(head_);
        head_ = std::move(one);
    }

private:
    node_ptr head_;
};

struct fifo {
    node* newest = nullptr;
    node* oldest = nullptr;
    std::size_t bytes = 0;
    std::size_t count = 0;

    void push(node& one) noexcept {
        one.newer = nullptr;
        one.older = newest;
        (newest != nullptr ? newest->newer : oldest) = &one;
        newest = &one;
        bytes += one.bytes;
        ++count;
    }
    void remove(node& one) noexcept {
        (one.newer != nullptr ? one.newer->older : newest) = one.older;
        (one.older != nullptr ? one.older->newer : oldest) = one.newer;
        bytes -= one.bytes;
        --count;
    }
};

/// The hashes that left the small queue lately. A fixed table indexed by hash, each slot stamped
/// with the count of departures: what is older than `span` departures is forgotten, as in a FIFO.
class ghost_queue {
public:
    explicit ghost_queue(std::size_t slots)
        : slots_(std::bit_ceil(slots)) {}

    void add(const hash128& hash) { slot(hash) = {hash.high, ++departures_}; }

    /// Whether `hash` left within the last `span` departures; forgets it.
    bool take(const hash128& hash, std::uint64_t span) {
        auto& found = slot(hash);
        const bool there = found.stamp != 0 && found.high == hash.high &&
                           departures_ - found.stamp < span;
        if (there) found = {};
        return there;
    }
    void clear() { std::fill(slots_.begin(), slots_.end(), remembered{}); }

private:
    struct remembered {
        std::uint64_t high = 0;
        std::uint64_t stamp = 0;
    };
    // By the low half: the high half already chose the shard.
    remembered& slot(const hash128& hash) { return slots_[hash.low & (slots_.size() - 1)]; }

    std::vector<remembered> slots_;
    std::uint64_t departures_ = 0;
};

std::size_t bucket_count_of(std::size_t capacity) {
    return std::bit_ceil(std::clamp(capacity / bytes_a_bucket, buckets_min, buckets_max));
}

}  // namespace

struct near_store::shard {
    shard(std::size_t capacity, std::uint64_t seed)
        : capacity_{capacity}
        , seed_{seed | 1}
        , buckets_(bucket_count_of(capacity))
        , ghost_{buckets_.size() / 4} {}

    entry_ptr find(const key_view& key, monotonic_ns now);
    void put(node_ptr fresh);
    void erase(const entry_ptr& stale);
    void clear();
    void add_to(numbers& sum) const;

    std::size_t capacity() const noexcept { return capacity_; }

private:
    /// The place that owns the node with this hash, or the empty end of its bucket.
    node_ptr& place(const hash128& hash);
    node_ptr take_out(node_ptr& owner) noexcept;
    /// For what leaves because it is out of date: if it comes back fresh, it belongs where it was.
    void take_out_stale(node_ptr& owner, doomed_nodes& doomed);
    void make_room(std::size_t bytes, doomed_nodes& doomed);
    void evict_from_small(doomed_nodes& doomed);
    void evict_from_main(doomed_nodes& doomed);
    fifo& queue(queue_name which) { return which == queue_name::small ? small_ : main_; }
    std::size_t bytes() const noexcept { return small_.bytes + main_.bytes; }

    // Constant after construction.
    const std::size_t capacity_;
    const std::uint64_t seed_;

    mutable std::mutex mutex_;
    // Everything below is protected by mutex_.
    std::vector<node_ptr> buckets_;
    fifo small_;
    fifo main_;
    ghost_queue ghost_;
    std::uint64_t evictions_ = 0;
};

node_ptr& near_store::shard::place(const hash128& hash) {
    // Seeded, so that nobody outside can aim many keys at one bucket; a whole hash is there once.
    const auto mixed = (hash.low ^ seed_) * (hash.high | 1) * 0x9e3779b97f4a7c15;
    auto* owner = &buckets_[(mixed >> 24) & (buckets_.size() - 1)];
    while (*owner != nullptr && (*owner)->kept->hash != hash)
        owner = &(*owner)->next_in_bucket;
    return *owner;
}

node_ptr near_store::shard::take_out(node_ptr& owner) noexcept {
    auto out = std::move(owner);
    owner = std::move(out->next_in_bucket);
    queue(out->where).remove(*out);
    return out;
}

void near_store::shard::take_out_stale(node_ptr& owner, doomed_nodes& doomed) {
    if (owner->where == queue_name::main || owner->frequency >= frequency_worth_main) {
        ghost_.add(owner->kept->hash);
    }
    doomed.add(take_out(owner));
}

entry_ptr near_store::shard::find(const key_view& key, monotonic_ns now) {
    doomed_nodes doomed;
    const std::scoped_lock lock{mutex_};
    auto& owner = place(key.hash);
    // A hash finds, it never proves.
    if (owner == nullptr || owner->kept->material != key.material) return nullptr;
    if (owner->kept->expires_at <= now) {
        take_out_stale(owner, doomed);
        return nullptr;
    }
    if (owner->frequency < frequency_max) ++owner->frequency;
    return owner->kept;
}

void near_store::shard::put(node_ptr fresh) {
    doomed_nodes doomed;
    const std::scoped_lock lock{mutex_};
    const hash128 hash = fresh->kept->hash;
    if (auto& owner = place(hash); owner != nullptr) {
        // What replaces keeps the standing of what it replaces: a key that is refreshed after every
        // write is no newcomer. Other material under the same hash has no standing to hand on.
        auto former = take_out(owner);
        if (former->kept->material == fresh->kept->material) {
            fresh->where = former->where;
            fresh->frequency = former->frequency;
        }
        doomed.add(std::move(former));
    } else if (ghost_.take(hash, std::max<std::uint64_t>(main_.count, 1))) {
        fresh->where = queue_name::main;
    }
    make_room(fresh->bytes, doomed);
    auto& end = place(hash);
    POSTERN_ASSERT(end == nullptr);
    queue(fresh->where).push(*fresh);
    end = std::move(fresh);
    POSTERN_ASSERT(bytes() <= capacity_);
}

void near_store::shard::make_room(std::size_t wanted, doomed_nodes& doomed) {
    POSTERN_ASSERT(wanted <= capacity_);
    while (bytes() + wanted > capacity_) {
        const bool small_gives_way = small_.bytes > capacity_ / small_divisor || main_.count == 0;
        if (small_gives_way)
            evict_from_small(doomed);
        else
            evict_from_main(doomed);
    }
}

void near_store::shard::evict_from_small(doomed_nodes& doomed) {
    node& oldest = *small_.oldest;
    if (oldest.frequency >= frequency_worth_main) {
        small_.remove(oldest);
        oldest.frequency = 0;
        oldest.where = queue_name::main;
        main_.push(oldest);
        return;
    }
    ghost_.add(oldest.kept->hash);
    doomed.add(take_out(place(oldest.kept->hash)));
    ++evictions_;
}

void near_store::shard::evict_from_main(doomed_nodes& doomed) {
    node& oldest = *main_.oldest;
    if (oldest.frequency > 0) {  // ends: each round takes one away, and nothing is found meanwhile
        --oldest.frequency;
        main_.remove(oldest);
        main_.push(oldest);
        return;
    }
    doomed.add(take_out(place(oldest.kept->hash)));
    ++evictions_;
}

void near_store::shard::erase(const entry_ptr& stale) {
    doomed_nodes doomed;
    const std::scoped_lock lock{mutex_};
    auto& owner = place(stale->hash);
    if (owner != nullptr && owner->kept == stale) take_out_stale(owner, doomed);
}

void near_store::shard::clear() {
    std::vector<node_ptr> emptied;
    {
        const std::scoped_lock lock{mutex_};
        emptied.resize(buckets_.size());
        emptied.swap(buckets_);
        small_ = {};
        main_ = {};
        ghost_.clear();
    }
    doomed_nodes doomed;  // chains are taken apart one by one: a long one must not recurse
    for (auto& bucket : emptied) {
        while (bucket != nullptr) {
            auto first = std::move(bucket);
            bucket = std::move(first->next_in_bucket);
            doomed.add(std::move(first));
        }
    }
}

void near_store::shard::add_to(numbers& sum) const {
    const std::scoped_lock lock{mutex_};
    sum.entries += small_.count + main_.count;
    sum.bytes += bytes();
    sum.evictions += evictions_;
}

near_store::near_store(settings bounds) {
    POSTERN_ASSERT(std::has_single_bit(bounds.shards));
    std::random_device random;
    for (std::size_t i = 0; i < bounds.shards; ++i) {
        const auto seed = std::uint64_t{random()} << 32 | random();
        shards_.push_back(std::make_unique<shard>(bounds.bytes_max / bounds.shards, seed));
    }
}

near_store::~near_store() {
    clear();
}

entry_ptr near_store::find(const key_view& key, monotonic_ns now) {
    return shards_[key.hash.high & (shards_.size() - 1)]->find(key, now);
}

void near_store::put(entry_ptr fresh) {
    POSTERN_ASSERT(fresh != nullptr);
    auto& target = *shards_[fresh->hash.high & (shards_.size() - 1)];
    const std::size_t bytes = fresh->size();
    if (bytes > target.capacity()) return;
    auto made = std::make_unique<node>();
    made->bytes = bytes;
    made->kept = std::move(fresh);
    target.put(std::move(made));
}

void near_store::erase(const entry_ptr& stale) {
    POSTERN_ASSERT(stale != nullptr);
    shards_[stale->hash.high & (shards_.size() - 1)]->erase(stale);
}

void near_store::clear() {
    for (auto& one : shards_)
        one->clear();
}

near_store::numbers near_store::statistics() const {
    numbers sum;
    for (const auto& one : shards_) {
        one->add_to(sum);
        sum.bytes_max += one->capacity();
    }
    return sum;
}

}  // namespace postern::cache
