#include "session/limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace postern::session {

namespace {

using std::chrono::milliseconds;

/// Every limit in force somewhere, 0 included.
std::vector<milliseconds> all_limits(const settings& configuration) {
    std::vector<milliseconds> all;
    for (const auto& one : configuration.databases) {
        const auto& own = one.timeouts;
        all.insert(all.end(), {own.query, own.client_idle, own.idle_transaction, own.transaction});
    }
    for (const auto& [unused, one] : configuration.users) {
        const auto& own = one.timeouts;
        for (const auto& limit :
             {own.query, own.client_idle, own.idle_transaction, own.transaction})
            all.push_back(limit.value_or(milliseconds{0}));
    }
    return all;
}

}  // namespace

client_timeouts timeouts_of(
    const settings& configuration,
    const std::string& database,
    const std::string& user) {
    auto out = configuration.timeouts;
    for (const auto& one : configuration.databases) {
        if (one.name == database) out = one.timeouts;
    }
    const auto found = configuration.users.find(user);
    if (found == configuration.users.end()) return out;
    const auto& own = found->second.timeouts;
    out.query = own.query.value_or(out.query);
    out.client_idle = own.client_idle.value_or(out.client_idle);
    out.idle_transaction = own.idle_transaction.value_or(out.idle_transaction);
    out.transaction = own.transaction.value_or(out.transaction);
    return out;
}

milliseconds sweep_interval(const settings& configuration) {
    constexpr milliseconds longest{1000};
    constexpr milliseconds shortest{10};
    auto interval = longest;
    for (const auto limit : all_limits(configuration)) {
        if (limit.count() > 0) interval = std::min(interval, limit / 10);
    }
    const auto of_queue = [&](const pool::settings& one) {
        if (one.reserve_size > 0) interval = std::min(interval, one.reserve_timeout / 10);
    };
    for (const auto& where : configuration.databases) {
        of_queue(where.pool);
        for (const auto& [unused, who] : configuration.users)
            of_queue(pool::with(where.pool, who.pool));
    }
    return std::max(interval, shortest);
}

bool limits_time(const settings& configuration) {
    return std::ranges::any_of(all_limits(configuration), [](milliseconds limit) {
        return limit.count() > 0;
    });
}

std::optional<std::string> client_counts::admit(const database& where, const user& who) {
    const std::scoped_lock lock{mutex_};
    auto& at_database = of_databases_[where.name];
    auto& of_user = of_users_[who.name];
    if (where.clients_max != 0 && at_database >= where.clients_max)
        return fmt::format("too many connections for database \"{}\"", where.name);
    if (who.clients_max != 0 && of_user >= who.clients_max)
        return fmt::format("too many connections for role \"{}\"", who.name);
    ++at_database;
    ++of_user;
    return std::nullopt;
}

void client_counts::leave(const std::string& database, const std::string& user) {
    const std::scoped_lock lock{mutex_};
    --of_databases_[database];
    // Users come and go; databases stay.
    if (const auto found = of_users_.find(user); --found->second == 0) of_users_.erase(found);
}

}  // namespace postern::session
