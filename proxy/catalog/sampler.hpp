// Shadow mode: a share of an application's reads is run twice, once as it is and once with the
// views of a schema in front that show what row-level security will leave; what differs is told.
// One thread, one libpq connection. RLS.md §5, step 4.

#pragma once

#include "base/clock.hpp"
#include "catalog/connection.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace postern::catalog {

struct sampler_settings {
    std::string conninfo;  ///< libpq's form, of a role that may SET ROLE to those of the sessions
    std::string schema = "postern_shadow";  ///< of the views
    double share = 0.01;                    ///< of the reads whose shape has been sampled before
    std::chrono::milliseconds statement_timeout{1000};
    std::uint64_t rows_max = 100'000;  ///< of one answer
    friend bool operator==(const sampler_settings&, const sampler_settings&) = default;
};

/// A read, with all that decides its answer.
struct sampled_read {
    std::uint64_t fingerprint = 0;  ///< of its shape
    std::string text;
    bound_parameters bound;
    std::string role;
    std::string search_path;
    /// name, value: what the session has set, and its identity.
    std::vector<std::pair<std::string, std::string>> settings;
    std::vector<std::string> unqualified;  ///< relations that search_path decides about
    std::vector<std::string> qualified;    ///< schema.name: those that no view can stand before
};

/// What is known of the reads of one shape and role.
struct sampled_shape {
    std::string database;
    std::string role;
    std::string text;  ///< without values
    std::string relations;
    std::uint64_t fingerprint = 0;
    std::uint64_t samples = 0;
    std::uint64_t same = 0;
    std::uint64_t different = 0;
    std::uint64_t qualified = 0;  ///< equal, or not run, but it names tables with their schema
    std::uint64_t no_view = 0;    ///< equal, but a table that it names has no view
    std::uint64_t errors = 0;
    std::uint64_t dropped = 0;  ///< while the queue was full
    // Of the last difference.
    std::uint64_t rows_without = 0;
    std::uint64_t rows_with = 0;
    // Of the last error.
    std::string sqlstate;
    std::string error;
    monotonic_ns last_seen = 0;
};

/// Whether the `number`th read of a stream is among the share of it that is sampled. Spread evenly,
/// and the same for the same number.
bool is_drawn(std::uint64_t number, double share) noexcept;

/// Thread-safe throughout.
class sampler {
public:
    /// Reads that wait to be run; further ones are dropped.
    static constexpr std::size_t queue_max = 256;
    /// Shapes that are remembered, the last ones.
    static constexpr std::size_t shapes_max = 1000;

    explicit sampler(std::string database);
    ~sampler();  ///< stops and joins the thread
    sampler(const sampler&) = delete;
    sampler& operator=(const sampler&) = delete;

    /// Turns it on, changes it, or (null) turns it off. What was found stays to be seen until it is
    /// turned on anew.
    void configure(std::optional<sampler_settings> how);

    /// One relaxed load.
    bool is_on() const noexcept { return on_.load(std::memory_order_relaxed); }
    double share() const noexcept { return share_.load(std::memory_order_relaxed); }

    /// Whether a read of this shape and role has been taken before.
    bool knows(std::uint64_t fingerprint, const std::string& role) const;
    /// Takes it to be run later; false: the queue is full, and that has been counted.
    bool offer(sampled_read read);

    std::vector<sampled_shape> shapes() const;

    /// As watcher has them: no connection from here on, until resume().
    void pause();
    void resume();
    bool is_connected() const noexcept;
    void reconnect();

private:
    struct state;
    std::atomic<bool> on_{false};
    std::atomic<double> share_{0};
    std::unique_ptr<state> state_;
};

}  // namespace postern::catalog
