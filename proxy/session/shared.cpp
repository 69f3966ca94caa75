#include "session/shared.hpp"

#include "auth/scram.hpp"
#include "auth/secret.hpp"
#include "base/log.hpp"
#include "session/conninfo.hpp"
#include "session/worker.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::session {

namespace {

bool covers(const database_scope& which, const std::string& database) {
    return !which || *which == database;
}

std::string hex(std::string_view bytes) {
    std::string out;
    for (const char c : bytes)
        out += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return out;
}

}  // namespace

std::int32_t cancel_registry::add(target who) {
    constexpr std::int32_t next_max = INT32_MAX / generations;
    const std::scoped_lock lock{mutex_};
    const auto advance = [&] {
        next_ = next_ >= next_max ? 1 : next_ + 1;
    };
    const auto number = [&] {
        return next_ * generations + generation_;
    };
    // Numbers come round after 268 million log-ins; one that is in use is passed over.
    while (next_ >= next_max || targets_.contains(number()))
        advance();
    const auto made = number();
    targets_.emplace(made, std::move(who));
    advance();
    return made;
}

void cancel_registry::remove(std::int32_t key) {
    const std::scoped_lock lock{mutex_};
    targets_.erase(key);
}

std::optional<cancel_registry::target> cancel_registry::find(
    std::int32_t key,
    std::string_view secret) const {
    const std::scoped_lock lock{mutex_};
    const auto found = targets_.find(key);
    if (found == targets_.end() || !auth::equal_in_constant_time(found->second.secret, secret))
        return std::nullopt;
    return found->second;
}

shared_state::shared_state(settings_ptr initial, std::optional<cache::redis_settings> redis_options)
    : near{{initial->near_bytes_max, 16}}
    , redis{std::move(redis_options)}
    , start_token{hex(auth::random_bytes(16))}
    , mock_secret{auth::random_bytes(32)}
    , settings_{std::move(initial)} {}

shared_state::~shared_state() = default;

settings_ptr shared_state::settings() const {
    const std::scoped_lock lock{mutex_};
    return settings_;
}

void shared_state::set_settings(settings_ptr fresh) {
    {
        const std::scoped_lock lock{mutex_};
        settings_ = std::move(fresh);
    }
    ++settings_epoch_;
}

pool::pool_ptr shared_state::pool_of(const database& where, const user& who) {
    const std::scoped_lock lock{mutex_};
    auto& found = pools_[{where.name, who.name}];
    if (found == nullptr) {
        std::vector<pool::poller*> pollers;
        for (const auto& one : workers)
            pollers.push_back(&one->events);
        std::vector<std::shared_ptr<pool::allowance>> allowances;
        const auto allow = [&](auto& known, const std::string& name, std::uint32_t servers_max) {
            if (servers_max == 0) return;
            auto& one = known[name];
            if (one == nullptr) one = std::make_shared<pool::allowance>(servers_max);
            allowances.push_back(one);
        };
        allow(allowances_of_databases_, where.name, where.servers_max);
        allow(allowances_of_users_, who.name, who.servers_max);
        found = std::make_shared<pool::pool>(
            where.name,
            pool::connect_request{
                where.server,
                {who.name, who.upstream_password},
                pool::with(where.pool, who.pool)},
            std::move(pollers),
            allowances);
        for (const auto& one : allowances)
            one->join(found);
        // Other defaults, or another start of the server: what was cached may never have been true
        // there.
        found->on_changed = [this, name = where.name](const pool::pool::greeting&) {
            log::info("database {}: the server was restarted or its defaults have changed", name);
            versions.bump_everything();
        };
        if (admits.is_paused(where.name)) found->pause();
    }
    return found;
}

std::vector<pool::pool_ptr> shared_state::pools() const {
    const std::scoped_lock lock{mutex_};
    std::vector<pool::pool_ptr> out;
    for (const auto& [unused, one] : pools_)
        out.push_back(one);
    return out;
}

