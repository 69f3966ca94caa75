// auth_query: a user's verifier asked of the database itself, on a connection and thread of its
// own, with a pinned search_path and none of the client's parameters.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace postern::catalog {

/// Thread-safe.
class auth_lookup {
public:
    /// `query` takes the user's name as $1 and yields one row: name, verifier (or NULL), and
    /// if it likes when the password ends (a timestamp, or NULL: never).
    auth_lookup(std::string conninfo, std::string query);
    ~auth_lookup();  ///< stops and joins the thread; what is pending is answered with nullopt

    /// What the query says of `user`: its verifier; nullopt when there is no such user, no
    /// password, or the database does not answer. `done` runs on the lookup's thread.
    void find(std::string user, std::function<void(std::optional<std::string>)> done);

    /// Closes its connection, and answers nothing until resume(). Takes a moment: see
    /// is_connected().
    void pause();
    void resume();
    bool is_connected() const noexcept;
    /// The next question is asked on a new connection.
    void reconnect();

private:
    struct state;
    std::unique_ptr<state> state_;
};

}  // namespace postern::catalog
