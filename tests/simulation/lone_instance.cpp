#include "lone_instance.hpp"

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>

namespace postern::simulation {

namespace {

constexpr std::size_t session_count = 5;
constexpr std::size_t statements_a_session = 14;

std::vector<coherence::tag> tags_of(table_set tables) {
    std::vector<coherence::tag> tags;
    for (std::uint32_t table = 0; table < table_count; ++table) {
        if (has(tables, table)) tags.push_back(coherence::table_tag(1, table));
    }
    return tags;
}

std::string material_of(table_set tables) {
    return "tables " + std::to_string(tables);
}

std::string to_rows(const table_values& values) {
    return {reinterpret_cast<const char*>(values.data()), sizeof(values)};
}

table_values from_rows(const std::string& rows) {
    table_values values{};
    std::memcpy(values.data(), rows.data(), sizeof(values));
    return values;
}

}  // namespace

void run_counts::add(const run_counts& other) {
    reads += other.reads;
    hits += other.hits;
    fills += other.fills;
    fills_dropped += other.fills_dropped;
    follows += other.follows;
    follows_refused += other.follows_refused;
    fenced += other.fenced;
    commits += other.commits;
    rollbacks += other.rollbacks;
    servers_lost += other.servers_lost;
    links_cut += other.links_cut;
}

lone_instance::lone_instance(std::uint64_t seed, broken rule, coherence::version_table& versions)
    : scheduler_{seed}
    , rule_{rule}
    , versions_{versions}
    , near_{{.bytes_max = 64 << 10, .shards = 1}} {}

std::optional<std::string> lone_instance::run() {
    for (std::size_t i = 0; i < session_count; ++i)
        scheduler_.spawn(live(i));
    if (!scheduler_.run()) return "a session waits for ever";
    if (!violation_ && versions_.fences_standing() != 0) return "a fence was left standing";
    return violation_;
}

/// A client that reads, writes, opens and ends transactions as chance has it.
task lone_instance::live(std::size_t number) {
    session who{.number = number};
    for (std::size_t i = 0; i < statements_a_session; ++i) {
        co_await scheduler_.step();
        if (scheduler_.one_in(24)) disturb();
        const auto choice = scheduler_.below(10);
        if (choice < 6) {
            // Mostly the same few keys, so that there are hits and flights to join.
            co_await read(who, scheduler_.one_in(3) ? all_tables : 1U << scheduler_.below(2));
        } else if (choice < 8) {
            co_await write(who);
        } else if (!who.in_transaction) {
            who.in_transaction = true;  // BEGIN is held back: nothing is sent
        } else {
            co_await end_transaction(who, std::exchange(who.written, 0));
            who.in_transaction = false;
        }
    }
    if (who.in_transaction) co_await end_transaction(who, who.written);
}

/// What may happen at any time and must never do harm.
void lone_instance::disturb() {
    switch (scheduler_.below(3)) {
    case 0: near_.clear(); break;
    case 1: versions_.bump(tags_of(1U << scheduler_.below(table_count))); break;
    default: versions_.bump_everything();
    }
}

// A read, in the order of DESIGN §5.

task lone_instance::read(session& who, table_set tables) {
    ++counts_.reads;
    const table_values floor = known_;
    table_values answer{};
    coherence::dependencies arrival;
    const bool dirty = who.written != 0;
    const bool may_hit = !dirty || rule_ == broken::hit_in_a_dirty_transaction;
    const bool captured = versions_.capture(tags_of(tables), arrival);
    if (!captured) ++counts_.fenced;
    if (captured && may_hit) {
        if (const auto hit = look_up(tables)) {
            ++counts_.hits;
            co_await scheduler_.step();
            check(who, *hit, floor);
            co_return;
        }
    }
    const bool may_fill = captured && (!dirty || rule_ == broken::filled_from_a_dirty_transaction);
    if (!may_fill) {
        co_await ask_server(who, tables, answer);
        check(who, answer, floor);
        co_return;
    }
    if (dirty) {
        co_await ask_server(who, tables, answer);
        cache::flight_table::ticket none;
        fill(tables, answer, arrival, none);
        check(who, answer, floor);
        co_return;
    }

    // Waits for a landing: runnable again once it came.
    struct landing_pad {
        scheduler& on;
        bool landed = false;
        cache::entry_ptr got{};
        std::coroutine_handle<> waiting = nullptr;
        bool await_ready() const noexcept { return landed; }
        void await_suspend(std::coroutine_handle<> self) noexcept { waiting = self; }
        void await_resume() const noexcept {}
        void land(cache::entry_ptr entry) {
            got = std::move(entry);
            landed = true;
            if (waiting) on.wake(waiting);
        }
    };
    landing_pad pad{scheduler_};
    const auto material = material_of(tables);
    auto seat = flights_.join({material, hash_bytes(material)}, [&pad](cache::entry_ptr entry) {
        pad.land(std::move(entry));
    });
    if (seat.leads()) {
        co_await read_as_leader(tables, arrival, std::move(seat), answer);
        check(who, answer, floor);
        co_return;
    }
    co_await pad;
    const bool accepts = pad.got != nullptr && (pad.got->depends_on == arrival ||
                                                rule_ == broken::followed_without_asking);
    if (accepts) {
        ++counts_.follows;
        answer = from_rows(pad.got->rows);
    } else {
        ++counts_.follows_refused;
        co_await ask_server(who, tables, answer);
    }
    check(who, answer, floor);
}

std::optional<table_values> lone_instance::look_up(table_set tables) {
    const auto material = material_of(tables);
    const auto found = near_.find({material, hash_bytes(material)}, 0);
    if (found == nullptr) return std::nullopt;
    if (!versions_.current(found->depends_on) && rule_ != broken::hit_without_asking) {
        near_.erase(found);
        return std::nullopt;
    }
    return from_rows(found->rows);
}

task lone_instance::read_as_leader(
    table_set tables,
    coherence::dependencies captured,
    cache::flight_table::ticket seat,
    table_values& answer) {
    const session nobody{.number = session_count};
    co_await ask_server(nobody, tables, answer);
    if (scheduler_.one_in(16)) {  // its server was lost: no answer, and null to whoever waits
        answer.fill(absent);
        co_return;
    }
    if (rule_ == broken::captured_after_send) {
        if (!versions_.capture(tags_of(tables), captured)) co_return;
    }
    fill(tables, answer, captured, seat);
}

void lone_instance::fill(
    table_set tables,
    const table_values& answer,
    const coherence::dependencies& under,
    cache::flight_table::ticket& seat) {
    auto made = std::make_shared<cache::entry>();
    made->material = material_of(tables);
    made->hash = hash_bytes(made->material);
    made->rows = to_rows(answer);
    made->depends_on = under;
    made->expires_at = INT64_MAX;
    if (!versions_.current(under)) {
        ++counts_.fills_dropped;
        if (rule_ == broken::followed_without_asking && seat) seat.land(made);
        if (rule_ != broken::fill_not_dropped) return;  // the seat's end lands null
        if (!versions_.capture(tags_of(tables), made->depends_on)) return;
    }
    ++counts_.fills;
    near_.put(made);
    if (seat) seat.land(made);
}

/// Sent, executed some time later, answered some time after that.
task lone_instance::ask_server(const session& who, table_set tables, table_values& answer) {
    co_await scheduler_.step();
    for (std::size_t table = 0; table < table_count; ++table) {
        if (!has(tables, table))
            answer[table] = absent;
        else
            answer[table] = has(who.written, table) ? own : database_[table];
    }
    co_await scheduler_.step();
}

// A write, in the order of DESIGN §5.

task lone_instance::write(session& who) {
    const table_set tables = scheduler_.one_in(4) ? all_tables
                                                  : 1U << scheduler_.below(table_count);
    if (who.in_transaction) {
        who.written |= tables;
        co_await scheduler_.step();
        co_return;
    }
    co_await end_transaction(who, tables);
}

/// An autocommit write, COMMIT or ROLLBACK: what may make `written` visible to all.
task lone_instance::end_transaction(session& who, table_set written) {
    if (who.in_transaction && scheduler_.one_in(4)) {
        ++counts_.rollbacks;
        co_await scheduler_.step();
        co_return;  // ROLLBACK can't commit: no fence
    }
    constexpr std::array fates{
        fate::committed,
        fate::committed,
        fate::committed,
        fate::committed,
        fate::committed,
        fate::committed,
        fate::failed,
        fate::failed,
        fate::backend_died_before,
        fate::backend_died_after,
        fate::link_cut};
    const auto outcome = fates[scheduler_.below(fates.size())];
    const auto raise = [&] {
        return written == all_tables ? versions_.raise_everything()
                                     : versions_.raise(tags_of(written));
    };
    coherence::fence fence;
    if (rule_ == broken::invalidated_before_only) {
        versions_.bump(tags_of(written));
    } else if (rule_ != broken::written_without_fence && rule_ != broken::fenced_after_send) {
        fence = raise();
    }
    co_await scheduler_.step();  // on its way

    table_values committed;
    committed.fill(0);
    if (outcome == fate::committed || outcome == fate::backend_died_after)
        committed = commit(written);
    if (rule_ == broken::fenced_after_send) {
        co_await scheduler_.step();
        fence = raise();
    }
    co_await scheduler_.step();  // the answer, or the loss, on its way back

    co_await settle(std::move(fence), written, outcome);
    co_await scheduler_.step();
    // Only an answer acknowledges; who lost the server knows nothing.
    if (outcome == fate::committed) learn(committed);
}

task lone_instance::settle(coherence::fence fence, table_set written, fate outcome) {
    const auto tags = tags_of(written);
    switch (outcome) {
    case fate::failed:
        ++counts_.rollbacks;
        fence.roll_back();
        co_return;
    case fate::link_cut: {
        // The backend behind the link may still commit: the fence stands until it is gone.
        ++counts_.links_cut;
        const auto gone = std::make_shared<bool>(false);
        scheduler_.spawn(backend_lives_on(written, gone));
        if (rule_ != broken::lifted_while_backend_lives) {
            scheduler_.spawn(wait_for_backend(std::move(fence), gone));
        }
        co_return;
    }
    case fate::backend_died_before:
    case fate::backend_died_after:
        ++counts_.servers_lost;
        if (rule_ == broken::rollback_assumed_when_lost) {
            fence.roll_back();
            co_return;
        }
        break;
    case fate::committed: break;
    }
    if (rule_ == broken::invalidated_before_only) co_return;
    if (rule_ == broken::lifted_before_bump) {
        fence.roll_back();
        co_await scheduler_.step();
        versions_.bump(tags);
    } else if (rule_ == broken::written_without_fence) {
        versions_.bump(tags);
    } else {
        fence.commit();
    }
}

task lone_instance::backend_lives_on(table_set written, std::shared_ptr<bool> gone) {
    co_await scheduler_.step();
    if (!scheduler_.one_in(3)) commit(written);
    co_await scheduler_.step();
    *gone = true;
}

task lone_instance::wait_for_backend(coherence::fence fence, std::shared_ptr<bool> gone) {
    while (!*gone)
        co_await scheduler_.step();
    fence.commit();
}

table_values lone_instance::commit(table_set written) {
    ++counts_.commits;
    table_values values{};
    for (std::size_t table = 0; table < table_count; ++table) {
        if (has(written, table)) values[table] = ++database_[table];
    }
    return values;
}

// The oracle.

void lone_instance::learn(const table_values& values) {
    for (std::size_t table = 0; table < table_count; ++table) {
        if (values[table] < own) known_[table] = std::max(known_[table], values[table]);
    }
}

void lone_instance::check(
    const session& who,
    const table_values& answer,
    const table_values& floor) {
    for (std::size_t table = 0; table < table_count; ++table) {
        if (answer[table] == absent) continue;
        const auto where = " of table " + std::to_string(table);
        if (has(who.written, table) != (answer[table] == own)) {
            violation(
                who,
                answer[table] == own ? "read an uncommitted value" + where
                                     : "does not see its own write" + where);
        } else if (answer[table] < floor[table]) {
            violation(
                who,
                "read value " + std::to_string(answer[table]) + where + " when " +
                    std::to_string(floor[table]) + " had been acknowledged or seen before");
        }
    }
    learn(answer);
}

void lone_instance::violation(const session& who, std::string what) {
    if (!violation_) violation_ = "session " + std::to_string(who.number) + ' ' + std::move(what);
}

}  // namespace postern::simulation
