#include "cli/configuration.hpp"

#include "cli/configuration_parts.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <set>

namespace postern::cli {

namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""h;

/// trust asks for no password, so only this machine may be asked by. Where there are access rules
/// they say who is trusted.
void check_trust(section& top, const session::settings& settings) {
    if (settings.access) return;
    const session::listener* open = nullptr;
    for (const auto& one : settings.listeners) {
        if (!is_local(one)) open = &one;
    }
    if (open == nullptr) return;
    for (const auto& [name, user] : settings.users) {
        if (user.method != session::auth_method::trust) continue;
        top.refuse(
            "users",
            fmt::format(
                "has auth: trust for \"{}\", which needs every listener on a loopback address or a "
                "Unix socket; {} is neither",
                name,
                open->address));
    }
}

void check_together(section& top, const session::settings& settings) {
    check_trust(top, settings);
    const bool needs_service = settings.cache_enabled || !settings.auth_query.empty();
    for (const auto& one : settings.databases) {
        if (!needs_service || !one.service.user.empty()) continue;
        top.refuse(
            "databases",
            fmt::format(
                "has no service.user for \"{}\"; {} needs one",
                one.name,
                settings.auth_query.empty() ? "the cache (which reads the catalog)"
                                            : "auth_query"));
    }
    for (const auto& one : settings.databases) {
        if (!one.shadow || !settings.identity.variables.empty()) continue;
        top.refuse(
            "databases",
            fmt::format(
                "has shadow for \"{}\", which samples what sessions with an identity read: "
                "identity.variables has to name at least one",
                one.name));
    }
    for (const auto* group : {&settings.admin_users, &settings.stats_users}) {
        for (const auto& name : *group) {
            if (settings.users.contains(name) || !settings.auth_query.empty()) continue;
            top.refuse(
                "admin",
                fmt::format("lets in \"{}\", who is not in users and so can't log in", name));
        }
    }
    for (const auto& [login, values] : settings.identity.by_login) {
        if (settings.users.contains(login) || !settings.auth_query.empty()) continue;
        top.refuse("identity", fmt::format("maps the login \"{}\", who is not in users", login));
    }
}

}  // namespace

std::string beside(const std::string& file, const std::string& path) {
    const std::filesystem::path named{path};
    if (named.is_absolute()) return path;
    return (std::filesystem::path{file}.parent_path() / named).lexically_normal().string();
}

void read_limits(section& top, session::settings& into) {
    auto limits = top.child("limits");
    limits.number("clients", into.clients_max, 1, 1'000'000);
    limits.size("statement_size", into.statement_bytes_max, 64 << 10, 1 << 30);
    limits.duration("login_timeout", into.login_timeout, 1s, 1h);
    limits.duration("stop_delay", into.stop_delay, 0s, 1h);
    limits.duration("drain_timeout", into.drain_timeout, 0s, 1h);
    limits.duration("takeover_timeout", into.takeover_timeout, 100ms, 1h);
    read_timeouts(limits, into.timeouts);
}

void read_timeouts(section& limits, session::client_timeouts& into) {
    constexpr auto week = std::chrono::milliseconds{24h} * 7;
    limits.duration("query_timeout", into.query, 0s, week);
    limits.duration("client_idle_timeout", into.client_idle, 0s, week);
    limits.duration("idle_transaction_timeout", into.idle_transaction, 0s, week);
    limits.duration("transaction_timeout", into.transaction, 0s, week);
}

void read_process(section& top, configuration& into) {
    top.text("runtime_dir", into.runtime_dir);
    if (!into.runtime_dir.empty() && !into.runtime_dir.starts_with('/')) {
        top.refuse(
            "runtime_dir",
            fmt::format("must be a folder that begins with '/', not \"{}\"", into.runtime_dir));
    }
    top.number("threads", into.session.threads, 0, 256);
    auto log = top.child("log");
    log.choice<log::level>(
        "level",
        into.log_level,
        {{"debug", log::level::debug},
         {"info", log::level::info},
         {"warning", log::level::warning},
         {"error", log::level::error},
         {"off", log::level::off}});
    log.choice<bool>("format", into.log_json, {{"text", false}, {"json", true}});
    top.child("catalog").duration("poll_interval", into.catalog_poll_interval, 100ms, 1h);
}

loaded_configuration read_configuration(const std::string& path) {
    loaded_configuration all;
    auto& into = all.settings;
    into.path = path;
    const auto root = read_yaml(all.found, path);
    if (!root) return all;
    {
        section top{all.found, {path, "", ""}, *root, root->Mark()};
        read_listeners(top, into.session);
        read_admin(top, into);
        read_client_tls(top, into.session);
        read_limits(top, into.session);
        read_pools_and_databases(top, into.session);
        read_users(top, into.session);
        read_access(top, into.session);
        read_identity(top, into.session);
        read_cache(top, into);
        read_process(top, into);
        std::string rules;
        top.text("rules", rules);
        if (!rules.empty()) {
            into.rules_path = beside(path, rules);
            std::error_code error;
            if (std::filesystem::is_regular_file(into.rules_path, error)) {
                read_rules(all.found, into.rules_path, into.session);
            } else {
                top.refuse("rules", fmt::format("names {}, which is no file", into.rules_path));
            }
        }
        check_together(top, into.session);
    }
    return all;
}

outcome<configuration> load_configuration(const std::string& path) {
    auto all = read_configuration(path);
    for (const auto& warning : all.found.warnings)
        log::warning("{}", warning);
    if (!all.found.problems.empty()) return failure{all.found.message()};
    return std::move(all.settings);
}

}  // namespace postern::cli
