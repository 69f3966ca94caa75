// `postern flush`: logs in at the running server's console as its first administrator.

#include "cli/commands.hpp"
#include "session/conninfo.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <cstdio>
#include <memory>

namespace postern::cli {

namespace {

using session::conninfo_part;

struct finish_connection {
    void operator()(PGconn* handle) const noexcept { PQfinish(handle); }
};
struct clear_result {
    void operator()(PGresult* handle) const noexcept { PQclear(handle); }
};

/// Where this machine reaches the console, and as whom.
struct console_address {
    std::string conninfo;
};

outcome<console_address> find_console(const session::settings& settings) {
    const session::listener* where = nullptr;
    for (const auto& one : settings.listeners) {
        if (where == nullptr && one.port != 0) where = &one;
    }
    if (where == nullptr) return failure{"no listener has a fixed port: ask with psql"};
    if (settings.admin_users.empty()) return failure{"admin.users is empty: nobody may flush"};
    const auto& who = settings.admin_users.front();
    const auto known = settings.users.find(who);
    // Kept in clear only where the pool needs it too; else libpq looks into PGPASSWORD and
    // ~/.pgpass.
    const auto password = known == settings.users.end() ? std::string{}
                                                        : known->second.upstream_password;
    auto host = where->address;
    if (host == "0.0.0.0") host = "127.0.0.1";
    if (host == "::") host = "::1";
    return console_address{
        conninfo_part("host", host) + conninfo_part("port", fmt::to_string(where->port)) +
        conninfo_part("dbname", "postern") + conninfo_part("user", who) +
        conninfo_part("password", password) + conninfo_part("connect_timeout", "5") +
        conninfo_part("application_name", "postern flush")};
}

/// libpq's messages end in a newline.
std::string trimmed(std::string text) {
    while (!text.empty() && text.back() == '\n')
        text.pop_back();
    return text;
}

outcome<void> ask(const std::string& conninfo, const char* command) {
    const std::unique_ptr<PGconn, finish_connection> link{PQconnectdb(conninfo.c_str())};
    if (PQstatus(link.get()) != CONNECTION_OK) return failure{trimmed(PQerrorMessage(link.get()))};
    const std::unique_ptr<PGresult, clear_result> answer{PQexec(link.get(), command)};
    if (PQresultStatus(answer.get()) == PGRES_COMMAND_OK) return {};
    return failure{trimmed(PQresultErrorMessage(answer.get()))};
}

outcome<void> flush_server(const std::string& path) {
    const auto loaded = load_configuration(path);
    if (loaded.has_error()) return loaded.error();
    const auto console = find_console(loaded.value().session);
    if (console.has_error()) return console.error();
    return ask(console.value().conninfo, "FLUSH");
}

}  // namespace

int flush(const std::string& path) {
    const auto outcome = flush_server(path);
    if (!outcome.has_error()) return 0;
    fmt::print(stderr, "{}\n", outcome.error().message);
    return 1;
}

}  // namespace postern::cli
