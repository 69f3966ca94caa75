// One direct libpq connection to the database that is migrated. Calls wait for their answer, look
// for a signal while they do, and let the caller show how far a long statement is.

#pragma once

#include "migrate/problem.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct pg_conn;

namespace postern::migrate {

/// What a statement answered.
struct reply {
    std::optional<std::uint64_t> affected;       ///< from the command's tag, where it has a count
    bool has_rows = false;                       ///< it was a query
    std::vector<std::vector<std::string>> rows;  ///< null as an empty text
};

/// Counts SIGINT and SIGTERM while it lives, so that they end nothing by themselves. One at a time.
class stop_signals {
public:
    stop_signals();
    ~stop_signals();
    stop_signals(const stop_signals&) = delete;
    stop_signals& operator=(const stop_signals&) = delete;

    /// How many have come: with one the work stops at the next boundary, with two the running
    /// statement is cancelled.
    static int count() noexcept;
    /// Waits, but not beyond a signal. False when one has come.
    static bool wait(std::chrono::milliseconds time) noexcept;
};

/// Not thread-safe. After a call failed with problem_kind::connection only close and destruction
/// make sense.
class server {
public:
    /// Says how far things are: called as a statement begins and now and then while it runs, with
    /// the time that it has been running. May not use the connection.
    using ticker = std::function<void(std::chrono::milliseconds running)>;
    /// A NOTICE or WARNING, in PostgreSQL's words.
    using notice_receiver = std::function<void(const std::string& text)>;

    server();
    ~server();
    server(server&&) noexcept;
    server& operator=(server&&) noexcept;

    /// `conninfo` is libpq's form or a URI; what it leaves open comes from the environment.
    static answer<server> connect(const std::string& conninfo);

    /// Runs statements in the simple protocol; the last one's answer. Fails with problem_kind::sql
    /// and what PostgreSQL said, or problem_kind::connection.
    answer<reply> run(const std::string& sql);

    /// The first field of the first row; empty without one.
    answer<std::string> value(const std::string& sql);

    void on_tick(ticker call) { tick_ = std::move(call); }
    void on_notice(notice_receiver call);

    bool is_lost() const noexcept;
    bool in_transaction() const noexcept;
    int backend_pid() const noexcept;    ///< as the startup said
    int major_version() const noexcept;  ///< 15
    std::string database() const;
    const std::string& conninfo() const noexcept { return conninfo_; }

private:
    struct closer {
        void operator()(pg_conn* handle) const noexcept;
    };
    bool wait(std::chrono::steady_clock::time_point since, bool& cancelled);
    problem lost(const std::string& words);

    std::unique_ptr<pg_conn, closer> handle_;
    std::unique_ptr<notice_receiver> notices_;  // stays put for libpq
    ticker tick_;
    std::string conninfo_;
};

}  // namespace postern::migrate
