// One thread: its loop, what it alone remembers, its sessions.

#pragma once

#include "base/recent_hashes.hpp"
#include "cache/redis_store.hpp"
#include "pool/poller.hpp"
#include "session/plan.hpp"
#include "session/shared.hpp"
#include "sql/analyzer.hpp"

#include <boost/asio/io_context.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace postern::session {

class session;
struct front_request;

/// What decides, beside its text, what a prepared statement means: names are resolved and literals
/// become constants (a timestamp under TimeZone and DateStyle) when it is parsed.
struct statement_context {
    std::shared_ptr<const std::string> material;
    hash128 hash;
};
using statement_context_ptr = std::shared_ptr<const statement_context>;

/// Settings that decide neither which rows an answer has, nor how they are written, nor what a
/// statement means.
bool is_shapeless(std::string_view name);

/// Settings that are Postern's own and not PostgreSQL's.
inline bool is_postern_setting(std::string_view name) noexcept {
    return name.starts_with("postern.");
}

/// A prepared statement as a client named it: its text and parameter types, analysed. Shared by all
/// sessions of a thread that prepare the same, from the second on.
struct prepared_statement {
    /// Parameter types and text, unambiguous: with the context it is a server-side statement.
    std::shared_ptr<const std::string> material;
    std::string_view text;  ///< the end of `material`
    std::vector<std::uint32_t> parameter_types;
    std::uint64_t catalog_epoch = 0;
    bool readable = true;
    bool obscure = false;
    sql::analysis_ptr analysis;
    hash128 hash;  ///< of all of the above

    // What was found last; sessions of one thread only, so no lock.
    mutable plan_ptr last_plan;
    mutable statement_context_ptr last_context;
    mutable pool::statement_key last_key;  ///< under last_context
};
using prepared_ptr = std::shared_ptr<const prepared_statement>;

/// The row of SHOW CLIENTS.
struct client_row {
    std::uint64_t id = 0;
    std::string user;
    std::string database;
    std::string application_name;
    std::string address;
    std::string state;  ///< login, active, waiting, idle, idle in transaction
    std::string pin;    ///< cause, empty when not pinned
    std::string tls;    ///< version and cipher, empty without
    int fd = -1;
    std::string local_address;
    std::int32_t remote_pid = 0;             ///< over a Unix socket; else 0
    std::size_t unread = 0;                  ///< bytes
    std::size_t unsent = 0;                  ///< bytes
    std::optional<pool::server_row> server;  ///< lent to it
    std::int64_t connected_ns = 0;           ///< since when, as an age
    std::int64_t request_ns = 0;             ///< age of the request under way, 0: none
};

/// What clients of one database have done on one thread since the start. Times in microseconds.
struct traffic {
    std::uint64_t transactions = 0;   ///< that used a server
    std::uint64_t queries = 0;        ///< statements answered, from wherever
    std::uint64_t received = 0;       ///< bytes from clients
    std::uint64_t sent = 0;           ///< bytes to clients
    std::int64_t server_time_ns = 0;  ///< of statements that PostgreSQL answered
    std::int64_t query_time_ns = 0;   ///< of all statements
    std::int64_t wait_time_ns = 0;    ///< for a server
    std::uint64_t hits = 0;           ///< of `queries`, answered from the cache

    traffic& operator+=(const traffic& other) noexcept;
};

class worker {
public:
    worker(shared_state& shared, std::size_t number);
    ~worker();

    shared_state& shared;
    const std::size_t number;
    boost::asio::io_context io;  ///< for what `events` hosts
    pool::poller events;
    sql::analyzer analyzer;
    plan_cache plans;
    std::unique_ptr<cache::redis_store> redis;

    /// Where received bytes land before anyone owns them. Valid until the handler returns.
    std::array<char, 65536> scratch;
    /// Reused for composing; valid until the handler returns.
    std::string client_bytes;
    std::string server_bytes;
    std::string key_material;
    const std::unique_ptr<front_request> front;
    /// For what is gathered in a round of events: its memory goes from one to the next.
    std::string spare_buffer();
    void keep_buffer(std::string emptied);

    /// Counts the reads of which shadow mode draws its share.
    std::uint64_t reads_drawn_from = 0;