void shared_state::pause(const database_scope& which) {
    admits.pause(which);
    for (const auto& one : pools()) {
        if (covers(which, one->database())) one->pause();
    }
}

bool shared_state::resume(const database_scope& which) {
    const bool was_paused = admits.resume(which);
    for (auto& [name, one] : databases) {
        if (!covers(which, name) || admits.is_paused(name)) continue;
        one.watcher->resume();
        one.watcher->invalidate();
        if (one.auth) one.auth->resume();
    }
    for (const auto& one : pools()) {
        if (covers(which, one->database()) && !admits.is_paused(one->database())) one->resume();
    }
    const std::scoped_lock lock{mutex_};
    for (const auto& [name, one] : samplers_) {
        if (covers(which, name) && !admits.is_paused(name)) one->resume();
    }
    return was_paused;
}

bool shared_state::is_drained(const database_scope& which) {
    for (const auto& one : pools()) {
        if (covers(which, one->database()) && one->servers() != 0) return false;
    }
    bool gone = true;
    {
        const std::scoped_lock lock{mutex_};
        for (const auto& [name, one] : samplers_) {
            if (!covers(which, name)) continue;
            one->pause();
            gone &= !one->is_connected();
        }
    }
    for (auto& [name, one] : databases) {
        if (!covers(which, name)) continue;
        one.watcher->pause();
        gone &= !one.watcher->is_connected();
        if (!one.auth) continue;
        one.auth->pause();
        gone &= !one.auth->is_connected();
    }
    return gone;
}

void shared_state::reconnect(const database_scope& which) {
    for (const auto& one : pools()) {
        if (covers(which, one->database())) one->reconnect();
    }
    for (auto& [name, one] : databases) {
        if (!covers(which, name)) continue;
        one.watcher->reconnect();
        if (one.auth) one.auth->reconnect();
    }
    {
        const std::scoped_lock lock{mutex_};
        for (const auto& [name, one] : samplers_) {
            if (covers(which, name)) one->reconnect();
        }
    }
    versions.bump_everything();
}

std::size_t shared_state::outdated(const database_scope& which) const {
    std::size_t left = 0;
    for (const auto& one : pools()) {
        if (covers(which, one->database())) left += one->outdated();
    }
    return left;
}

catalog::sampler& shared_state::sampler_of(const std::string& database_name) {
    const std::scoped_lock lock{mutex_};
    auto& found = samplers_[database_name];
    if (found == nullptr) {
        found = std::make_unique<catalog::sampler>(database_name);
        if (admits.is_paused(database_name)) found->pause();
    }
    return *found;
}

void shared_state::configure_samplers(const struct settings& fresh) {
    for (const auto& one : fresh.databases) {
        auto& found = sampler_of(one.name);
        if (!one.shadow) {
            found.configure(std::nullopt);
            continue;
        }
        auto how = one.shadow->how;
        auto where = one;
        where.service = one.shadow->login;
        how.conninfo = service_conninfo(where);
        found.configure(std::move(how));
    }
    const std::scoped_lock lock{mutex_};
    for (const auto& [name, one] : samplers_) {
        if (std::ranges::find(fresh.databases, name, &database::name) == fresh.databases.end())
            one->configure(std::nullopt);
    }
}

std::vector<catalog::sampled_shape> shared_state::sampled_shapes() const {
    std::vector<catalog::sampled_shape> out;
    const std::scoped_lock lock{mutex_};
    for (const auto& [unused, one] : samplers_) {
        for (auto& shape : one->shapes())
            out.push_back(std::move(shape));
    }
    return out;
}

void shared_state::stop_samplers() {
    const std::scoped_lock lock{mutex_};
    samplers_.clear();
}

catalog::watcher* shared_state::watcher_of(const std::string& database_name) const {
    const auto found = databases.find(database_name);
    return found == databases.end() ? nullptr : found->second.watcher.get();
}

catalog::auth_lookup* shared_state::auth_of(const std::string& database_name) const {
    const auto found = databases.find(database_name);
    return found == databases.end() ? nullptr : found->second.auth.get();
}

}  // namespace postern::session
