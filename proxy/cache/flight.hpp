// Single flight: of several sessions that miss the same key at once, one asks PostgreSQL and the
// others wait for its answer.

#pragma once

#include "cache/entry.hpp"

#include <functional>
#include <memory>

namespace postern::cache {

/// Called once, on the *leader's* thread, with the leader's entry, or null when it brought none
/// (error, too large, raced with a write, leader gone): the follower then asks by itself.
/// A follower must hop to its own thread, and accepts the entry only if the entry's versions equal
/// those that it captured at its own arrival (RACES.md, 30).
using landing = std::function<void(entry_ptr)>;

/// Flights of the whole process. Thread-safe.
class flight_table {
public:
    flight_table();
    ~flight_table();

    /// A seat in a flight. Destroying a leader's ticket without land() lands null. Destroying a
    /// follower's ticket cancels its landing; after the destructor returned it is not called any
    /// more.
    class ticket {
    public:
        ticket() = default;
        ticket(ticket&&) noexcept;
        ticket& operator=(ticket&&) noexcept;
        ~ticket();
        explicit operator bool() const noexcept { return state_ != nullptr; }
        bool leads() const noexcept;
        /// REQUIRES: leads(). Ends the flight and hands the answer (or null) to the followers.
        void land(entry_ptr answer);

    private:
        friend class flight_table;
        struct state;
        std::shared_ptr<state> state_;
    };

    /// Joins the flight of `key`, or starts one when there is none (then `when_landed` is unused).
    ticket join(const key_view& key, landing when_landed);

private:
    struct table;
    std::shared_ptr<table> table_;
};

}  // namespace postern::cache
