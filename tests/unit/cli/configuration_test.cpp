// The configuration is read as written, and refused with the place and the expectation of every
// mistake. Wrong inputs are a table: what is written, and the very message that it brings.

#include "cli/configuration.hpp"

#include "cli/configuration_parts.hpp"
#include "cli/scratch.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace postern;
using namespace postern::cli;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view smallest = R"(
listen: [{address: 127.0.0.1}]
databases: {d: {service: {user: postern}}}
users: {u: {auth: trust}}
)";

/// The message for a postern.yaml of `smallest` and then `text`, without the folder's name.
std::string refusal(const std::string& text, const std::string& rules = "") {
    const scratch_folder folder;
    const auto path = folder.write("p.yaml", text);
    if (!rules.empty()) folder.write("r.yaml", rules);
    const auto loaded = load_configuration(path);
    if (loaded.has_value()) return "";
    auto message = loaded.error().message;
    const auto prefix = folder.file("");
    for (auto at = message.find(prefix); at != message.npos; at = message.find(prefix)) {
        message.erase(at, prefix.size());
    }
    return message;
}

std::string refusal_below(std::string_view text) {
    return refusal(std::string{smallest} + std::string{text});
}

std::string refusal_of_rules(const std::string& rules) {
    return refusal(std::string{smallest} + "rules: r.yaml\n", rules);
}

configuration load_below(std::string_view text) {
    const scratch_folder folder;
    const auto loaded = load_configuration(
        folder.write("p.yaml", std::string{smallest} + std::string{text}));
    if (loaded.has_error()) FAIL(loaded.error().message);
    return loaded.value();
}

struct refused {
    const char* written;
    std::string message;
};

}  // namespace

TEST_CASE("the smallest configuration has every default") {
    const auto all = load_below("");
    const auto& settings = all.session;
    REQUIRE(settings.listeners.size() == 1);
    CHECK(settings.listeners[0].port == 6432);
    REQUIRE(settings.databases.size() == 1);
    CHECK(settings.databases[0].server.database == "d");
    CHECK(settings.databases[0].server.port == 5432);
    CHECK(settings.databases[0].pool.size == 20);
    CHECK(settings.cache_enabled);
    CHECK(settings.near_bytes_max == std::size_t{256} << 20);
    CHECK(settings.login_timeout == 30s);
    CHECK(settings.stop_delay == 0s);
    CHECK(settings.drain_timeout == 30s);
    CHECK(all.runtime_dir.empty());
    CHECK(settings.rules.rules.empty());
    CHECK_FALSE(all.redis.has_value());
    CHECK_FALSE(all.admin.http_port.has_value());
    CHECK(all.catalog_poll_interval == 2s);
}

TEST_CASE("a protocol version is a name, quoted or not") {
    CHECK(load_below("").session.client_protocol == wire::protocol_3_2);
    CHECK(load_below("client_protocol: 3.0").session.client_protocol == wire::protocol_3_0);
    CHECK(load_below("client_protocol: '3.2'").session.client_protocol == wire::protocol_3_2);
    CHECK(load_below("client_protocol: latest").session.client_protocol == wire::protocol_latest);
    CHECK(load_below("").session.databases.at(0).server.protocol == wire::protocol_3_0);
    CHECK(
        refusal_below("client_protocol: 3.1") ==
        "p.yaml:5:18: client_protocol must be one of 3.0, 3.2, latest, not \"3.1\"");
}

TEST_CASE("access rules are taken as written") {
    CHECK_FALSE(load_below("").session.access.has_value());
    const auto all = load_below(
        "access:\n"
        "- {type: local, method: trust}\n"
        "- {type: host, databases: [d, sameuser], users: [u], method: scram,\n"
        "   addresses: [10.0.0.0/8, '::1', samehost]}\n"
        "- {type: hostnossl, addresses: [loopback], method: trust}\n"
        "- {type: host, addresses: [all], method: reject}\n");
    REQUIRE(all.session.access.has_value());
    const auto& rules = *all.session.access;
    REQUIRE(rules.size() == 4);
    CHECK(rules[0].type == auth::access_type::local);
    CHECK(rules[0].method == auth::access_method::trust);
    CHECK(rules[0].databases == std::vector<std::string>{"all"});
    CHECK(rules[1].databases == std::vector<std::string>{"d", "sameuser"});
    CHECK(rules[1].users == std::vector<std::string>{"u"});
    CHECK(rules[1].networks.size() == 2);
    CHECK(rules[1].from_same_host);
    CHECK_FALSE(rules[1].from_all);
    CHECK(rules[2].from_loopback);
    CHECK(rules[3].from_all);
    CHECK(rules[3].method == auth::access_method::reject);
}

