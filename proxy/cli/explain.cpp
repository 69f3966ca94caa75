// `postern explain`: the configuration, one look at the catalog, one statement.

#include "catalog/watcher.hpp"
#include "cli/commands.hpp"
#include "cli/explanation.hpp"
#include "session/conninfo.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace postern::cli {

namespace {

outcome<session::database> choose_database(
    const session::settings& settings,
    const std::string& wanted) {
    std::vector<std::string> names;
    for (const auto& one : settings.databases) {
        if (one.name == wanted || (wanted.empty() && settings.databases.size() == 1)) return one;
        names.push_back(one.name);
    }
    const auto all = fmt::format("{}", fmt::join(names, ", "));
    if (wanted.empty())
        return failure{fmt::format("several databases: name one with --database: {}", all)};
    return failure{fmt::format("no database \"{}\" here: {}", wanted, all)};
}

outcome<catalog::resolve_context> choose_names(
    const session::settings& settings,
    const explain_request& request) {
    if (!request.role.empty()) return catalog::resolve_context{request.search_path, request.role};
    std::vector<std::string> names;
    for (const auto& [name, user] : settings.users) {
        const auto& admins = settings.admin_users;
        if (std::ranges::find(admins, name) == admins.end()) names.push_back(name);
    }
    if (names.size() == 1) return catalog::resolve_context{request.search_path, names.front()};
    std::ranges::sort(names);
    return failure{fmt::format("name the role with --role: {}", fmt::join(names, ", "))};
}

outcome<explanation> find_out(const std::string& path, const explain_request& request) {
    auto loaded = load_configuration(path);
    if (loaded.has_error()) return loaded.error();
    const auto settings = std::make_shared<const session::settings>(
        std::move(loaded.value().session));
    const auto database = choose_database(*settings, request.database);
    if (database.has_error()) return database.error();
    const auto names = choose_names(*settings, request);
    if (names.has_error()) return names.error();

    auto rows = catalog::load(session::service_conninfo(database.value()));
    if (rows.has_error()) {
        return failure{fmt::format(
            "can't read the catalog of {}: {}",
            database.value().name,
            rows.error().message)};
    }
    auto& data = rows.value();
    data.vouched = settings->rules.functions;
    data.identity_variables = settings->identity.variables;
    const catalog::snapshot snapshot{std::move(data), 1};
    return explain_statement(
        request.statement,
        snapshot,
        settings,
        database.value(),
        names.value());
}

}  // namespace

int explain(const std::string& path, const explain_request& request) {
    const auto found = find_out(path, request);
    if (found.has_error()) {
        fmt::print(stderr, "{}\n", found.error().message);
        return 1;
    }
    fmt::print("{}", request.json ? found.value().to_json() : found.value().to_text());
    return 0;
}

}  // namespace postern::cli
