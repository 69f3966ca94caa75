// Conversations with a session, word for word: a client and a PostgreSQL that say exactly what a
// test tells them to, and a real worker between them, run by hand on the test's own thread. What
// has not been said has not been said: the order of things is seen, not hoped for.
//
//     conversation talk;
//     auto client = talk.login();
//     client.says("Q select 1");
//     auto server = talk.server();
//     CHECK(server.hears() == "Q select 1");
//     server.says("T | D 1 | C SELECT 1 | Z I");
//     CHECK(client.hears() == "T | D 1 | C SELECT 1 | Z I");
//
// A message is its tag and what matters of its body; " | " stands between two. From clients:
// Q text, P name=text, B portal=statement, D S name, E portal, C S name, S, H, X. From servers:
// T (one text column), D value, C tag, Z status, E sqlstate text, N sqlstate text, S name=value,
// 1 2 3 n I s t, K, R.

#pragma once

#include "session/worker.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace postern::session {

class conversation {
public:
    /// One side's socket. Both calls first let the worker do all that it can do.
    class peer {
    public:
        peer(conversation& where, int fd, bool is_client);
        peer(peer&& other) noexcept;
        peer& operator=(peer&& other) = delete;
        ~peer();

        void says(std::string_view messages);
        /// The same, cut into pieces of `size` bytes, the worker running after each.
        void says_in_pieces(std::string_view messages, std::size_t size);
        /// All whole messages that have come since the last call; "" when nothing did, "(gone)" at
        /// the end of the stream.
        std::string hears();
        void hangs_up();
        /// A cancel request with this client's key arrives; the connection that brought it.
        peer cancels();

    private:
        friend class conversation;
        conversation& where_;
        int fd_;
        bool is_client_;
        std::string in_;
        std::int32_t key_ = 0;  // of a client's cancel requests
        std::string secret_;
    };

    /// Servers at most, and whether the cache is on (there is no catalog: nothing is cacheable).
    explicit conversation(std::uint32_t pool_size = 1);
    ~conversation();
    conversation(const conversation&) = delete;
    conversation& operator=(const conversation&) = delete;

    /// A client that has been told ReadyForQuery.
    peer login();
    /// The server that the pool has connected last and that no earlier call returned; it has logged
    /// Postern in by itself. REQUIRES: there is one.
    peer server();

    /// The pids that cancel requests have come for.
    const std::vector<std::int32_t>& cancelled() const noexcept { return cancelled_; }
    /// From now on PostgreSQL takes its time over cancel requests, until it is let.
    void hold_cancels() { holds_cancels_ = true; }
    void let_cancels();

    coherence::version_table& versions() { return shared_->versions; }
    shared_state& shared() { return *shared_; }
    pool::pool::numbers pool() const;
    void run();

private:
    friend class peer;
    int connect_client();
    void welcome(int fd);
    std::string next_from(int fd);

    std::string folder_;
    int listener_ = -1;
    int logged_in_ = -1;  // a server that server() has not returned yet
    std::int32_t next_pid_ = 100;
    std::vector<std::int32_t> cancelled_;
    bool holds_cancels_ = false;
    std::vector<int> held_cancels_;
    std::unique_ptr<shared_state> shared_;
};

}  // namespace postern::session
