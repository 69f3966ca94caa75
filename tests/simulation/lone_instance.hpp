// One Postern, its cache, a model of PostgreSQL and some sessions, interleaved at random.
//
// The model: a table's value is the count of its commits, so "older" is "less". A statement's
// snapshot is taken when the model executes it, some time after it was sent and before it is
// answered; a commit takes effect at such a moment as well. The cache is Postern's own (version
// table, near store, flights); the sessions follow the two orders of DESIGN §5, or break one rule
// of them.

#pragma once

#include "cache/flight.hpp"
#include "cache/near_store.hpp"
#include "coherence/version_table.hpp"
#include "scheduler.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace postern::simulation {

/// The rule that a run breaks, to show that the oracle notices.
enum class broken {
    nothing,
    captured_after_send,         ///< versions are those after the snapshot, not before the send
    fill_not_dropped,            ///< an answer that raced is stored under the versions of now
    lifted_before_bump,          ///< the fence goes first, the versions move a little later
    invalidated_before_only,     ///< bumped before the write is sent and never after
    written_without_fence,       ///< bumped after the answer, but nothing stands meanwhile
    fenced_after_send,           ///< the fence is raised once the commit is on its way
    followed_without_asking,     ///< a follower accepts whatever lands
    hit_in_a_dirty_transaction,  ///< a transaction that has written is served from the cache
    filled_from_a_dirty_transaction,
    rollback_assumed_when_lost,  ///< a server lost during COMMIT counts as rolled back
    lifted_while_backend_lives,  ///< a cut link counts as the end of the backend behind it
    hit_without_asking,          ///< an entry is served without a look at the versions
};

inline constexpr std::size_t table_count = 3;

/// A value a table; `absent` where the table was not read, `own` for the reader's own uncommitted
/// one.
using table_values = std::array<std::uint32_t, table_count>;
inline constexpr std::uint32_t absent = 0xffff'ffff;
inline constexpr std::uint32_t own = 0xffff'fffe;

/// A set of tables, a bit each.
using table_set = unsigned;
inline constexpr table_set all_tables = (1U << table_count) - 1;
constexpr bool has(table_set set, std::size_t table) {
    return (set >> table & 1U) != 0;
}

/// What a run did, so that a test can tell that it went everywhere.
struct run_counts {
    std::uint64_t reads = 0;
    std::uint64_t hits = 0;
    std::uint64_t fills = 0;
    std::uint64_t fills_dropped = 0;
    std::uint64_t follows = 0;
    std::uint64_t follows_refused = 0;
    std::uint64_t fenced = 0;
    std::uint64_t commits = 0;
    std::uint64_t rollbacks = 0;
    std::uint64_t servers_lost = 0;
    std::uint64_t links_cut = 0;
    void add(const run_counts& other);
};

class lone_instance {
public:
    /// `versions` may have served earlier runs: what they left behind is only newer numbers.
    lone_instance(std::uint64_t seed, broken rule, coherence::version_table& versions);

    /// Runs all sessions to their end. The first violation, or nothing.
    std::optional<std::string> run();
    const run_counts& counts() const noexcept { return counts_; }

private:
    struct session {
        std::size_t number;
        table_set written = 0;  // by the open transaction, uncommitted
        bool in_transaction = false;
    };
    /// What the end of a transaction came to, as the model knows it.
    enum class fate { committed, failed, backend_died_before, backend_died_after, link_cut };

    task live(std::size_t number);
    task read(session& who, table_set tables);
    void disturb();
    task read_as_leader(
        table_set tables,
        coherence::dependencies captured,
        cache::flight_table::ticket seat,
        table_values& answer);
    task ask_server(const session& who, table_set tables, table_values& answer);
    task write(session& who);
    task end_transaction(session& who, table_set written);
    task settle(coherence::fence fence, table_set written, fate outcome);
    task backend_lives_on(table_set written, std::shared_ptr<bool> gone);
    task wait_for_backend(coherence::fence fence, std::shared_ptr<bool> gone);

    table_values commit(table_set written);
    void fill(
        table_set tables,
        const table_values& answer,
        const coherence::dependencies& under,
        cache::flight_table::ticket& seat);
    std::optional<table_values> look_up(table_set tables);
    void learn(const table_values& values);
    void check(const session& who, const table_values& answer, const table_values& floor);
    void violation(const session& who, std::string what);

    scheduler scheduler_;
    const broken rule_;
    table_values database_{};  // the values of the last commit
    table_values known_{};     // the newest that anybody was told or has seen
    coherence::version_table& versions_;
    cache::near_store near_;
    cache::flight_table flights_;
    std::optional<std::string> violation_;
    run_counts counts_;
};

}  // namespace postern::simulation