TEST_CASE("where there are access rules they say who is trusted") {
    CHECK(
        refusal("listen: [{address: 0.0.0.0}]\ndatabases: {d: {service: {user: s}}}\n"
                "users: {u: {auth: trust}}\naccess: [{type: local, method: trust}]") == "");
}

TEST_CASE("a value is taken in its unit") {
    const auto all = load_below(
        "pool: {size: 7, mode: session, wait_timeout: 250ms, idle_timeout: 2min, lifetime: 1d}\n"
        "cache: {memory: 3GiB, store: redis, redis: {timeout: 5ms, compress_above: 0B}}\n"
        "limits: {statement_size: 64KiB, stop_delay: 5s, takeover_timeout: 2min}\n"
        "runtime_dir: /run/p\n"
        "admin: {http: {port: 0}}\n"
        "threads: 3\n"
        "log: {level: debug, format: json}\n");
    const auto& pool = all.session.databases.at(0).pool;
    CHECK(pool.size == 7);
    CHECK(pool.mode == pool::pool_mode::session);
    CHECK(pool.wait_timeout == 250ms);
    CHECK(pool.idle_timeout == 2min);
    CHECK(all.session.stop_delay == 5s);
    CHECK(all.session.takeover_timeout == 2min);
    CHECK(all.runtime_dir == "/run/p");
    CHECK(pool.lifetime == 24h);
    CHECK(all.session.near_bytes_max == std::size_t{3} << 30);
    REQUIRE(all.redis.has_value());
    CHECK(all.redis->timeout == 5ms);
    CHECK(all.redis->compress_above_bytes == 0);
    CHECK(all.session.statement_bytes_max == std::size_t{64} << 10);
    CHECK(all.admin.http_port == std::uint16_t{0});
    CHECK(all.session.threads == 3);
    CHECK(all.log_level == log::level::debug);
    CHECK(all.log_json);
}

