// SHOW CONFIG: the values in force beside their defaults, never a password.

#include "admin/show.hpp"
#include "admin/table.hpp"

namespace postern::admin {

namespace {

std::string text(bool value) {
    return value ? "true" : "false";
}

std::string text(std::chrono::milliseconds value) {
    return fmt::format("{}ms", value.count());
}

template <std::unsigned_integral Number>
std::string text(Number value) {
    return fmt::to_string(value);
}

std::string text(session::rls_mode value) {
    return value == session::rls_mode::required ? "required" : "optional";
}

std::string text(const std::vector<std::string>& values) {
    return fmt::format("{}", fmt::join(values, ", "));
}

std::string text(const std::vector<session::listener>& values) {
    std::vector<std::string> all;
    for (const auto& one : values)
        all.push_back(fmt::format("{} port {}", one.address, one.port));
    return text(all);
}

std::string protocol(std::uint32_t version) {
    return fmt::format("{}.{}", version >> 16, version & 0xffff);
}

}  // namespace

session::console_reply show_config(const console_source& source) {
    table rows;
    rows.columns(column_type::text, {"key", "value", "default", "changeable"});
    const auto settings = source.settings();
    const session::settings standard;
    const auto add = [&](const char* key, const auto& value, const auto& usual, const char* can) {
        rows.row({key, text(value), text(usual), can});
    };
    // What RELOAD takes over is changeable.
    const auto& now = *settings;
    const auto rules = now.access ? fmt::format("{} rules", now.access->size()) : "";
    rows.row({"access", rules, "", "yes"});
    add("admin.users", now.admin_users, standard.admin_users, "yes");
    add("admin.stats_users", now.stats_users, standard.stats_users, "yes");
    rows.row({"auth_query", now.auth_query, "", "yes"});
    add("cache.enabled", now.cache_enabled, standard.cache_enabled, "yes");
    add("cache.memory", now.near_bytes_max, standard.near_bytes_max, "no");
    rows.row(
        {"client_protocol",
         protocol(now.client_protocol),
         protocol(standard.client_protocol),
         "yes"});
    add("identity.trust.client_set",
        now.identity.trust_client_set,
        standard.identity.trust_client_set,
        "yes");
    add("identity.trust.startup_parameters",
        now.identity.trust_startup_parameters,
        standard.identity.trust_startup_parameters,
        "yes");
    add("identity.variables", now.identity.variables, standard.identity.variables, "yes");
    add("limits.client_idle_timeout",
        now.timeouts.client_idle,
        standard.timeouts.client_idle,
        "yes");
    add("limits.clients", now.clients_max, standard.clients_max, "yes");
    add("limits.drain_timeout", now.drain_timeout, standard.drain_timeout, "yes");
    add("limits.idle_transaction_timeout",
        now.timeouts.idle_transaction,
        standard.timeouts.idle_transaction,
        "yes");
    add("limits.login_timeout", now.login_timeout, standard.login_timeout, "yes");
    add("limits.query_timeout", now.timeouts.query, standard.timeouts.query, "yes");
    add("limits.statement_size", now.statement_bytes_max, standard.statement_bytes_max, "yes");
    add("limits.stop_delay", now.stop_delay, standard.stop_delay, "yes");
    add("limits.takeover_timeout", now.takeover_timeout, standard.takeover_timeout, "no");
    add("limits.transaction_timeout",
        now.timeouts.transaction,
        standard.timeouts.transaction,
        "yes");
    add("listen", now.listeners, standard.listeners, "no");
    add("rls", now.rls, standard.rls, "yes");
    add("threads", now.threads, standard.threads, "no");
    return rows.take();
}

}  // namespace postern::admin
