// What is known of a statement before it runs: its facts, resolved against the catalog and judged
// by the rules, for one database, role and search_path. Made once a shape and context, then looked
// up.

#pragma once

#include "base/clock.hpp"
#include "base/reason.hpp"
#include "cache/rules.hpp"
#include "catalog/footprint.hpp"
#include "catalog/snapshot.hpp"
#include "coherence/version_table.hpp"
#include "session/settings.hpp"
#include "sql/facts.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace postern::session {

/// Under what a statement is resolved. Interned by the plan cache, so that equal ones are one
/// pointer.
struct plan_context {
    std::uint32_t database = 0;
    std::string database_name;
    catalog::resolve_context names;
};
using plan_context_ptr = std::shared_ptr<const plan_context>;

/// Immutable but for its statistics.
struct plan {
    sql::analysis_ptr analysis;
    plan_context_ptr context;
    std::vector<catalog::footprint> footprints;  ///< one a statement

    /// reason::none or rule_observe: its answers may be kept. The plan's view only; the
    /// transaction, the parameters and the fences have their say later.
    reason why_not = reason::not_understood;
    std::string why_not_detail;
    std::uint32_t rule = 0;
    std::int64_t ttl_ns = 0;
    std::size_t answer_bytes_max = 0;

    std::vector<coherence::tag> read_tags;
    std::vector<coherence::tag> write_tags;
    bool writes_everything = false;
    bool changes_catalog = false;
    bool identity_matters = false;
    bool takes_locks = false;
    /// May take the identity out of its transaction.
    bool disturbs_identity = false;
    /// SAVEPOINT and its relatives.
    bool uses_savepoints = false;
    /// DEALLOCATE ALL, DISCARD ALL: the servers' own statements go as well.
    bool drops_statements = false;
    /// Says what kind of transaction this is to be.
    bool sets_transaction_modes = false;
    /// Changes settings in a way that can't be followed, if only for its transaction.
    bool hides_settings = false;
    bool refuses_transaction = false;
    /// Ends or begins a transaction by itself, or may do so unseen.
    bool controls_transaction = false;
    /// Rolled back as a whole when it fails alone outside a transaction: it may then lift its fence
    /// without invalidating.
    bool atomic_alone = false;
    /// Made without a catalog.
    bool blind = false;
    /// Reads or writes data: the identity has to be in its transaction before it runs.
    bool needs_identity = false;
    /// A plain read of known relations: shadow mode may run it again.
    bool may_be_sampled = false;

    std::uint64_t catalog_epoch = 0;
    settings_ptr settings;

    /// Shadow mode has taken a statement of this shape. Of the owner's thread.
    mutable bool was_sampled = false;

    std::string text;  ///< as it was first seen, shortened; for SHOW CACHE WHY
    mutable std::atomic<std::uint64_t> count{0};
    mutable std::atomic<reason> last{reason::none};
    mutable std::atomic<monotonic_ns> last_seen{0};

    bool writes() const noexcept { return writes_everything || !write_tags.empty(); }
    bool cacheable() const noexcept {
        return why_not == reason::none || why_not == reason::rule_observe;
    }
    const sql::statement_facts* single() const noexcept {
        const auto& statements = analysis->facts->statements;
        return analysis->facts->understood && statements.size() == 1 ? &statements.front()
                                                                     : nullptr;
    }
};
using plan_ptr = std::shared_ptr<const plan>;

/// Makes a plan. Pure. `catalog` may be null: then nothing is cacheable and every write is of
/// everything.
std::shared_ptr<plan> make_plan(
    const sql::analysis_ptr& analysis,
    const plan_context_ptr& context,
    const catalog::snapshot* catalog,
    const settings_ptr& settings);

/// A row of SHOW CACHE WHY.
struct why_row {
    std::string database;
    std::string role;
    std::string text;
    std::uint64_t fingerprint = 0;
    std::uint64_t count = 0;
    reason last = reason::none;
    std::string detail;
    monotonic_ns last_seen = 0;
};

/// One thread's plans. find() only on that thread; why() from any.
class plan_cache {
public:
    explicit plan_cache(std::size_t capacity = 8192)
        : capacity_{capacity} {}

    plan_context_ptr intern(plan_context context);

    /// The plan if it was made under this very epoch and configuration, else null.
    plan_ptr find(
        const sql::analysis& analysis,
        const plan_context_ptr& context,
        std::uint64_t catalog_epoch,
        const settings_ptr& settings) const;

    void keep(const plan_ptr& made);

    std::vector<why_row> why() const;

private:
    struct key {
        std::uint64_t analysis;
        const plan_context* context;
        friend bool operator==(const key&, const key&) = default;
    };
    struct key_hasher {
        std::size_t operator()(const key& value) const noexcept {
            return (value.analysis * 0x9E3779B97F4A7C15U) ^
                   reinterpret_cast<std::size_t>(value.context);
        }
    };
    std::size_t capacity_;
    std::vector<plan_context_ptr> contexts_;
    mutable std::mutex
        mutex_;  // held to change the map and by why(); find() is on the owner's thread
    std::unordered_map<key, plan_ptr, key_hasher> plans_;
};

}  // namespace postern::session
