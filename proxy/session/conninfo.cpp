#include "session/conninfo.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace postern::session {

std::string conninfo_part(std::string_view key, std::string_view value) {
    if (value.empty()) return "";
    std::string part = fmt::format("{}='", key);
    for (const char c : value) {
        if (c == '\'' || c == '\\') part += '\\';
        part += c;
    }
    return part + "' ";
}

namespace {

const char* ssl_mode(pool::tls_mode mode) {
    switch (mode) {
    case pool::tls_mode::prefer: return "prefer";
    case pool::tls_mode::require: return "require";
    case pool::tls_mode::verify_ca: return "verify-ca";
    case pool::tls_mode::verify_full: return "verify-full";
    default: return "disable";
    }
}

const char* channel_binding(pool::channel_binding binding) {
    switch (binding) {
    case pool::channel_binding::disable: return "disable";
    case pool::channel_binding::require: return "require";
    default: return "";  // libpq's own default
    }
}

}  // namespace

std::string service_conninfo(const database& where) {
    // libpq counts whole seconds, and takes 1 for 2.
    const auto seconds = std::max<long>(1, (where.pool.connect_timeout.count() + 999) / 1000);
    return conninfo_part("host", where.server.host) +
           conninfo_part("port", fmt::to_string(where.server.port)) +
           conninfo_part("dbname", where.server.database) +
           conninfo_part("user", where.service.user) +
           conninfo_part("password", where.service.password) +
           conninfo_part("sslmode", ssl_mode(where.server.tls.mode)) +
           conninfo_part("channel_binding", channel_binding(where.server.tls.binding)) +
           conninfo_part("sslrootcert", where.server.tls.files.root_ca) +
           conninfo_part("sslcert", where.server.tls.files.certificate) +
           conninfo_part("sslkey", where.server.tls.files.key) +
           conninfo_part("connect_timeout", fmt::to_string(seconds)) +
           conninfo_part("application_name", "postern");
}

}  // namespace postern::session
