// One libpq connection that never blocks for longer than it was told to, and that another thread
// can call off.

#pragma once

#include "base/result.hpp"
#include "catalog/answer_digest.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;
struct pg_result;

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

/// What a statement is bound to, as the client's Parse and Bind have it.
struct bound_parameters {
    std::vector<std::uint32_t> types;  ///< 0, or none: PostgreSQL finds out
    std::vector<std::optional<std::string>> values;
    std::vector<std::int16_t> formats;  ///< none, one for all, or one each
};

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

    /// Runs one statement of somebody else's, row by row, so that an answer of any length takes the
    /// memory of one row. More than `rows_max` rows, a timeout or a signal at `stop` close the
    /// connection.
    outcome<answer_digest> digest(
        const std::string& sql,
        const bound_parameters& bound,
        std::uint64_t rows_max,
        std::chrono::milliseconds limit,
        const wakeup* stop);

    /// PostgreSQL's code of the last failure, or ours: 08006 of a connection that was lost, 57014
    /// when there was no answer in time, 54000 of too many rows.
    const std::string& sqlstate() const noexcept { return sqlstate_; }

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
    using time_point = std::chrono::steady_clock::time_point;
    failure broken(std::string_view what, std::string_view code = "08006");
    failure refused(const pg_result* answer);
    std::optional<failure> await_result(time_point until, const wakeup* stop);

    std::unique_ptr<pg_conn, closer> handle_;
    std::string sqlstate_;
};

}  // namespace postern::catalog