    /// What a session with certain startup parameters is announced, learnt from a server.
    std::unordered_map<std::string, pool::reported_parameters> welcomes;

    /// Sessions that are pinned, or kept at their login, while the catalog is being read.
    std::unordered_set<std::uint64_t> awaiting_catalog;
    /// It has been read.
    void on_catalog_read();

    /// This thread's copy of the configuration, renewed when the shared one has moved.
    const settings_ptr& settings();

    /// `catalog_epoch`: what is prepared after DDL is another statement on the servers than before,
    /// since PostgreSQL refuses to run the old one once its row type has changed (0A000).
    /// `readable`: the text means what the analyzer takes it for; else nothing is known of it, and
    /// `obscure` says whether not even its constants are. `again`: as for the analyzer.
    prepared_ptr prepare(
        std::string_view text,
        const std::vector<std::uint32_t>& parameter_types,
        std::uint64_t catalog_epoch,
        bool readable = true,
        bool obscure = false,
        bool again = false);

    /// Equal materials are one pointer.
    statement_context_ptr intern(std::string material);
    pool::settings_map_ptr intern(pool::settings_map settings);

    /// The plan of `analysis` in `context`, found or made.
    plan_ptr plan_of(
        const sql::analysis_ptr& analysis,
        std::string_view text,
        const plan_context_ptr& context,
        catalog::watcher* watcher);

    void adopt(int client_fd, std::string address);  ///< on this thread
    void add(const std::shared_ptr<session>& fresh);
    /// Not found any more from now on, and destroyed when no handler of this round can be one of
    /// its own.
    void remove(std::uint64_t id);
    session* find(std::uint64_t id) const;
    std::vector<client_row> clients() const;
    void stop_sessions(bool at_once);
    /// KILL: every client of this database ends now, in whatever phase it is.
    void kill_sessions(const std::string& database);
    /// KILL_CLIENT. False: it is not one of this thread's.
    bool kill_session(std::uint64_t id);
    /// Ends what has taken too long; to be called every sweep_interval().
    void check_timeouts();
    /// As the configuration in force wants it, see limits.hpp.
    std::chrono::milliseconds sweep_interval();
    struct counts {
        std::size_t all = 0;
        std::size_t on_console = 0;  ///< of `all`: a stop waits for none of these
        std::size_t busy = 0;        ///< of `all`: see session::is_busy()
    };
    counts count_clients() const;
    std::size_t session_count() const noexcept { return sessions_.size(); }

    static std::uint64_t next_session_id() noexcept;

    /// By database, "" for clients that are not in one. An entry stays where it is.
    std::map<std::string, traffic> traffics;

    /// Clients dealt out to this thread and not yet gone; read by the acceptor.
    std::atomic<std::uint32_t> load{0};

private:
    std::optional<pool::poller::guest> redis_guest_;  // its connection is Asio's for life
    using prepared_map = std::unordered_map<hash128, prepared_ptr, hash128_hasher>;
    void forget(prepared_map::iterator gone);

    std::vector<std::string> spare_buffers_;
    settings_ptr settings_;
    std::uint64_t settings_epoch_ = 0;
    settings_ptr swept_for_;  // the configuration that the next two were taken from
    std::chrono::milliseconds sweep_interval_{1000};
    bool limits_time_ = false;
    std::unordered_map<std::string, statement_context_ptr> statement_contexts_;
    std::unordered_map<std::string, std::weak_ptr<const pool::settings_map>> settings_maps_;
    std::size_t settings_maps_max_ = 1000;
    recent_hashes prepared_once_;
    prepared_map prepared_;
    std::size_t prepared_bytes_ = 0;  // of its materials
    std::unordered_map<std::uint64_t, std::shared_ptr<session>> sessions_;
    std::vector<std::shared_ptr<session>> removed_;  // destroyed at the next turn of the loop
};

/// Cancels what the client with this key runs; false: no client of this process has it. `done` is
/// then called once, on the client's thread: PostgreSQL has been signalled, or there is nothing to
/// signal. Thread-safe.
bool cancel_client(
    shared_state& shared,
    std::int32_t key,
    std::string_view secret,
    std::function<void()> done);

}  // namespace postern::session
