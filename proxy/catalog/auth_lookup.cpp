#include "catalog/auth_lookup.hpp"

#include "base/log.hpp"
#include "base/timestamp.hpp"

#include <libpq-fe.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace postern::catalog {

struct auth_lookup::state {
    struct question {
        std::string user;
        std::function<void(std::optional<std::string>)> done;
    };

    std::string conninfo;
    std::string query;
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<question> questions;  // guarded by mutex
    bool stopping = false;           // guarded by mutex
    bool paused = false;             // guarded by mutex
    bool closing = false;            // guarded by mutex: the connection is not to be used any more
    std::atomic<bool> connected{false};  // or about to be
    PGconn* connection = nullptr;        // the thread's own
    std::thread thread;

    bool connect() {
        if (connection != nullptr && PQstatus(connection) == CONNECTION_OK) return true;
        PQfinish(connection);
        connection = PQconnectdb(conninfo.c_str());
        if (PQstatus(connection) != CONNECTION_OK) {
            log::warning("auth_query: {}", PQerrorMessage(connection));
            return false;
        }
        PQclear(PQexec(
            connection,
            "SET search_path = pg_catalog; SET statement_timeout = '5s'; SET datestyle = 'ISO'; "
            "SET timezone = 'UTC'"));
        return true;
    }

    /// The third column, where there is one, is when the password ends; NULL: never.
    static bool is_valid_still(const PGresult* answer, const std::string& user) {
        if (PQnfields(answer) < 3 || PQgetisnull(answer, 0, 2) != 0) return true;
        const auto until = parse_timestamp(PQgetvalue(answer, 0, 2));
        if (until && !has_passed(*until)) return true;
        if (until) {
            log::info("auth_query: user \"{}\" has an expired password", user);
        } else {
            log::warning(
                "auth_query: the third column is no timestamp, so \"{}\" is refused",
                user);
        }
        return false;
    }

    std::optional<std::string> ask(const std::string& user) {
        // A connection that died while idle is only noticed by using it: one more try.
        for (int attempt = 0; attempt < 2; ++attempt) {
            if (!connect()) return std::nullopt;
            const char* values[] = {user.c_str()};
            PGresult* answer =
                PQexecParams(connection, query.c_str(), 1, nullptr, values, nullptr, nullptr, 0);
            std::optional<std::string> found;
            const bool ok = PQresultStatus(answer) == PGRES_TUPLES_OK;
            if (ok && PQntuples(answer) == 1 && PQnfields(answer) >= 2 &&
                PQgetisnull(answer, 0, 1) == 0 && is_valid_still(answer, user)) {
                found = PQgetvalue(answer, 0, 1);
            }
            if (!ok) log::warning("auth_query: {}", PQerrorMessage(connection));
            PQclear(answer);
            if (ok || PQstatus(connection) == CONNECTION_OK) return found;
        }
        return std::nullopt;
    }

    void run() {
        for (;;) {
            std::unique_lock lock{mutex};
            wake.wait(lock, [&] { return stopping || closing || (!paused && !questions.empty()); });
            if (std::exchange(closing, false)) {
                PQfinish(std::exchange(connection, nullptr));
                connected = false;
                continue;
            }
            if (questions.empty()) break;
            auto next = std::move(questions.front());
            questions.pop_front();
            const bool answer = !stopping;
            connected = true;
            lock.unlock();
            next.done(answer ? ask(next.user) : std::nullopt);
        }
        PQfinish(connection);
    }
};

auth_lookup::auth_lookup(std::string conninfo, std::string query)
    : state_{std::make_unique<state>()} {
    state_->conninfo = std::move(conninfo);
    state_->query = std::move(query);
    state_->thread = std::thread{[own = state_.get()] {
        own->run();
    }};
}

auth_lookup::~auth_lookup() {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->stopping = true;
    }
    state_->wake.notify_all();
    state_->thread.join();
}

void auth_lookup::pause() {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->paused = state_->closing = true;
    }
    state_->wake.notify_all();
}

void auth_lookup::resume() {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->paused = false;
    }
    state_->wake.notify_all();
}

bool auth_lookup::is_connected() const noexcept {
    return state_->connected;
}

void auth_lookup::reconnect() {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->closing = true;
    }
    state_->wake.notify_all();
}

void auth_lookup::find(std::string user, std::function<void(std::optional<std::string>)> done) {
    {
        const std::scoped_lock lock{state_->mutex};
        state_->questions.push_back({std::move(user), std::move(done)});
    }
    state_->wake.notify_one();
}

}  // namespace postern::catalog
