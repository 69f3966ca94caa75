// One connection to PostgreSQL, logged in: its socket, what it wears, what is prepared on it.
//
//   connecting ──ok──▶ idle (in its pool) ⇄ lent (owned by a session) ──▶ closed
//
// A server is an owned object that moves between those places; nobody else points to it.

#pragma once

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "pool/poller.hpp"
#include "pool/session_settings.hpp"

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace postern::pool {

/// Parameters that PostgreSQL reports by ParameterStatus, in the order of their first report.
using reported_parameters = std::vector<std::pair<std::string, std::string>>;

/// Sets or appends one of them.
void report(reported_parameters& into, std::string_view name, std::string_view value);

/// Whether texts in this client_encoding reach PostgreSQL's lexer as they are.
bool needs_no_conversion(std::string_view client_encoding);

/// Whether an ASCII byte is an ASCII character wherever it stands; not so in encodings that only
/// clients may have. https://www.postgresql.org/docs/15/multibyte.html
bool is_superset_of_ascii(std::string_view client_encoding);

/// What a server-side prepared statement is. The hash finds it; text, parameter types and context,
/// compared whole, prove it: nobody shall run another's statement by a collision that he crafted.
struct statement_key {
    hash128 hash;
    std::shared_ptr<const std::string> statement;  ///< text and parameter types, unambiguous
    std::shared_ptr<const std::string> context;    ///< what else decides what it means
    friend bool operator==(const statement_key& left, const statement_key& right) noexcept {
        const auto equal = [](const auto& a, const auto& b) {
            return a == b || *a == *b;
        };
        return left.hash == right.hash && equal(left.statement, right.statement) &&
               equal(left.context, right.context);
    }
};

/// The prepared statements of one server: by what was prepared, least recently used first to go.
class prepared_lru {
public:
    explicit prepared_lru(std::size_t capacity)
        : capacity_{capacity == 0 ? 1 : capacity} {}  // one is needed to run anything by name

    /// The server-side name of `what`, moved to the front; empty when it isn't there.
    std::string_view find(const statement_key& what);

    /// A fresh name for `what`. When the bound is reached the oldest goes: its name is appended to
    /// `evicted` and has to be closed on the server. Names are never used twice on one server.
    /// REQUIRES: find() did not find it.
    std::string_view add(const statement_key& what, std::vector<std::string>& evicted);

    /// Forgets one, since its Parse failed.
    void remove(const statement_key& what);
    void clear();
    std::size_t size() const noexcept { return order_.size(); }

    /// What all names begin with; a client's own statement name that begins so is translated as
    /// any.
    static constexpr std::string_view prefix = "postern_";

private:
    struct one {
        statement_key what;
        std::string name;
    };
    void evict(std::list<one>::iterator gone, std::vector<std::string>& evicted);

    std::size_t capacity_;
    std::uint64_t next_ = 1;
    std::list<one> order_;  // most recently used first
    std::unordered_map<hash128, std::list<one>::iterator, hash128_hasher> index_;
};

/// Everything about one server. Owned by its pool while idle, by a session while lent.
struct server {
    server(poller& where, int fd, socket_handler& handler, std::size_t prepared_max)
        : link{where, fd, handler}
        , prepared{prepared_max} {}

    /// Held by the servers of one generation alone, and let go when their connections are closed.
    std::shared_ptr<const std::uint64_t> cohort;

    channel link;
    /// Bytes received but not yet a whole message.
    std::string inbox;
    /// Bytes that the socket did not take at once.
    std::string outbox;
    /// Of its beginning: sent since, and not yet worth moving the rest for.
    std::size_t outbox_sent = 0;
    std::size_t unsent() const noexcept { return outbox.size() - outbox_sent; }

    std::int32_t pid = 0;
    std::string secret;
    monotonic_ns connected_at = 0;
    monotonic_ns idle_since = 0;
    /// Moves when a reload or RECONNECT makes older servers unwanted.
    std::uint64_t generation = 0;

    /// What the server's settings are now; null: unknown, to be closed rather than lent.
    settings_map_ptr worn = no_settings();
    reported_parameters parameters;
    /// What of it decides how a text is read: standard_conforming_strings is on, client_encoding
    /// needs no conversion.
    bool strings_conform = true;
    bool encoding_is_utf8 = true;
    bool encoding_is_superset = true;
    /// A ParameterStatus has come.
    void note(std::string_view name, std::string_view value);
    prepared_lru prepared;
    /// Which statement the server's unnamed one is; empty: none.
    std::optional<statement_key> unnamed;
    /// The set_config statement that carries the identity is prepared here.
    bool identity_prepared = false;
    /// Cancel requests under way to this backend: it is not lent on before they have arrived.
    std::shared_ptr<std::atomic<int>> cancels = std::make_shared<std::atomic<int>>(0);
};

using server_ptr = std::unique_ptr<server>;

}  // namespace postern::pool
