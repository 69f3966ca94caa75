// `postern check`: what the server would say of its configuration, without serving.

#include "cli/commands.hpp"
#include "cli/configuration_parts.hpp"
#include "cli/json.hpp"

#include <fmt/core.h>

#include <cstdio>

namespace postern::cli {

namespace {

void print_json(const loaded_configuration& all) {
    std::vector<json_object> problems;
    for (const auto& one : all.found.problems) {
        problems.push_back(json_object{}
                               .text("file", one.file)
                               .number("line", one.line)
                               .number("column", one.column)
                               .text("problem", one.text));
    }
    json_object report;
    report.flag("ok", problems.empty())
        .objects("problems", problems)
        .texts("warnings", all.found.warnings);
    fmt::print("{}\n", report.str());
}

void print_text(const loaded_configuration& all) {
    for (const auto& warning : all.found.warnings)
        fmt::print(stderr, "warning: {}\n", warning);
    if (!all.found.problems.empty()) {
        fmt::print(stderr, "{}\n", all.found.message());
        return;
    }
    const auto& session = all.settings.session;
    fmt::print(
        "{} is right (listeners: {}, databases: {}, users: {}, rules: {})\n",
        all.settings.path,
        session.listeners.size(),
        session.databases.size(),
        session.users.size(),
        session.rules.rules.size());
}

}  // namespace

int check(const std::string& path, bool json) {
    const auto all = read_configuration(path);
    if (json) {
        print_json(all);
    } else {
        print_text(all);
    }
    return all.found.problems.empty() ? 0 : 1;
}

}  // namespace postern::cli
