// Why each memory order is enough.
//
// A reader looks at a cell in one order only: fence count first, version second. A writer changes
// it in one order only: count up, (the write), version up, count down. From that follow the three
// promises; "cell" below stands for a slot as well as for "everything".
//
// 1. A version read after a bump implies that a read sent afterwards sees the commit. The bump is a
//    release after PostgreSQL's answer was received, the load of the version an acquire before the
//    read is sent: answer < bump < load < send, and PostgreSQL makes a commit visible to new
//    snapshots before it answers.
//
// 2. A fill captured before or during a fence dies with its commit. Every fill carries the version
//    that capture() loaded. If that load saw the bump, 1 applies and the fill is new; if it did
//    not, the fill's version is gone for good as soon as the bump happens (versions only rise). So
//    capture() owes its refusal during a fence not to safety but to thrift: such a fill is most
//    likely to die.
//
// 3. Nobody is served from before a write that somebody may have seen. Until the count went up the
//    write was not sent, so no one saw it; while the count is up current() is false; a count that
//    is down again was lifted by a release *after* the bump, and the acquire that read it therefore
//    sees the bump. (Read-modify-writes of other fences in between continue the release sequence.)
//    Were the version loaded before the count, a whole "bump, lift" could pass between the two
//    loads, and a write that others had already read from PostgreSQL would be served from before:
//    the acquire on the count is what forbids the compiler and the machine that exchange. Several
//    cells are looked at one after the other, and yet the answer is that of one moment: that of the
//    first load. A later cell that is still unmoved at its own load was unmoved then.
//
// Between threads that share no atomic, order comes from the sockets: "acknowledged, then another
// client's read arrives" and "sent, then seen by another" both pass through system calls, which
// order memory on both sides. raise() is sequentially consistent so that the count has left this
// core's store buffer before the write can leave the process; bump and lift are read-modify-writes
// as well, done before the acknowledgement is written.

#include "coherence/version_table.hpp"

#include "base/metrics.hpp"

#include <algorithm>
#include <utility>

// Where another thread may come between two steps whose order matters. Nothing, but in the test
// that compiles this file with a function of its own, which lets one come between far more often.
#ifdef POSTERN_INTERLEAVE
extern "C" void POSTERN_INTERLEAVE() noexcept;
#else
#define POSTERN_INTERLEAVE() static_cast<void>(0)
#endif