TEST_CASE("a database's own pool keys go before the common ones") {
    const scratch_folder folder;
    const auto loaded = load_configuration(folder.write("p.yaml", R"(
listen: [{address: /tmp, port: 0}]
pool: {size: 5, lifetime: 2h}
databases:
  a: {host: /run/pg, dbname: real, service: {user: s}, pool: {size: 9}}
  b: {service: {user: s}}
users: {u: {auth: trust}}
)"));
    REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
    const auto& databases = loaded.value().session.databases;
    REQUIRE(databases.size() == 2);
    CHECK(databases[0].pool.size == 9);
    CHECK(databases[0].pool.lifetime == 2h);
    CHECK(databases[0].server.host == "/run/pg");
    CHECK(databases[0].server.database == "real");
    CHECK(databases[1].pool.size == 5);
    CHECK(databases[0].number != databases[1].number);
}

TEST_CASE("a database keeps its number over a reload, and another place gets another number") {
    const auto number = [](std::string_view databases) {
        const scratch_folder folder;
        const auto text = "listen: [{address: 127.0.0.1}]\nusers: {u: {auth: trust}}\n" +
                          std::string{databases};
        return load_configuration(folder.write("p.yaml", text))
            .value()
            .session.databases.back()
            .number;
    };
    const auto first = number("databases: {kept: {service: {user: s}}}");
    const auto reordered = number(
        "databases: {new: {service: {user: s}}, kept: {service: {user: t}}}");
    const auto moved = number("databases: {kept: {port: 5433, service: {user: s}}}");
    CHECK(first == reordered);
    CHECK(first != moved);
}

TEST_CASE("passwords come from the environment or a file, and become verifiers") {
    const scratch_folder folder;
    ::setenv("POSTERN_TEST_PASSWORD", "from the environment", 1);
    const auto file = folder.write("password", "from the file\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_read);
    const auto loaded = load_configuration(folder.write("p.yaml", R"(
listen: [{address: 0.0.0.0}]
databases: {d: {service: {user: postern, password_file: password}}}
users:
  plain: {password: in clear}
  env: {password_env: POSTERN_TEST_PASSWORD, upstream_password: another}
)"));
    REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
    const auto& settings = loaded.value().session;
    CHECK(settings.databases[0].service.password == "from the file");
    const auto& plain = settings.users.at("plain");
    CHECK(plain.verifier.starts_with("SCRAM-SHA-256$4096:"));
    CHECK(plain.upstream_password == "in clear");
    CHECK(settings.users.at("env").verifier.starts_with("SCRAM-SHA-256$4096:"));
    CHECK(settings.users.at("env").upstream_password == "another");
}

TEST_CASE("a password file that everyone may read is warned about") {
    const scratch_folder folder;
    const auto file = folder.write("password", "open\n");
    std::filesystem::permissions(file, std::filesystem::perms{0644});
    const auto path = folder.write(
        "p.yaml",
        std::string{smallest} + "cache: {redis: {password_file: password}}\n");
    const auto all = read_configuration(path);
    CHECK(all.found.message() == "");
    CHECK(
        all.found.warnings ==
        std::vector<std::string>{file + " holds a password and can be read by everyone"});
}

TEST_CASE("identity, its sources and its map are read") {
    const auto all = load_below(R"(
identity:
  variables: [app.user_id, app.role]
  trust: {client_set: true}
  by_login: {u: {app.user_id: 7, app.role: member}}
rls: required
)");
    const auto& identity = all.session.identity;
    CHECK(identity.variables == std::vector<std::string>{"app.user_id", "app.role"});
    CHECK(identity.trust_client_set);
    CHECK_FALSE(identity.trust_startup_parameters);
    const std::vector<std::pair<std::string, std::string>> mapped{
        {"app.user_id", "7"},
        {"app.role", "member"}};
    CHECK(identity.by_login.at("u") == mapped);
    CHECK(all.session.rls == session::rls_mode::required);
}

TEST_CASE("shadow mode is off unless a database has its section, and logs in as the catalog does") {
    CHECK_FALSE(load_below("").session.databases[0].shadow.has_value());
    const auto shadow_of = [](const std::string& section) {
        const scratch_folder folder;
        const auto loaded = load_configuration(folder.write(
            "p.yaml",
            "listen: [{address: 127.0.0.1}]\nusers: {u: {auth: trust}}\n"
            "identity: {variables: [app.user_id]}\n"
            "databases: {d: {service: {user: s, password: t}, shadow: " +
                section + "}}"));
        REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
        return loaded.value().session.databases[0].shadow.value();
    };
    const auto plain = shadow_of("{}");
    CHECK(plain.login.user == "s");
    CHECK(plain.login.password == "t");
    CHECK(plain.how == catalog::sampler_settings{});
    const auto own = shadow_of(
        "{schema: views, sample: 0.5, statement_timeout: 50ms, rows: 7, user: v, password: w}");
    CHECK(own.login.user == "v");
    CHECK(own.login.password == "w");
    CHECK(own.how.schema == "views");
    CHECK(own.how.share == 0.5);
    CHECK(own.how.statement_timeout == 50ms);
    CHECK(own.how.rows_max == 7);
    CHECK(shadow_of("{user: v}").login.password == "");
}

TEST_CASE("what is wrong in a database's shadow is refused with its place") {
    const std::string start = "listen: [{address: 127.0.0.1}]\nusers: {u: {auth: trust}}\n";
    const auto refusal_of = [&](const std::string& section) {
        return refusal(
            start + "identity: {variables: [a.b]}\ndatabases: {d: {service: {user: s}, shadow: " +
            section + "}}");
    };
    CHECK(
        refusal_of("{sample: 1%}") ==
        "p.yaml:4:54: databases.d.shadow.sample must be a number from 0 to 1, such as 0.01, not "
        "\"1%\"");
    for (const auto* wrong : {"1.5", "-0.1", "nan", "inf", "many"}) {
        CAPTURE(wrong);
        CHECK(
            refusal_of(std::string{"{sample: "} + wrong + "}") ==
            std::string{"p.yaml:4:54: databases.d.shadow.sample must be a number from 0 to 1, such "
                        "as 0.01, not \""} +
                wrong + '"');
    }
    CHECK(
        refusal_of("{statement_timeout: 1h}") ==
        "p.yaml:4:65: databases.d.shadow.statement_timeout must be a duration from 1ms to 1min, "
        "such as 20ms, 5s or 10min, not \"1h\"");
    CHECK(
        refusal_of("{password: x}") ==
        "p.yaml:4:37: databases.d.shadow has a password, but no user that it is of");
    CHECK(
        refusal_of("{samples: 1}") ==
        "p.yaml:4:46: databases.d.shadow.samples is not a key; did you mean \"sample\"?");
    CHECK(
        refusal(
            start + "cache: {enabled: false}\nidentity: {variables: [a.b]}\n"
                    "databases: {d: {shadow: {}}}") ==
        "p.yaml:5:17: databases.d.shadow needs a user, or a service.user of its database, that may "
        "SET ROLE to those of the sessions");
    CHECK(
        refusal(start + "databases: {d: {service: {user: s}, shadow: {}}}") ==
        "p.yaml:3:12: databases has shadow for \"d\", which samples what sessions with an identity "
        "read: identity.variables has to name at least one");
}

TEST_CASE("rules and vouched functions are read") {
    const scratch_folder folder;
    folder.write("r.yaml", R"(
rules:
  - name: one
    match: {tables: [issues, tracker.*], statements: ["SELECT 1"], databases: [d], roles: [app]}
    mode: observe
    ttl: 90s
    max_size: 2KiB
  - {name: two, bypass: true}
functions:
  - {name: public.f, reads: [public.t], cacheable: true}
)");
    const auto loaded = load_configuration(
        folder.write("p.yaml", std::string{smallest} + "rules: r.yaml\n"));
    REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
    const auto& set = loaded.value().session.rules;
    REQUIRE(set.rules.size() == 2);
    const auto& one = set.rules[0];
    CHECK(one.tables == std::vector<std::string>{"issues", "tracker.*"});
    CHECK(one.statement_patterns == std::vector<std::string>{"SELECT 1"});
    REQUIRE(one.statements.size() == 1);
    CHECK(one.statements[0] != 0);
    CHECK(one.mode == cache::rule_mode::observe);
    CHECK(one.ttl == 90s);
    CHECK(one.answer_bytes_max == 2048);
    CHECK(one.where == folder.file("r.yaml") + ":3");
    CHECK(set.rules[1].bypass);
    CHECK(set.rules[1].mode == cache::rule_mode::enabled);
    REQUIRE(set.functions.size() == 1);
    CHECK(set.functions[0].schema == "public");
    CHECK(set.functions[0].name == "f");
    CHECK(set.functions[0].cacheable);
}

TEST_CASE("limits and pools of databases and users come before those of all") {
    const auto all = load_below(R"(
limits: {query_timeout: 1min, client_idle_timeout: 1h}
pool: {size: 9, min_size: 2, reserve_size: 3, reserve_timeout: 100ms}
)");
    const auto& where = all.session.databases[0];
    CHECK(where.timeouts.query == 1min);
    CHECK(where.timeouts.client_idle == 1h);
    CHECK(where.timeouts.transaction == 0s);
    CHECK(where.pool.min_size == 2);
    CHECK(where.pool.reserve_size == 3);
    CHECK(where.pool.reserve_timeout == 100ms);
    CHECK(where.clients_max == 0);

    const scratch_folder folder;
    const auto loaded = load_configuration(folder.write("p.yaml", R"(
listen: [{address: 127.0.0.1}]
limits: {query_timeout: 1min, transaction_timeout: 2min}
databases:
  d:
    service: {user: postern}
    limits: {query_timeout: 0s, clients: 5, servers: 6}
users:
  u:
    password: secret
    valid_until: 2030-01-31 12:00:00+00
    replication: true
    limits: {transaction_timeout: 3s, clients: 7, servers: 8}
    pool: {mode: statement, size: 1}
)"));
    REQUIRE_MESSAGE(loaded.has_value(), loaded.error().message);
    const auto& database = loaded->session.databases[0];
    CHECK(database.timeouts.query == 0s);
    CHECK(database.timeouts.transaction == 2min);
    CHECK(database.clients_max == 5);
    CHECK(database.servers_max == 6);
    const auto& user = loaded->session.users.at("u");
    CHECK(user.valid_until.has_value());
    CHECK(user.may_replicate);
    CHECK_FALSE(session::user{}.may_replicate);
    CHECK(user.timeouts.transaction == 3s);
    CHECK_FALSE(user.timeouts.query.has_value());
    CHECK(user.clients_max == 7);
    CHECK(user.servers_max == 8);
    CHECK(user.pool.mode == pool::pool_mode::statement);
    CHECK(user.pool.size == 1);
    CHECK_FALSE(user.pool.wait_timeout.has_value());
}

TEST_CASE("limits and sizes of pools that make no sense are refused") {
    const std::vector<refused> table{
        // A database has what `pool` says where it says nothing itself.
        {"pool: {size: 3, min_size: 4}",
         "p.yaml:3:13: databases.d.pool.min_size is above size, which is 3\n"
         "p.yaml:5:27: pool.min_size is above size, which is 3"},
        {"pool: {reserve_timeout: 2h}",
         "p.yaml:5:25: pool.reserve_timeout must be a duration from 0ms to 1h, such as 20ms, 5s or "
         "10min, not \"2h\""},
        {"limits: {query_timeout: 5}",
         "p.yaml:5:25: limits.query_timeout must be a duration from 0ms to 7d, such as 20ms, 5s or "
         "10min, not \"5\""},
        {"limits: {servers: 5}",
         "p.yaml:5:10: limits.servers is not a key; known here: client_idle_timeout, clients, "
         "drain_timeout, idle_transaction_timeout, login_timeout, query_timeout, statement_size, "
         "stop_delay, takeover_timeout, transaction_timeout"},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal_below(one.written) == one.message);
    }
}

TEST_CASE("a user's limits are refused where they make no sense") {
    const std::string before =
        "listen: [{address: 127.0.0.1}]\n"
        "databases: {d: {service: {user: postern}}}\n";
    CHECK(
        refusal(before + "users: {u: {password: x, valid_until: soon}}") ==
        "p.yaml:3:39: users.u.valid_until must be a point in time such as 2030-01-31 12:00:00+00, "
        "not \"soon\"");
    CHECK(
        refusal(before + "users: {u: {auth: trust, valid_until: 2030-01-31}}") ==
        "p.yaml:3:39: users.u.valid_until is about the password, and auth: trust asks for none");
    CHECK(
        refusal(before + "users: {u: {password: x, replication: database}}") ==
        "p.yaml:3:39: users.u.replication must be true or false, not \"database\"");
    CHECK(
        refusal(before + "users: {u: {password: x, limits: {clients: 0}}}") ==
        "p.yaml:3:44: users.u.limits.clients must be a whole number from 1 to 1000000, not \"0\"");
    CHECK(
        refusal(before + "users: {u: {password: x, pool: {lifetime: 1h}}}") ==
        "p.yaml:3:33: users.u.pool.lifetime is not a key; known here: min_size, mode, "
        "reserve_size, reserve_timeout, size, wait_timeout");
}

TEST_CASE("what is wrong in postern.yaml is refused with its place and what was expected") {
    // `smallest` has four lines, so what is written here begins in line 5.
    const std::vector<refused> table{
        {"pool: {size: many}",
         "p.yaml:5:14: pool.size must be a whole number from 1 to 10000, not \"many\""},
        {"pool: {size: \"5\"}",
         "p.yaml:5:14: pool.size must be a whole number from 1 to 10000, not the text \"5\""},
        {"pool: {size: 0}",
         "p.yaml:5:14: pool.size must be a whole number from 1 to 10000, not \"0\""},
        {"pool: {size: 5x}",
         "p.yaml:5:14: pool.size must be a whole number from 1 to 10000, not \"5x\""},
        {"pool:\n  mode: sentence",
         "p.yaml:6:9: pool.mode must be one of transaction, session, statement, not "
         "\"sentence\""},
        {"pool: {siez: 3}", "p.yaml:5:8: pool.siez is not a key; did you mean \"size\"?"},
        {"log: {colour: red}", "p.yaml:5:7: log.colour is not a key; known here: format, level"},
        {"pool: {lifetime: 60}",
         "p.yaml:5:18: pool.lifetime must be a duration from 1s to 30d, such as 20ms, 5s or 10min, "
         "not \"60\""},
        {"cache: {memory: 256MB}",
         "p.yaml:5:17: cache.memory must be a size from 1MiB to 1TiB, such as 64KiB or 256MiB, not "
         "\"256MB\""},
        {"cache: {enabled: yes}", "p.yaml:5:18: cache.enabled must be true or false, not \"yes\""},
        {"cache: [1]", "p.yaml:5:8: cache must be a mapping of keys to values, not a list"},
        {"threads: {}", "p.yaml:5:10: threads must be a whole number from 0 to 256, not a mapping"},
        {"threads:", "p.yaml:5:1: threads must be a whole number from 0 to 256, not nothing"},
        {"users: {}", "p.yaml:5:1: users stands here a second time; the first is in line 4"},
        {"admin: {users: [u, [x]]}", "p.yaml:5:20: admin.users[1] must be text, not a list"},
        {"admin: {users: [u, nobody]}",
         "p.yaml:5:8: admin lets in \"nobody\", who is not in users and so can't log in"},
        {"admin: {stats_users: [u, nobody]}",
         "p.yaml:5:8: admin lets in \"nobody\", who is not in users and so can't log in"},
        {"admin: {stats_users: u}", "p.yaml:5:22: admin.stats_users must be a list, not \"u\""},
        {"runtime_dir: here",
         "p.yaml:5:14: runtime_dir must be a folder that begins with '/', not \"here\""},
        {"limits: {stop_delay: 2h}",
         "p.yaml:5:22: limits.stop_delay must be a duration from 0ms to 1h, such as 20ms, 5s or "
         "10min, not \"2h\""},
        {"admin: {http: {}}", "p.yaml:5:9: admin.http needs a port"},
        {"admin: {http: {address: here, port: 1}}",
         "p.yaml:5:25: admin.http.address must be an IP address, not \"here\""},
        {"cache: {redis: {unix_socket: /r, port: 1}}",
         "p.yaml:5:30: cache.redis.unix_socket stands beside host or port: keep one"},
        {"cache: {redis: {password_env: POSTERN_NOT_SET}}",
         "p.yaml:5:31: cache.redis.password_env names the environment variable POSTERN_NOT_SET, "
         "which is not set"},
        {"cache: {redis: {password_file: gone}}",
         "p.yaml:5:32: cache.redis.password_file names gone, which can't be read"},
        {"cache: {redis: {password: a, password_env: PATH}}",
         "p.yaml:5:44: cache.redis.password_env says the same as password: keep one"},
        {"rules: gone.yaml", "p.yaml:5:8: rules names gone.yaml, which is no file"},
        {"threads: [", "p.yaml:5:1: not valid YAML: end of sequence flow not found"},
        {"threads: x\nrls: none",
         "p.yaml:5:10: threads must be a whole number from 0 to 256, not \"x\"\n"
         "p.yaml:6:6: rls must be one of optional, required, not \"none\""},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal_below(one.written) == one.message);
    }
}

TEST_CASE("an identity that can't be is refused") {
    const std::vector<refused> table{
        {"identity: {variables: [user_id]}",
         "p.yaml:5:24: identity.variables[0] must be a lower-case name with a dot, such as "
         "app.user_id, not \"user_id\""},
        {"identity: {variables: [a.b, postern.x]}",
         "p.yaml:5:29: identity.variables[1] begins with postern., which is Postern's own"},
        {"identity: {variables: [a.b, a.b]}",
         "p.yaml:5:29: identity.variables[1] names \"a.b\" a second time"},
        {"identity: {variables: [a.b], by_login: {u: {a.c: 1}}}",
         "p.yaml:5:50: identity.by_login.u.a.c is not one of identity.variables"},
        {"identity: {by_login: {v: {}}}",
         "p.yaml:5:11: identity maps the login \"v\", who is not in users"},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal_below(one.written) == one.message);
    }
}

TEST_CASE("access rules that can't be are refused") {
    const std::vector<refused> table{
        {"access: []", "p.yaml:5:9: access is empty: nobody could log in"},
        {"access: [{type: local}]", "p.yaml:5:10: access[0] needs a type and a method"},
        {"access: [{type: tcp, method: scram, addresses: [all]}]",
         "p.yaml:5:17: access[0].type must be one of local, host, hostssl, hostnossl, not \"tcp\""},
        {"access: [{type: host, method: md5, addresses: [all]}]",
         "p.yaml:5:31: access[0].method must be one of scram, trust, reject, cert, not \"md5\""},
        {"access: [{type: host, method: scram}]",
         "p.yaml:5:10: access[0] needs addresses: all, loopback, samehost, or networks such as "
         "10.0.0.0/8"},
        {"access: [{type: local, method: scram, addresses: [all]}]",
         "p.yaml:5:50: access[0].addresses stands beside type: local, which has none"},
        {"access: [{type: host, method: scram, addresses: [all, 10.0.0.0/33]}]",
         "p.yaml:5:55: access[0].addresses[1] must be all, loopback, samehost, or a network such "
         "as "
         "10.0.0.0/8 or fd00::/8, not \"10.0.0.0/33\""},
        {"access: [{type: local, method: scram, users: []}]",
         "p.yaml:5:46: access[0].users names nobody; leave it out for all"},
        {"access: [{type: host, method: trust, addresses: [127.0.0.1, all]}]",
         "p.yaml:5:31: access[0].method is trust, which asks for no password: only with type: "
         "local, "
         "or addresses that are loopback, samehost or in 127.0.0.0/8"},
        {"access: [{type: hostssl, method: scram, addresses: [all]}]",
         "p.yaml:5:17: access[0].type is hostssl, and there is no tls section that clients could "
         "use"},
        {"access: [{type: host, method: cert, addresses: [all]}]",
         "p.yaml:5:31: access[0].method is cert, which needs type: hostssl"},
        {"access: [{type: local, method: scram, user: [u]}]",
         "p.yaml:5:39: access[0].user is not a key; did you mean \"users\"?"},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal_below(one.written) == one.message);
    }
}

