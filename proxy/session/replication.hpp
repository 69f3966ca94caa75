// Replication connections: what a client asks for, and what passes between it and the server that
// is its own for as long as it lasts.
// https://www.postgresql.org/docs/15/protocol-replication.html

#pragma once

#include "coherence/version_table.hpp"
#include "pool/connector.hpp"
#include "pool/pool.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace postern::session {

/// The startup parameter `replication`.
enum class replication_mode : std::uint8_t {
    none,
    physical,  ///< of the whole cluster: in no database
    logical,   ///< in a database, where SQL can be run as well
};

/// As PostgreSQL reads it: "database", or any spelling of a truth value. Nothing: it is neither.
std::optional<replication_mode> parse_replication(std::string_view value);

/// Where the two streams of a replication connection stand. Messages are only looked at by their
/// headers, and passed on in the pieces in which they come. No I/O.
class replication_stream {
public:
    /// Looks through what the client has sent; to be told before it is passed on. Returns how much
    /// of it may be: the rest, less than a hundred bytes, is shown again with more behind it.
    std::size_t from_client(std::string_view bytes);
    /// The same for the server's.
    std::size_t from_server(std::string_view bytes);

    /// One of them is not the protocol; nothing of it may be passed on any more.
    bool is_broken() const noexcept { return broken_; }
    /// The client has said goodbye.
    bool has_ended() const noexcept { return ended_; }
    /// Something may be writing: the client has sent SQL, or what is not known, and ReadyForQuery
    /// has not come.
    bool may_write() const noexcept { return last_sql_ > answered_; }
    /// Something was asked, and ReadyForQuery has not come.
    bool is_asked() const noexcept { return asked_ > answered_; }
    /// Both send CopyData, without an end of its own.
    bool is_streaming() const noexcept { return streaming_; }
    /// Bytes of a message to the client that are still to come.
    std::size_t rest_to_client() const noexcept { return server_rest_; }
    /// The last that the server has said is an error: it may be about to close.
    bool ends_in_error() const noexcept { return last_is_error_; }

private:
    void on_client_message(char tag, bool is_command);
    void on_server_message(char tag);

    std::size_t client_rest_ = 0;
    std::size_t server_rest_ = 0;
    // Messages that ReadyForQuery answers, by their number.
    std::uint64_t asked_ = 0;
    std::uint64_t answered_ = 0;
    std::uint64_t last_sql_ = 0;
    bool broken_ = false;
    bool ended_ = false;
    bool streaming_ = false;
    bool last_is_error_ = false;
};

/// Whether a Query's text is a command of the replication protocol, none of which changes what a
/// table holds. `text` is its beginning, or all of it where `whole` says so; in doubt it is SQL.
bool is_replication_command(std::string_view text, bool whole);

/// A client's replication connection, from the moment when it has a place for its server.
struct replication {
    explicit replication(pool::pool_ptr of)
        : place{std::move(of)} {}
    ~replication() {
        if (place != nullptr) place->lost();
    }
    replication(const replication&) = delete;
    replication& operator=(const replication&) = delete;

    /// Where the place is given back; null: it is the server's.
    pool::pool_ptr place;
    std::shared_ptr<pool::connector> login;
    replication_stream stream;
    coherence::fence fence;  ///< stands while it may write
};

}  // namespace postern::session
