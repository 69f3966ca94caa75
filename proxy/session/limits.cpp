#include "session/limits.hpp"

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
    return std::max(interval, shortest);
}

bool limits_time(const settings& configuration) {
    return std::ranges::any_of(all_limits(configuration), [](milliseconds limit) {
        return limit.count() > 0;
    });
}

}  // namespace postern::session
