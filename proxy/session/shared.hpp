// What all threads of the process share, and nothing else: the configuration, the catalogs, the
// version table, the near store, the flights, the pools and the cancel keys. DESIGN §3.

#pragma once

#include "cache/flight.hpp"
#include "cache/near_store.hpp"
#include "cache/redis_store.hpp"
#include "catalog/auth_lookup.hpp"
#include "catalog/sampler.hpp"
#include "catalog/watcher.hpp"
#include "coherence/version_table.hpp"
#include "pool/pool.hpp"
#include "session/admission.hpp"
#include "session/console_reply.hpp"
#include "session/limits.hpp"
#include "session/settings.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace postern::session {

class worker;

/// Which client a cancel key belongs to. Keys are ours: PostgreSQL's own never reach a client.
///
/// Two processes of which one takes over from the other make different numbers: the lowest bits are
/// the process's generation, which the one that takes over counts on.
class cancel_registry {
public:
    static constexpr std::int32_t generations = 8;

    /// REQUIRES: nothing has been added yet; 0 ≤ `generation` < generations.
    void set_generation(std::int32_t generation) noexcept { generation_ = generation; }
    std::int32_t generation() const noexcept { return generation_; }
    /// Whether this process makes keys of this number.
    bool makes(std::int32_t key) const noexcept { return key % generations == generation_; }

    struct target {
        std::string secret;
        std::size_t thread = 0;
        std::uint64_t session = 0;
    };
    /// A process-wide unique number, in place of a backend pid.
    std::int32_t add(target who);
    void remove(std::int32_t key);
    std::optional<target> find(std::int32_t key, std::string_view secret) const;

private:
    mutable std::mutex mutex_;
    std::int32_t generation_ = 0;
    std::int32_t next_ = 1;  // without the generation's bits
    std::unordered_map<std::int32_t, target> targets_;
};

/// One database's catalog watcher and its role in keys.
struct watched_database {
    std::unique_ptr<catalog::watcher> watcher;
    std::unique_ptr<catalog::auth_lookup> auth;
};

struct shared_state {
    explicit shared_state(settings_ptr initial, std::optional<cache::redis_settings> redis_options);
    ~shared_state();

    /// The configuration in force. epoch() moves with it, so that threads may keep a copy.
    settings_ptr settings() const;
    void set_settings(settings_ptr fresh);
    std::uint64_t settings_epoch() const noexcept { return settings_epoch_.load(); }

    /// The pool of a database and user; made on first use.
    pool::pool_ptr pool_of(const database& where, const user& who);
    std::vector<pool::pool_ptr> pools() const;

    /// PAUSE: see pool::pause(), for the pools that there are and those to come.
    void pause(const database_scope& which);
    /// False: exactly this was not paused. Those that another pause holds stay so.
    bool resume(const database_scope& which);
    /// Whether no connection to the databases in `which` is left. The catalog's own, and
    /// auth_query's, are closed only once there is no server: those may need what they tell.
    /// REQUIRES: they are paused; asked until it is so.
    bool is_drained(const database_scope& which);
    /// RECONNECT: see pool::reconnect(). What was cached is void.
    void reconnect(const database_scope& which);
    /// Servers that reconnect() has left.
    std::size_t outdated(const database_scope& which) const;

    /// Shadow mode of a database; made on first use, off until configure_samplers() has turned it
    /// on.
    catalog::sampler& sampler_of(const std::string& database_name);
    /// As this configuration has them; databases that it does not have are off.
    void configure_samplers(const struct settings& fresh);
    std::vector<catalog::sampled_shape> sampled_shapes() const;
    /// Once nobody uses them any more.
    void stop_samplers();

    catalog::watcher* watcher_of(const std::string& database_name) const;
    catalog::auth_lookup* auth_of(const std::string& database_name) const;

    coherence::version_table versions;
    admission admits{versions};
    cache::near_store near;
    cache::flight_table flights;
    cancel_registry cancels;
    client_counts clients_by_name;
    const std::optional<cache::redis_settings> redis;
    const std::string
        start_token;  ///< random, of this process: what an earlier one stored is not found
    const std::string mock_secret;  ///< for users that do not exist

    std::vector<std::unique_ptr<worker>> workers;
    std::atomic<std::uint32_t> clients{0};       ///< connections, whatever for
    std::atomic<std::uint32_t> places_taken{0};  ///< of limits.clients
    std::atomic<bool> stopping{false};

    /// The admin console: runs the command on a thread of its own and calls `done` there, once, or
    /// never when the process stops.
    std::function<void(console_request request, std::function<void(console_reply)> done)> console;

    /// Passes on a cancel request that no client here has the key of to the processes that this one
    /// took over from, or that takes over from it; `done` is called once, on any thread. Empty:
    /// there is none. Set before the threads run.
    std::function<void(std::int32_t key, std::string secret, std::function<void()> done)>
        relay_cancel;

    std::map<std::string, watched_database> databases;

private:
    mutable std::mutex mutex_;
    settings_ptr settings_;
    std::atomic<std::uint64_t> settings_epoch_{1};
    std::map<std::pair<std::string, std::string>, pool::pool_ptr> pools_;
    std::map<std::string, std::unique_ptr<catalog::sampler>> samplers_;
    // Of those that have a limit; made with their first pool.
    std::map<std::string, std::shared_ptr<pool::allowance>> allowances_of_databases_;
    std::map<std::string, std::shared_ptr<pool::allowance>> allowances_of_users_;
};

}  // namespace postern::session
