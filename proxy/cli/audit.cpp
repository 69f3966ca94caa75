#include "cli/audit.hpp"

#include "catalog/connection.hpp"
#include "cli/audit_query.hpp"
#include "cli/json.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace postern::cli {
namespace {

constexpr std::chrono::seconds connect_limit{10};
constexpr std::chrono::seconds query_limit{60};  // some thousand tables take a second or two

struct finding {
    std::string code;  // E01 … are errors, W01 … warnings
    std::string object;
    std::string detail;
};

struct audit_report {
    std::vector<finding> findings;
    std::string tables;   // how many the role can touch
    std::string covered;  // how many of those have all that they need

    std::size_t count(char severity) const {
        std::size_t found = 0;
        for (const auto& one : findings)
            found += one.code.front() == severity ? 1U : 0U;
        return found;
    }
};

outcome<audit_report> look(const audit_request& request) {
    catalog::connection link;
    const auto opened = link.open(request.conninfo, connect_limit, nullptr);
    if (opened.has_error()) return opened.error();
    const auto ask = [&](const std::string& sql, const std::vector<std::string>& values) {
        return link.query(sql, query_limit, nullptr, values);
    };
    const auto path = ask("SET search_path = ''", {});
    if (path.has_error()) return path.error();
    const auto role = ask("SELECT 1 FROM pg_roles WHERE rolname = $1", {request.role});
    if (role.has_error()) return role.error();
    if (role.value().empty()) return failure{fmt::format("there is no role \"{}\"", request.role)};

    audit_report report;
    auto found = ask(audit_findings_sql(), {request.role});
    if (found.has_error()) return found.error();
    for (auto& row : found.value()) {
        report.findings.push_back({std::move(row[0]), std::move(row[1]), std::move(row[2])});
    }
    auto coverage = ask(audit_coverage_sql(), {request.role});
    if (coverage.has_error()) return coverage.error();
    report.tables = std::move(coverage.value().front()[0]);
    report.covered = std::move(coverage.value().front()[1]);
    return report;
}

void print_json(const audit_request& request, const audit_report& report) {
    std::vector<json_object> findings;
    for (const auto& one : report.findings) {
        json_object object;
        object.text("code", one.code).text("object", one.object).text("detail", one.detail);
        findings.push_back(std::move(object));
    }
    json_object object;
    object.text("role", request.role)
        .objects("findings", findings)
        .number("errors", report.count('E'))
        .number("warnings", report.count('W'))
        .number("tables", std::stoll(report.tables))
        .number("covered", std::stoll(report.covered));
    fmt::print("{}\n", object.str());
}

void print_text(const audit_report& report) {
    for (const auto& one : report.findings)
        fmt::print("{} {}: {}\n", one.code, one.object, one.detail);
    fmt::print(
        "{}/{} tables covered, {} errors, {} warnings\n",
        report.covered,
        report.tables,
        report.count('E'),
        report.count('W'));
}

}  // namespace

int audit(const audit_request& request) {
    const auto report = look(request);
    if (report.has_error()) {
        fmt::print(stderr, "{}\n", report.error().message);
        return 1;
    }
    request.json ? print_json(request, report.value()) : print_text(report.value());
    return report.value().count('E') == 0 ? 0 : 1;
}

void add_audit(CLI::App& app, int& status) {
    auto* const one = app.add_subcommand("audit", "Look for holes in row-level security");
    const auto request = std::make_shared<audit_request>();
    one->add_option("--database", request->conninfo, "Connection string or URI, not of a pooler")
        ->required()
        ->type_name("CONNINFO");
    one->add_option("--role", request->role, "What the application logs in as")->required();
    one->add_flag("--json", request->json, "One JSON object");
    one->callback([request, &status] { status = audit(*request); });
}

}  // namespace postern::cli