TEST_CASE("listeners, databases and users that can't be are refused") {
    const std::vector<refused> table{
        {"databases: {d: {service: {user: s}}}\nusers: {u: {auth: trust}}",
         "p.yaml:1:1: listen is missing: where clients connect"},
        {"listen: []\ndatabases: {d: {service: {user: s}}}\nusers: {u: {auth: trust}}",
         "p.yaml:1:9: listen is empty: where clients connect"},
        {"listen: [{port: 1}]\ndatabases: {d: {service: {user: s}}}\nusers: {u: {auth: trust}}",
         "p.yaml:1:10: listen[0] needs an address"},
        {"listen: [{address: here}]\ndatabases: {d: {service: {user: s}}}\nusers: {u: {auth: "
         "trust}}",
         "p.yaml:1:20: listen[0].address must be an IP address (0.0.0.0 for all) or a folder that "
         "begins with '/', not \"here\""},
        {"listen: [{address: ::1}, {address: ::1}]\ndatabases: {d: {service: {user: s}}}\n"
         "users: {u: {auth: trust}}",
         "p.yaml:1:26: listen[1] is ::1 port 6432 a second time"},
        {"listen: [{address: 127.0.0.1}, {address: 10.0.0.1}]\n"
         "databases: {d: {service: {user: s}}}\nusers: {u: {auth: trust}}",
         "p.yaml:3:8: users has auth: trust for \"u\", which needs every listener on a loopback "
         "address or a Unix socket; 10.0.0.1 is neither"},
        {"listen: [{address: 127.0.0.1}]\nusers: {u: {auth: trust}}",
         "p.yaml:1:1: databases is missing: at least one has to be listed"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {postern: {service: {user: s}}}\n"
         "users: {u: {auth: trust}}",
         "p.yaml:2:13: databases.postern has the console's name: choose another"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {}}\nusers: {u: {auth: trust}}",
         "p.yaml:2:12: databases has no service.user for \"d\"; the cache (which reads the "
         "catalog) "
         "needs one"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {service: {user: s}}}\n"
         "users: {u: {auth: trust}}\ntls: {mode: require}",
         "p.yaml:4:1: tls needs certificate and key"},
        {"listen: [{address: 127.0.0.1}]\n"
         "databases: {d: {service: {user: s}, tls: {mode: verify-full}}}\n"
         "users: {u: {auth: trust}}",
         "p.yaml:2:49: databases.d.tls.mode verifies the server, which needs root_ca"},
        {"listen: [{address: 127.0.0.1}]\n"
         "databases: {d: {service: {user: s}, tls: {mode: require, key: a}}}\n"
         "users: {u: {auth: trust}}",
         "p.yaml:2:37: databases.d.tls needs certificate and key together, or neither"},
        {"listen: [{address: 127.0.0.1}]\n"
         "databases: {d: {service: {user: s}, tls: {mode: prefer, channel_binding: require}}}\n"
         "users: {u: {auth: trust}}",
         "p.yaml:2:74: databases.d.tls.channel_binding is require, which needs TLS: mode require "
         "or above"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {service: {user: s}}}",
         "p.yaml:1:1: users is missing, and auth_query too: nobody could log in"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {service: {user: s}}}\nusers: {u: {}}",
         "p.yaml:3:9: users.u needs one of password_env, password_file, password, verifier"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {service: {user: s}}}\n"
         "users: {u: {verifier: md5abc}}",
         "p.yaml:3:23: users.u.verifier must be a SCRAM-SHA-256$… verifier, as pg_authid holds it"},
        {"listen: [{address: 127.0.0.1}]\ndatabases: {d: {service: {user: s}}}\n"
         "users: {u: {auth: trust, password: x}}",
         "p.yaml:3:19: users.u.auth is trust, which asks for no password; take the password out"},
        {"- 1",
         "p.yaml:1:1: the file must be a mapping of keys to values, not a list\n"
         "p.yaml:1:1: listen is missing: where clients connect\n"
         "p.yaml:1:1: databases is missing: at least one has to be listed\n"
         "p.yaml:1:1: users is missing, and auth_query too: nobody could log in"},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal(one.written) == one.message);
    }
    CHECK(
        load_configuration("/nowhere/p.yaml").error().message ==
        "/nowhere/p.yaml:1:1: can't be read: no such file, or no right to read it");
}

