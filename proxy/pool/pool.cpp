#include "pool/pool.hpp"

#include "base/assert.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"

#include <algorithm>

namespace postern::pool {

namespace {

/// A server is looked at before it is lent unless it has been idle for less than this: what the
/// last round of events has brought was heard before that of clients.
constexpr std::int64_t trusted_for_ns = 1'000'000;

/// Whether an idle server has said nothing: neither an end of file nor anything else.
bool is_silent(server& one) {
    char byte = 0;
    return one.link.receive(&byte, 1).state == channel::io_state::would_block;
}

}  // namespace

/// One thread's idle servers. While a server lies here it is watched: PostgreSQL has nothing to say
/// to an idle session, so whatever arrives (an end of file, FATAL 57P01, a reload's
/// ParameterStatus) ends it before it could be taken for the answer to the next client's statement.
struct pool::idle_shelf {
    struct watch final : socket_handler {
        watch(pool& pool_of_all, std::size_t thread_number)
            : owner{pool_of_all}
            , thread{thread_number} {}
        void on_readable() override { owner.sweep(thread); }
        void on_writable() override {}
        pool& owner;
        std::size_t thread;
    };

    idle_shelf(pool& owner, std::size_t thread)
        : guard{owner, thread} {}

    watch guard;
    std::vector<server_ptr> servers;  // the last one was used last
    std::atomic<std::size_t> count{0};
};

pool::pool(
    std::string database,
    connect_request how,
    std::vector<poller*> pollers,
    std::vector<std::shared_ptr<allowance>> allowances)
    : database_{std::move(database)}
    , how_{std::move(how)}
    , pollers_{std::move(pollers)}
    , allowances_{std::move(allowances)} {
    for (std::size_t thread = 0; thread < pollers_.size(); ++thread) {
        shelves_.push_back(std::make_unique<idle_shelf>(*this, thread));
    }
}

pool::~pool() = default;

bool pool::wanted_back(const server& one) const {
    return is_wanted(one, now());
}

bool pool::is_wanted(const server& one, monotonic_ns at) const {
    const auto lifetime_ns = std::chrono::nanoseconds{how_.limits.lifetime}.count();
    return one.link.is_open() && !is_outdated(one) && !is_paused() &&
           at - one.connected_at < lifetime_ns;
}

/// It may have died since the last round of events; one that answered a moment ago is not asked.
bool pool::may_be_lent(server& one) const {
    const auto at = now();
    if (!is_wanted(one, at)) return false;
    return at - one.idle_since < trusted_for_ns || is_silent(one);
}

server_ptr pool::checkout(std::size_t thread, const settings_map_ptr& wanted) {
    auto& shelf = *shelves_[thread];
    while (waiting_.load() == 0 && !shelf.servers.empty()) {
        auto chosen = std::prev(shelf.servers.end());
        for (auto i = shelf.servers.rbegin(); i != shelf.servers.rend(); ++i) {
            if ((*i)->worn == wanted || same((*i)->worn, wanted)) {
                chosen = std::prev(i.base());
                break;
            }
        }
        auto lent = std::move(*chosen);
        shelf.servers.erase(chosen);
        shelf.count.store(shelf.servers.size());
        if (may_be_lent(*lent)) return lent;
        lent.reset();
        lost();
    }
    return nullptr;
}

void pool::wait(std::size_t thread, std::function<void(grant)> when_granted, wait_ticket& ticket) {
    queue(thread, {0, thread, std::move(when_granted), now()}, ticket);
}

void pool::wait_for_place(
    std::size_t thread,
    std::function<void(grant)> when_granted,
    wait_ticket& ticket) {
    queue(thread, {0, thread, std::move(when_granted), now(), true}, ticket);
}

void pool::queue(std::size_t thread, waiter one, wait_ticket& ticket) {
    {
        const std::scoped_lock lock{mutex_};
        ticket.number = one.number = next_number_++;
        waiters_.push_back(std::move(one));
        waiting_.store(waiters_.size());
    }
    maybe_connect(thread);
    ask_others(thread);
}

connect_request pool::login_request() const {
    auto request = how_;
    const std::scoped_lock lock{mutex_};
    request.who.keys = keys_;
    return request;
}

void pool::enrol(server& one) const {
    const std::scoped_lock lock{mutex_};
    one.generation = generation_.load();
    one.cohort = cohort_;
}

void pool::cancel(wait_ticket& ticket) {
    if (ticket.number == 0) return;
    const std::scoped_lock lock{mutex_};
    std::erase_if(waiters_, [&](const waiter& one) { return one.number == ticket.number; });
    waiting_.store(waiters_.size());
    ticket.number = 0;
}

std::optional<pool::waiter> pool::next_waiter() {
    const std::scoped_lock lock{mutex_};
    if (waiters_.empty()) return std::nullopt;
    return take_first_waiter();
}

pool::waiter pool::take_first_waiter() {
    auto first = std::move(waiters_.front());
    waiters_.pop_front();
    waiting_.store(waiters_.size());
    return first;
}

void pool::set_keys(auth::scram_keys_ptr keys) {
    const std::scoped_lock lock{mutex_};
    keys_.swap(keys);  // the former ones are wiped outside the lock
}

/// The reserve is open while somebody has waited for reserve_timeout.
std::uint32_t pool::size_now() const {
    const auto& limits = how_.limits;
    if (limits.reserve_size == 0 || waiters_.empty()) return limits.size;
    const auto patience = std::chrono::nanoseconds{limits.reserve_timeout}.count();
    const bool waited = now() - waiters_.front().since >= patience;
    return limits.size + (waited ? limits.reserve_size : 0);
}

/// A place in every allowance, or in none.
bool pool::take_place() {
    for (std::size_t i = 0; i < allowances_.size(); ++i) {
        if (allowances_[i]->take()) continue;
        for (auto taken = i; taken > 0; --taken)
            allowances_[taken - 1]->give_back();
        allowances_[i]->make_room(this);
        return false;
    }
    return true;
}

void pool::give_place_back() {
    for (const auto& one : allowances_)
        one->give_back();
}

void pool::maybe_connect(std::size_t thread) {
    std::uint64_t number = 0;
    {
        const std::scoped_lock lock{mutex_};
        if (is_paused() || total_ >= size_now() || connecting_ >= waiters_.size()) return;
        ++total_;
        ++connecting_;
        number = next_number_++;
    }
    if (!take_place()) {
        const std::scoped_lock lock{mutex_};
        --total_;
        --connecting_;
        return;
    }
    if (grant_place()) return maybe_connect(thread);
    begin_login(thread, number);
}

/// Gives the place just taken to the first in the queue, if a place is what is waited for.
bool pool::grant_place() {
    std::optional<waiter> first;
    {
        const std::scoped_lock lock{mutex_};
        if (waiters_.empty() || !waiters_.front().wants_place) return false;
        --connecting_;
        first = take_first_waiter();
    }
    metrics::observe(metrics::histogram::pool_wait, now() - first->since);
    pollers_[first->thread]->post([callback = std::move(first->when_granted)] { callback({}); });
    return true;
}

void pool::connect_ahead(std::size_t thread) {
    const auto wanted = std::min(how_.limits.min_size, how_.limits.size);
    for (;;) {
        std::uint64_t number = 0;
        {
            const std::scoped_lock lock{mutex_};
            if (is_paused() || total_ >= wanted || now() < ahead_not_before_) return;
            ++total_;
            ++connecting_;
            number = next_number_++;
        }
        // Nobody waits: no other pool's server has to go for it.
        const bool free = std::ranges::none_of(allowances_, &allowance::wanted);
        if (!free || !take_place()) {
            const std::scoped_lock lock{mutex_};
            --total_;
            --connecting_;
            return;
        }
        begin_login(thread, number);
    }
}

void pool::look_at_queue(std::size_t thread) {
    if (waiting_.load() != 0) maybe_connect(thread);
}

void pool::look_for_room() {
    std::size_t thread = 0;
    {
        const std::scoped_lock lock{mutex_};
        if (waiters_.empty()) return;
        thread = waiters_.front().thread;
    }
    pollers_[thread]->post([weak = weak_from_this(), thread] {
        if (const auto self = weak.lock()) self->maybe_connect(thread);
    });
}

bool pool::close_one_idle() {
    if (waiting_.load() != 0) return false;
    for (std::size_t thread = 0; thread < shelves_.size(); ++thread) {
        if (shelves_[thread]->count.load() == 0) continue;
        pollers_[thread]->post([weak = weak_from_this(), thread] {
            const auto self = weak.lock();
            if (self == nullptr) return;
            auto& shelf = *self->shelves_[thread];
            if (shelf.servers.empty()) return;
            shelf.servers.erase(shelf.servers.begin());
            shelf.count.store(shelf.servers.size());
            self->lost();
        });
        return true;
    }
    return false;
}

void pool::begin_login(std::size_t thread, std::uint64_t number) {
    std::uint64_t generation = 0;
    std::shared_ptr<const std::uint64_t> cohort;
    {
        const std::scoped_lock lock{mutex_};
        generation = generation_.load();
        cohort = cohort_;
    }
    auto attempt = connect(
        *pollers_[thread],
        login_request(),
        [weak = weak_from_this(), thread, number, began = now(), generation, cohort](
            connect_outcome outcome) {
            const auto self = weak.lock();
            if (self == nullptr) return;
            // It is done with; but we are within a call of it now.
            self->pollers_[thread]->post([weak, number] {
                if (const auto later = weak.lock()) later->forget_login(number);
            });
            // Of the generation in which it was begun: RECONNECT is for it, too.
            if (outcome.made != nullptr) {
                outcome.made->generation = generation;
                outcome.made->cohort = cohort;
            }
            self->on_connected(thread, began, std::move(outcome));
        });
    const std::scoped_lock lock{mutex_};
    logins_.emplace(number, std::move(attempt));
}

void pool::forget_login(std::uint64_t number) {
    std::shared_ptr<connector> ended;  // destroyed outside the lock
    const std::scoped_lock lock{mutex_};
    const auto found = logins_.find(number);
    if (found == logins_.end()) return;
    ended = std::move(found->second);
    logins_.erase(found);
}

void pool::on_connect_failed(std::size_t thread, monotonic_ns began, const connect_failure& why) {
    std::optional<waiter> first;
    {
        const std::scoped_lock lock{mutex_};
        --total_;
        --connecting_;
        constexpr std::int64_t pause_ns = 15'000'000'000;  // PgBouncer's server_login_retry
        ahead_not_before_ = now() + pause_ns;
        // The one who has waited longest hears of it; others may still get a server that exists.
        // An attempt that is older than the wait says nothing about the server as it is now, nor
        // does one from before a pause about the server behind it.
        // Who waits for a place logs in by himself.
        if (!is_paused() && !waiters_.empty() && waiters_.front().since <= began &&
            !waiters_.front().wants_place)
            first = take_first_waiter();
    }
    give_place_back();
    log::warning("pool {}/{}: {}", database_, user(), why.message);
    if (first) {
        pollers_[first->thread]->post([callback = std::move(first->when_granted), why] {
            callback({nullptr, why});
        });
    }
    maybe_connect(thread);
}

void pool::on_connected(std::size_t thread, monotonic_ns began, connect_outcome outcome) {
    if (outcome.made == nullptr) return on_connect_failed(thread, began, *outcome.failure);
    auto fresh = std::make_shared<const greeting>(
        greeting{outcome.made->parameters, outcome.defaults});
    bool changed = false;
    {
        const std::scoped_lock lock{mutex_};
        --connecting_;
        const bool differs = welcome_ == nullptr || welcome_->defaults != fresh->defaults;
        changed = differs && welcome_ != nullptr;
        welcome_ = fresh;
        if (differs) ++welcome_version_;
        // All servers of a pool must answer alike.
        if (changed) {
            const bool is_current = outcome.made->generation == generation_.load();
            begin_generation();
            if (is_current) {
                outcome.made->generation = generation_.load();
                outcome.made->cohort = cohort_;
            }
        }
    }
    if (changed && on_changed) on_changed(*fresh);
    give_back(thread, std::move(outcome.made));
}

void pool::hand_over(std::size_t thread, server_ptr returned, waiter to) {
    metrics::observe(metrics::histogram::pool_wait, now() - to.since);
    if (to.wants_place) {
        // The server goes, its place stays taken.
        returned.reset();
        pollers_[to.thread]->post([callback = std::move(to.when_granted)] { callback({}); });
        return;
    }
    if (to.thread == thread) {
        pollers_[thread]->post([callback = std::move(to.when_granted),
                                lent = std::make_shared<server_ptr>(std::move(returned))] {
            callback({std::move(*lent), std::nullopt});
        });
        return;
    }
    returned->link.detach();
    pollers_[to.thread]->post([callback = std::move(to.when_granted),
                               lent = std::make_shared<server_ptr>(std::move(returned)),
                               where = pollers_[to.thread]] {
        (*lent)->link.attach(*where);
        callback({std::move(*lent), std::nullopt});
    });
}

void pool::give_back(std::size_t thread, server_ptr returned) {
    POSTERN_ASSERT(returned->inbox.empty() && returned->outbox.empty());
    if (!is_wanted(*returned, pollers_[thread]->round_began_at()) || returned->worn == nullptr) {
        returned.reset();
        return lost();
    }
    returned->link.set_handler(shelves_[thread]->guard, true);
    returned->link.want_write(false);
    returned->link.want_read(true);
    if (waiting_.load() != 0) {
        if (auto first = next_waiter())
            return hand_over(thread, std::move(returned), std::move(*first));
    }
    put_on_shelf(thread, std::move(returned));
    // Another pool's clients wait for a place: this one's idle server makes it.
    for (const auto& one : allowances_) {
        if (one->wanted()) close_one_idle();
    }
    // Someone may have begun to wait between the look above and the shelf's count being seen.
    if (waiting_.load() != 0) donate(thread);
}

void pool::put_on_shelf(std::size_t thread, server_ptr returned) {
    auto& shelf = *shelves_[thread];
    returned->idle_since = pollers_[thread]->round_began_at();
    shelf.servers.push_back(std::move(returned));
    shelf.count.store(shelf.servers.size());
}

void pool::lost() {
    {
        const std::scoped_lock lock{mutex_};
        POSTERN_ASSERT(total_ > 0);
        --total_;
    }
    give_place_back();
    look_for_room();
}

void pool::ask_others(std::size_t thread) {
    for (std::size_t other = 0; other < shelves_.size(); ++other) {
        if (shelves_[other]->count.load() == 0) continue;
        if (other == thread) {
            // Only reachable when others were already waiting: they come first.
            donate(thread);
            continue;
        }
        pollers_[other]->post([weak = weak_from_this(), other] {
            if (const auto self = weak.lock()) self->donate(other);
        });
    }
}

void pool::donate(std::size_t thread) {
    auto& shelf = *shelves_[thread];
    while (!shelf.servers.empty()) {
        // This thread may have been asleep for long: the server's end may not have been heard yet.
        if (!wanted_back(*shelf.servers.back()) || !is_silent(*shelf.servers.back())) {
            shelf.servers.pop_back();
            shelf.count.store(shelf.servers.size());
            lost();
            continue;
        }
        auto first = next_waiter();
        if (!first) return;
        auto lent = std::move(shelf.servers.back());
        shelf.servers.pop_back();
        shelf.count.store(shelf.servers.size());
        hand_over(thread, std::move(lent), std::move(*first));
    }
}

void pool::begin_generation() {
    ++generation_;
    std::erase_if(former_cohorts_, [](const auto& one) { return one.expired(); });
    former_cohorts_.emplace_back(cohort_);
    cohort_ = std::make_shared<const std::uint64_t>(generation_.load());
}

void pool::reconnect() {
    {
        const std::scoped_lock lock{mutex_};
        begin_generation();
    }
    sweep_everywhere();
}

std::size_t pool::outdated() const {
    const std::scoped_lock lock{mutex_};
    std::size_t left = 0;
    for (const auto& one : former_cohorts_)
        left += static_cast<std::size_t>(one.use_count());
    return left;
}

void pool::pause() {
    paused_ = true;
    sweep_everywhere();
}

void pool::resume() {
    if (!paused_.exchange(false)) return;
    const std::scoped_lock lock{mutex_};
    // One server for each of those who wait; the rest comes as servers are given back.
    for (const auto& one : waiters_) {
        pollers_[one.thread]->post([weak = weak_from_this(), thread = one.thread] {
            if (const auto self = weak.lock()) self->maybe_connect(thread);
        });
    }
}

std::size_t pool::servers() const {
    const std::scoped_lock lock{mutex_};
    return total_;
}

void pool::sweep_everywhere() {
    for (std::size_t thread = 0; thread < pollers_.size(); ++thread) {
        pollers_[thread]->post([weak = weak_from_this(), thread] {
            if (const auto self = weak.lock()) self->sweep(thread);
        });
    }
}

std::shared_ptr<const pool::greeting> pool::welcome() const {
    const std::scoped_lock lock{mutex_};
    return welcome_;
}

pool::numbers pool::statistics() const {
    numbers out;
    for (const auto& shelf : shelves_)
        out.idle += shelf->count.load();
    const std::scoped_lock lock{mutex_};
    out.connecting = connecting_;
    const auto known = out.idle + out.connecting;
    out.lent = total_ > known ? total_ - known : 0;
    out.waiting = waiters_.size();
    if (!waiters_.empty()) out.longest_wait_ns = now() - waiters_.front().since;
    return out;
}

std::vector<server_row> pool::idle_servers(std::size_t thread) const {
    std::vector<server_row> out;
    for (const auto& one : shelves_[thread]->servers)
        out.push_back(describe(*one));
    return out;
}

server_row pool::describe(const server& one) const {
    server_row row;
    row.pid = one.pid;
    row.fd = one.link.fd();
    row.age_ns = now() - one.connected_at;
    row.outdated = is_outdated(one) || is_paused();
    row.local_address = one.link.local_address();
    if (one.link.tls() != nullptr) row.tls = one.link.tls()->description();
    row.unread = one.inbox.size();
    row.unsent = one.unsent();
    return row;
}

void pool::sweep(std::size_t thread) {
    auto& shelf = *shelves_[thread];
    const auto idle_ns = std::chrono::nanoseconds{how_.limits.idle_timeout}.count();
    const auto at = now();
    const auto before = shelf.servers.size();
    std::size_t to_spare = 0;
    {
        const std::scoped_lock lock{mutex_};
        to_spare = total_ > how_.limits.min_size ? total_ - how_.limits.min_size : 0;
    }
    std::erase_if(shelf.servers, [&](server_ptr& one) {
        if (!is_silent(*one) || !wanted_back(*one)) return true;
        if (at - one->idle_since < idle_ns || to_spare == 0) return false;
        --to_spare;
        return true;
    });
    shelf.count.store(shelf.servers.size());
    for (auto gone = before - shelf.servers.size(); gone > 0; --gone)
        lost();
    if (how_.limits.min_size > 0) connect_ahead(thread);
    look_at_queue(thread);
}

void pool::close_idle(std::size_t thread) {
    auto& shelf = *shelves_[thread];
    const auto gone = shelf.servers.size();
    shelf.servers.clear();
    shelf.count.store(0);
    for (std::size_t i = 0; i < gone; ++i)
        lost();
    // Logins dial by the threads' io_contexts, which go before the pools.
    const std::scoped_lock lock{mutex_};
    logins_.clear();
}

}  // namespace postern::pool
