// How Postern's own connections reach a database.

#include "session/conninfo.hpp"

#include <doctest/doctest.h>

namespace postern::session {
namespace {

TEST_CASE("a connection string escapes what libpq would read otherwise") {
    database where;
    where.server = {"/run/pg", 5433, "it's"};
    where.service = {"postern", "a\\b"};
    CHECK(
        service_conninfo(where) ==
        "host='/run/pg' port='5433' dbname='it\\'s' user='postern' password='a\\\\b' "
        "sslmode='disable' connect_timeout='5' application_name='postern' ");
}

TEST_CASE("a connection string has the TLS of the database's servers") {
    database where;
    where.server.host = "db.example";
    where.server.tls.mode = pool::tls_mode::verify_full;
    where.server.tls.files.root_ca = "root.crt";
    where.server.tls.files.certificate = "own.crt";
    where.server.tls.files.key = "own.key";
    where.server.tls.binding = pool::channel_binding::require;
    const auto text = service_conninfo(where);
    for (const auto* part :
         {"sslmode='verify-full' ",
          "channel_binding='require' ",
          "sslrootcert='root.crt' ",
          "sslcert='own.crt' ",
          "sslkey='own.key' "}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
}

}  // namespace
}  // namespace postern::session
