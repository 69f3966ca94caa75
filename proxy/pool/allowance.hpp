// How many servers the pools of one database, or of one user, may have together.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace postern::pool {

class pool;

/// Thread-safe. Where nothing is left, idle servers of the other pools make room for a pool whose
/// clients wait; one whose servers are all lent makes room when they come back and nobody of its
/// own waits for them.
class allowance {
public:
    explicit allowance(std::uint32_t servers_max)
        : servers_max_{servers_max} {}

    void join(const std::shared_ptr<pool>& member);

    /// False: all are taken.
    bool take() noexcept;
    /// Takes one back, and tells pools that wait for it.
    void give_back();

    /// `hungry` could not take() one although clients wait: another pool's idle server is closed,
    /// as soon as there is one.
    void make_room(const pool* hungry);
    /// Whether a pool waits for another's server.
    bool wanted() const noexcept { return wanted_.load(); }

private:
    std::vector<std::shared_ptr<pool>> members() const;

    const std::uint32_t servers_max_;
    std::atomic<std::uint32_t> taken_{0};
    std::atomic<bool> wanted_{false};
    mutable std::mutex mutex_;
    std::vector<std::weak_ptr<pool>> members_;  // guarded by mutex_
};

}  // namespace postern::pool