namespace postern::coherence {

namespace {

constexpr std::uint32_t slot_of(tag value) noexcept {
    static_assert(
        (version_table::slot_count & (version_table::slot_count - 1)) == 0,
        "slots are picked by mask");
    return static_cast<std::uint32_t>(value & (version_table::slot_count - 1));
}

}  // namespace

tag table_tag(std::uint32_t database, std::uint32_t table) noexcept {
    // splitmix64's finaliser: oids are dense, slots should not be.
    std::uint64_t mixed = (std::uint64_t{database} << 32 | table) + 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

fence::fence(fence&& other) noexcept
    : table_{std::exchange(other.table_, nullptr)}
    , slots_{std::move(other.slots_)}
    , everything_{std::exchange(other.everything_, false)} {}

fence& fence::operator=(fence&& other) noexcept {
    if (this != &other) {
        commit();  // what is overwritten unresolved may have been committed
        table_ = std::exchange(other.table_, nullptr);
        slots_ = std::move(other.slots_);
        everything_ = std::exchange(other.everything_, false);
    }
    return *this;
}

fence::~fence() {
    commit();
}

void fence::commit() noexcept {
    if (table_ == nullptr) return;
    for (const std::uint32_t slot : slots_)
        version_table::bump(table_->cells_[slot]);
    if (everything_) version_table::bump(table_->everything_);
    metrics::add(metrics::counter::invalidations, slots_.size() + (everything_ ? 1 : 0));
    POSTERN_INTERLEAVE();
    lift();
}

void fence::roll_back() noexcept {
    if (table_ != nullptr) lift();
}

void fence::lift() noexcept {
    for (const std::uint32_t slot : slots_) {
        table_->cells_[slot].fences.fetch_sub(1, std::memory_order_release);
    }
    if (everything_) table_->everything_.fences.fetch_sub(1, std::memory_order_release);
    table_->standing_.fetch_sub(1, std::memory_order_relaxed);
    table_ = nullptr;
    slots_.clear();
    everything_ = false;
}

version_table::version_table()
    : cells_{std::make_unique<cell[]>(slot_count)} {}

bool version_table::capture_cell(const cell& from, std::uint64_t& version) noexcept {
    if (from.fences.load(std::memory_order_acquire) != 0) return false;
    POSTERN_INTERLEAVE();
    version = from.version.load(std::memory_order_acquire);
    return true;
}

bool version_table::capture(std::span<const tag> tags, dependencies& into) const {
    into.tags.clear();
    into.tags.reserve(tags.size());
    for (const tag one : tags)
        into.tags.push_back({slot_of(one), 0});
    const auto by_slot = [](const auto& a, const auto& b) {
        return a.slot < b.slot;
    };
    std::sort(into.tags.begin(), into.tags.end(), by_slot);
    into.tags.erase(std::unique(into.tags.begin(), into.tags.end()), into.tags.end());

    if (!capture_cell(everything_, into.everything)) return false;
    return std::all_of(into.tags.begin(), into.tags.end(), [&](auto& one) {
        return capture_cell(cells_[one.slot], one.version);
    });
}

bool version_table::current(const dependencies& captured) const noexcept {
    const auto is_current = [](const cell& now, std::uint64_t then) {
        std::uint64_t version = 0;
        return capture_cell(now, version) && version == then;
    };
    if (!is_current(everything_, captured.everything)) return false;
    return std::all_of(captured.tags.begin(), captured.tags.end(), [&](const auto& one) {
        return is_current(cells_[one.slot & (slot_count - 1)], one.version);
    });
}

bool version_table::fenced(const dependencies& captured) const noexcept {
    const auto stands = [](const cell& one) {
        return one.fences.load(std::memory_order_acquire) != 0;
    };
    if (stands(everything_)) return true;
    return std::any_of(captured.tags.begin(), captured.tags.end(), [&](const auto& one) {
        return stands(cells_[one.slot & (slot_count - 1)]);
    });
}

fence version_table::raise(std::span<const tag> tags) {
    fence raised;
    raised.slots_.reserve(tags.size());
    for (const tag one : tags)
        raised.slots_.push_back(slot_of(one));
    // A slot named twice is counted once, since it is lifted once.
    std::sort(raised.slots_.begin(), raised.slots_.end());
    raised.slots_.erase(
        std::unique(raised.slots_.begin(), raised.slots_.end()),
        raised.slots_.end());
    // Nothing throws from here on: a fence stands wholly or not at all.
    for (const std::uint32_t slot : raised.slots_) {
        cells_[slot].fences.fetch_add(1, std::memory_order_seq_cst);
    }
    stand(raised);
    return raised;
}

fence version_table::raise_everything() {
    fence raised;
    raised.everything_ = true;
    everything_.fences.fetch_add(1, std::memory_order_seq_cst);
    stand(raised);
    return raised;
}

void version_table::stand(fence& raised) noexcept {
    raised.table_ = this;
    standing_.fetch_add(1, std::memory_order_relaxed);
    metrics::add(metrics::counter::fences);
}

void version_table::bump(cell& one) noexcept {
    one.version.fetch_add(1, std::memory_order_release);
}

void version_table::bump(std::span<const tag> tags) noexcept {
    for (const tag one : tags)
        bump(cells_[slot_of(one)]);
    metrics::add(metrics::counter::invalidations, tags.size());
}

void version_table::bump_everything() noexcept {
    bump(everything_);
    metrics::add(metrics::counter::invalidations);
}

std::uint64_t version_table::fences_standing() const noexcept {
    return standing_.load(std::memory_order_relaxed);
}

}  // namespace postern::coherence