TEST_CASE("what is wrong in rules.yaml is refused with its place and what was expected") {
    const std::vector<refused> table{
        {"rules: [{ttl: 1s}]", "r.yaml:1:9: rules[0] needs a name"},
        {"rules:\n  - name: a\n  - name: a",
         "r.yaml:3:11: rules[1].name is \"a\" a second time: names are unique"},
        {"rules: [{name: a, ttl: 0s}]",
         "r.yaml:1:24: rules[0].ttl must be a duration from 1ms to 30d, such as 20ms, 5s or 10min, "
         "not \"0s\""},
        {"rules: [{name: a, match: {statement: [x]}}]",
         "r.yaml:1:27: rules[0].match.statement is not a key; did you mean \"statements\"?"},
        {"rules: [{name: a, match: {statements: [SELEKT 1]}}]",
         "r.yaml:1:40: rules[0].match.statements[0] does not parse: it must be one whole statement "
         "in PostgreSQL's SQL"},
        {"rules: [{name: a, match: {statements: [SELECT 1; SELECT 2]}}]",
         "r.yaml:1:40: rules[0].match.statements[0] must be one statement, not 2"},
        {"rules: [{name: a, match: {tables: [ok, a.b.c]}}]",
         "r.yaml:1:40: rules[0].match.tables[1] must be table, schema.table or schema.*, not "
         "\"a.b.c\""},
        {"rules: [{name: a, match: {tables: [\"*\"]}}]",
         "r.yaml:1:36: rules[0].match.tables[0] must be table, schema.table or schema.*, not "
         "\"*\""},
        {"rules: [{name: a, match: {databases: [e]}}]",
         "r.yaml:1:39: rules[0].match.databases[0] names \"e\", which postern.yaml does not list"},
        {"functions: [{name: f}]",
         "r.yaml:1:20: functions[0].name must be schema.function, not \"f\""},
        {"functions: [{name: a.f, writes: [t]}]",
         "r.yaml:1:34: functions[0].writes[0] must be schema.table, not \"t\""},
        {"functions: [{name: a.f, writes: [a.t], cacheable: true}]",
         "r.yaml:1:51: functions[0].cacheable is true for a function that writes"},
        {"functions: [{name: a.f}, {name: a.f}]",
         "r.yaml:1:33: functions[1].name is \"a.f\" a second time: all overloads are one"},
        {"functoins: []", "r.yaml:1:1: functoins is not a key; did you mean \"functions\"?"},
    };
    for (const auto& one : table) {
        CAPTURE(one.written);
        CHECK(refusal_of_rules(one.written) == one.message);
    }
}
