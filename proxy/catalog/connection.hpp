// One libpq connection that never blocks for longer than it was told to, and that another thread
// can call off.

#pragma once

#include "base/result.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;

namespace postern::catalog {

/// Wakes a thread out of poll(), from any thread. An eventfd.
class wakeup {
public:
    wakeup();
    ~wakeup();
    wakeup(const wakeup&) = delete;
    wakeup& operator=(const wakeup&) = delete;

    void signal() noexcept;
    void clear() noexcept;
    int descriptor() const noexcept { return descriptor_; }

private:
    int descriptor_;
};

/// A query's rows, as text; null is the empty string.
using rows = std::vector<std::vector<std::string>>;

/// A connection and the one query that it runs at a time.
///
/// Thread safety: none.
class connection {
public:
    connection() = default;

    /// Connects anew, within `limit`. A signal at `stop` (may be null) calls it off.
    outcome<void> open(
        const std::string& conninfo,
        std::chrono::milliseconds limit,
        const wakeup* stop);

    /// Runs `sql`, within `limit`; the rows of its last statement. After a timeout or a signal at
    /// `stop` the connection is closed: nobody knows what it would answer next.
    outcome<rows> query(
        const std::string& sql,
        std::chrono::milliseconds limit,
        const wakeup* stop,
        const std::vector<std::string>& parameters = {});

    bool is_open() const noexcept;
    /// -1 when it is not open.
    int descriptor() const noexcept;
    /// Takes in what came unasked; false when the server has closed the connection.
    bool still_there();
    void close() noexcept { handle_.reset(); }

private:
    struct closer {
        void operator()(pg_conn* handle) const noexcept;
    };
    failure broken(std::string_view what);

    std::unique_ptr<pg_conn, closer> handle_;
};

}  // namespace postern::catalog
