// The servers of one database and user: lent to sessions one transaction at a time, in the order in
// which they asked.
//
// The size is one number for the process. Each thread keeps its own idle servers, so that lending
// takes no lock as long as nobody waits; a thread that has none asks another for one of its own.

#pragma once

#include "pool/allowance.hpp"
#include "pool/connector.hpp"
#include "pool/server.hpp"
#include "pool/settings.hpp"

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace postern::pool {

/// What a session that waits for a server is given in the end: a server, or why there is none; who
/// waits for a place: neither, or why there is none.
struct grant {
    server_ptr lent;
    std::optional<connect_failure> failure;
};

/// A session's place in the queue.
struct wait_ticket {
    std::uint64_t number = 0;  ///< 0: not waiting
};

/// A server as SHOW SERVERS has it.
struct server_row {
    std::int32_t pid = 0;
    int fd = -1;
    std::int64_t age_ns = 0;
    bool outdated = false;  ///< to be closed once it is free
    std::string local_address;
    std::string tls;         ///< version and cipher, empty without
    std::size_t unread = 0;  ///< bytes
    std::size_t unsent = 0;
};

class pool : public std::enable_shared_from_this<pool> {
public:
    /// `pollers`: one a thread, by thread number; they outlive the pool. Each server needs a place
    /// in each of `allowances` too, which the pool has to join.
    pool(
        std::string database,
        connect_request how,
        std::vector<poller*> pollers,
        std::vector<std::shared_ptr<allowance>> allowances = {});
    ~pool();

    const std::string& database() const noexcept { return database_; }
    const std::string& user() const noexcept { return how_.who.user; }
    const connect_request& how() const noexcept { return how_; }

    /// What logins from now on prove the user by, where no password is configured: the latest that
    /// a client has proven. Thread-safe.
    void set_keys(auth::scram_keys_ptr keys);

    /// Lends an idle server of this thread at once, or null: then wait() for one. A server that
    /// wears `wanted` is preferred.
    server_ptr checkout(std::size_t thread, const settings_map_ptr& wanted);

    /// Queues for a server: `when_granted` is called later, on this thread, once, unless cancel()
    /// comes first. `ticket` receives the place in the queue.
    void wait(std::size_t thread, std::function<void(grant)> when_granted, wait_ticket& ticket);

    /// Queues for the place of a server among the pool's, to connect one that is the session's own
    /// and never lent to others. Such a server is never given back; lost() gives the place back.
    void wait_for_place(
        std::size_t thread,
        std::function<void(grant)> when_granted,
        wait_ticket& ticket);
    /// How the pool's servers log in now.
    connect_request login_request() const;
    /// One connected in such a place is from now on a server of the pool's that reconnect() knows.
    void enrol(server& one) const;

    /// Leaves the queue. The callback is not called afterwards.
    void cancel(wait_ticket& ticket);

    /// Takes a server back. REQUIRES: it is provably in step: status idle, nothing unread, nothing
    /// unsent, nothing expected. `thread` is the calling thread's number.
    void give_back(std::size_t thread, server_ptr returned);

    /// A lent server was closed instead of given back: makes room for another.
    void lost();

    /// Servers connected before now are closed when they are idle or come back.
    void reconnect();
    /// Whether reconnect() has made this server unwanted.
    bool is_outdated(const server& one) const noexcept {
        return one.generation != generation_.load();
    }
    /// How many of those are still there.
    std::size_t outdated() const;

    /// Lends nothing any more, connects nowhere, and closes its servers: idle ones at once, lent
    /// ones when they come back. Who asks meanwhile waits. Idempotent, as resume() is.
    void pause();
    void resume();
    bool is_paused() const noexcept { return paused_.load(); }
    /// Servers of any kind, those that are just logging in included.
    std::size_t servers() const;

    /// What the newest server reported, or null before the first; see `connect()`.
    struct greeting {
        reported_parameters parameters;
        server_defaults defaults;
    };
    std::shared_ptr<const greeting> welcome() const;
    /// Moves whenever the defaults in welcome() do; 0 before the first.
    std::uint64_t welcome_version() const noexcept { return welcome_version_.load(); }

    /// Called on the connecting thread when a server's start time or defaults differ from the last;
    /// servers with the former ones are not lent any more.
    std::function<void(const greeting&)> on_changed;

    struct numbers {
        std::size_t idle = 0;
        std::size_t lent = 0;
        std::size_t connecting = 0;
        std::size_t waiting = 0;
        std::int64_t longest_wait_ns = 0;
    };
    numbers statistics() const;

    /// This thread's idle servers; for SHOW SERVERS.
    std::vector<server_row> idle_servers(std::size_t thread) const;
    server_row describe(const server& one) const;

    /// Closes this thread's idle servers that are too old, unwanted or dead, and connects those
    /// that min_size wants. Called by a timer.
    void sweep(std::size_t thread);

    /// Connects from the reserve when the first in the queue has waited long enough. Called by a
    /// timer.
    void look_at_queue(std::size_t thread);

    /// An allowance has a place again: connects if somebody waits. From any thread.
    void look_for_room();

    /// Has one idle server closed, the one that was used least recently on its thread. False: there
    /// is none, or somebody waits for it. From any thread.
    bool close_one_idle();

    /// Closes this thread's idle servers, and gives up all logins. For stopping: nobody runs any
    /// more.
    void close_idle(std::size_t thread);

private:
    struct idle_shelf;
    struct waiter {
        std::uint64_t number;
        std::size_t thread;
        std::function<void(grant)> when_granted;
        monotonic_ns since;
        bool wants_place = false;
    };

    void queue(std::size_t thread, waiter one, wait_ticket& ticket);
    bool grant_place();
    void maybe_connect(std::size_t thread);
    void sweep_everywhere();
    void begin_generation();  // REQUIRES: mutex_ held
    void begin_login(std::size_t thread, std::uint64_t number);
    void connect_ahead(std::size_t thread);
    bool take_place();
    void give_place_back();
    std::uint32_t size_now() const;  // REQUIRES: mutex_ held
    void forget_login(std::uint64_t number);
    void on_connected(std::size_t thread, monotonic_ns began, connect_outcome outcome);
    void on_connect_failed(std::size_t thread, monotonic_ns began, const connect_failure& why);
    void hand_over(std::size_t thread, server_ptr returned, waiter to);
    void ask_others(std::size_t thread);
    void donate(std::size_t thread);
    bool wanted_back(const server& one) const;
    bool is_wanted(const server& one, monotonic_ns at) const;
    bool may_be_lent(server& one) const;
    std::optional<waiter> next_waiter();
    waiter take_first_waiter();  // REQUIRES: mutex_ held, someone waits
    void put_on_shelf(std::size_t thread, server_ptr returned);

    const std::string database_;
    const connect_request how_;
    const std::vector<poller*> pollers_;
    const std::vector<std::shared_ptr<allowance>> allowances_;

    // Each shelf is touched by its own thread only; its count is read by all.
    std::vector<std::unique_ptr<idle_shelf>> shelves_;

    std::atomic<std::size_t> waiting_{0};
    std::atomic<std::uint64_t> generation_{0};
    std::atomic<bool> paused_{false};
    std::atomic<std::uint64_t> welcome_version_{0};

    mutable std::mutex mutex_;  // guards what follows
    std::size_t total_ = 0;     // connecting, idle and lent
    std::size_t connecting_ = 0;
    std::shared_ptr<const std::uint64_t> cohort_ = std::make_shared<const std::uint64_t>(0);
    std::vector<std::weak_ptr<const std::uint64_t>> former_cohorts_;
    std::uint64_t next_number_ = 1;
    monotonic_ns ahead_not_before_ = 0;  // min_size is not tried for again too soon after a failure
    std::deque<waiter> waiters_;
    std::shared_ptr<const greeting> welcome_;
    auth::scram_keys_ptr keys_;
    std::map<std::uint64_t, std::shared_ptr<connector>> logins_;  // under way
};

using pool_ptr = std::shared_ptr<pool>;

}  // namespace postern::pool
