// Two kinds of locks. The table's is never held while a seat's is taken:
//  - the table's mutex protects the map of flights and each flight's list of followers;
//  - a seat's own mutex is held while its landing runs, so that a destructor on another thread
//  waits
//    until the landing has returned. It is recursive, because a landing may well destroy its own
//    ticket (it ends the wait that owned it), and must not wait for itself then.
// A landing is never called under the table's mutex: it may join again.

#include "cache/flight.hpp"

#include "base/assert.hpp"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace postern::cache {

struct flight_table::table {
    struct flight {
        std::string material;
        hash128 hash;
        std::vector<std::shared_ptr<ticket::state>> followers;
    };
    using flight_ptr = std::shared_ptr<flight>;

    /// The flight of `key` or null. A hash finds, it never proves: material is compared, and other
    /// material under the same hash is another flight.
    flight_ptr find(const key_view& key) const {
        const auto [first, last] = flights.equal_range(key.hash);
        for (auto at = first; at != last; ++at) {
            if (at->second->material == key.material) return at->second;
        }
        return nullptr;
    }

    /// Takes the flight out, so that whoever misses from now on starts another, and returns who
    /// waited for it.
    std::vector<std::shared_ptr<ticket::state>> end(const flight_ptr& ending) {
        const std::scoped_lock lock{mutex};
        const auto [first, last] = flights.equal_range(ending->hash);
        const auto at = std::find_if(first, last, [&](const auto& one) {
            return one.second == ending;
        });
        POSTERN_ASSERT(at != last);
        flights.erase(at);
        return std::move(ending->followers);
    }

    std::mutex mutex;
    // Protected by mutex.
    std::unordered_multimap<hash128, flight_ptr, hash128_hasher> flights;
};

struct flight_table::ticket::state {
    state(std::shared_ptr<table> of, table::flight_ptr joined, landing lands, bool leader)
        : home{std::move(of)}
        , flight{std::move(joined)}
        , leads{leader}
        , when_landed{std::move(lands)} {}

    /// On the leader's thread.
    void arrive(const entry_ptr& answer) {
        const std::scoped_lock lock{mutex};
        // Moved out first: the landing may destroy the ticket, and the ticket clears the landing.
        if (const auto call = std::exchange(when_landed, nullptr)) call(answer);
    }

    /// After this the landing is not running, but for a caller within it, and will not run.
    void leave(const std::shared_ptr<state>& self) {
        {
            const std::scoped_lock lock{home->mutex};
            std::erase(flight->followers, self);
        }
        landing dropped;  // destroyed after the unlock: what it holds may have a destructor of note
        const std::scoped_lock lock{mutex};
        dropped.swap(when_landed);
    }

    // Constant after construction.
    const std::shared_ptr<table> home;
    const table::flight_ptr flight;
    const bool leads;

    std::recursive_mutex mutex;
    // Protected by mutex.
    landing when_landed;
};

flight_table::flight_table()
    : table_{std::make_shared<table>()} {}

flight_table::~flight_table() = default;

flight_table::ticket flight_table::join(const key_view& key, landing when_landed) {
    ticket seat;
    const std::scoped_lock lock{table_->mutex};
    if (auto found = table_->find(key)) {
        seat.state_ = std::make_shared<ticket::state>(table_, found, std::move(when_landed), false);
        found->followers.push_back(seat.state_);
    } else {
        auto started = std::make_shared<table::flight>(
            table::flight{std::string{key.material}, key.hash, {}});
        seat.state_ = std::make_shared<ticket::state>(table_, started, landing{}, true);
        table_->flights.emplace(key.hash, std::move(started));
    }
    return seat;
}

flight_table::ticket::ticket(ticket&&) noexcept = default;

flight_table::ticket& flight_table::ticket::operator=(ticket&& other) noexcept {
    if (this == &other) return *this;
    // The former seat is given up only once this ticket holds the new one: giving up may call
    // landings, and one of those may look at this very ticket.
    ticket former{std::move(*this)};
    state_ = std::move(other.state_);
    return *this;
}

flight_table::ticket::~ticket() {
    if (state_ == nullptr) return;
    if (state_->leads) {
        land(nullptr);
    } else {
        const auto leaving = std::move(state_);
        leaving->leave(leaving);
    }
}

bool flight_table::ticket::leads() const noexcept {
    return state_ != nullptr && state_->leads;
}

void flight_table::ticket::land(entry_ptr answer) {
    POSTERN_ASSERT(leads());
    // The seat is ours alone from here on: a landing may destroy this ticket.
    const auto landing_now = std::move(state_);
    for (const auto& follower : landing_now->home->end(landing_now->flight)) {
        follower->arrive(answer);
    }
}

}  // namespace postern::cache
