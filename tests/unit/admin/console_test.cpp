// The console's commands against a made-up proxy: what PgBouncer 1.18 prints comes first, in its
// order and types, then what is ours.

#include "admin/console.hpp"

#include "admin/made_up_source.hpp"
#include "admin/show.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace postern;
using namespace postern::admin;
using namespace std::chrono_literals;

namespace {

/// As an administrator.
session::console_reply run_console(const std::string& command, console_source& source) {
    return admin::run_console({command}, source).reply;
}

/// "name:type" of each column, with a space between.
std::string header(const session::console_reply& reply) {
    std::string all;
    for (const auto& one : reply.columns) {
        if (!all.empty()) all += ' ';
        all += one.name + ":" + std::to_string(one.type_oid);
    }
    return all;
}

/// A row's values with | between; NULL as ~.
std::string line(const session::console_reply& reply, std::size_t row) {
    std::string all;
    for (const auto& one : reply.rows.at(row)) {
        if (&one != &reply.rows[row].front()) all += '|';
        all += one.value_or("~");
    }
    return all;
}

std::vector<std::string> column(const session::console_reply& reply, const std::string& name) {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < reply.columns.size(); ++i) {
        if (reply.columns[i].name != name) continue;
        for (const auto& row : reply.rows)
            values.push_back(row[i].value_or("~"));
    }
    return values;
}

constexpr wall_time noon{std::chrono::seconds{1'700'000'000}};  // 2023-11-14 22:13:20 UTC

}  // namespace

TEST_CASE("SHOW STATS begins with PgBouncer's columns and averages over the uptime") {
    made_up_source source;
    source.stats_rows.push_back({"tracker", 200, 1000, 5000, 90000, 400, 3000, 700, 640});
    const auto reply = run_console("SHOW STATS", source);
    CHECK(
        header(reply) ==
        "database:25 total_xact_count:1700 total_query_count:1700 total_received:1700 "
        "total_sent:1700 total_xact_time:1700 total_query_time:1700 total_wait_time:1700 "
        "avg_xact_count:1700 avg_query_count:1700 avg_recv:1700 avg_sent:1700 avg_xact_time:1700 "
        "avg_query_time:1700 avg_wait_time:1700 total_cache_hits:1700 total_requests:1700");
    CHECK(line(reply, 0) == "tracker|200|1000|5000|90000|400|3000|700|2|10|50|900|2|3|7|640|1000");
    CHECK(reply.command_tag == "SHOW");
    CHECK(
        line(run_console("SHOW STATS_TOTALS", source), 0) ==
        "tracker|200|1000|5000|90000|400|3000|700");
    CHECK(line(run_console("SHOW STATS_AVERAGES", source), 0) == "tracker|2|10|50|900|2|3|7");
    source.stats_rows.push_back({"other", 100, 1000, 0, 0, 0, 0, 0, 0});
    const auto totals = run_console("SHOW TOTALS", source);
    CHECK(line(totals, 0) == "total_xact_count|300");
    CHECK(line(totals, 8) == "avg_query_count|20");
}

TEST_CASE("SHOW POOLS begins with PgBouncer's columns") {
    made_up_source source;
    source.pool_rows.push_back({"tracker", "app", 7, 2, 3, 1, 4, 20, 1'500'003us});
    const auto reply = run_console("show pools;", source);
    CHECK(
        header(reply) ==
        "database:25 user:25 cl_active:23 cl_waiting:23 cl_active_cancel_req:23 "
        "cl_waiting_cancel_req:23 sv_active:23 sv_active_cancel:23 sv_being_canceled:23 sv_idle:23 "
        "sv_used:23 sv_tested:23 sv_login:23 maxwait:23 maxwait_us:23 pool_mode:25 pool_size:23");
    CHECK(line(reply, 0) == "tracker|app|7|2|0|0|3|0|0|1|0|0|4|1|500003|transaction|20");
}

TEST_CASE("SHOW CLIENTS and SHOW SERVERS begin with PgBouncer's columns") {
    made_up_source source;
    peer one{
        "app",
        "tracker",
        "active",
        "10.0.0.9",
        5000,
        "10.0.0.1",
        6432,
        noon,
        noon + 5s,
        2'000'001us,
        "c7",
        "s3",
        42,
        "backend",
        "temporary object"};
    source.client_rows = {one};
    one.pin.clear();
    one.request_at.reset();
    source.server_rows = {one};
    const std::string shared =
        "type:25 user:25 database:25 state:25 addr:25 port:23 local_addr:25 local_port:23 "
        "connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 link:25 "
        "remote_pid:23 tls:25 application_name:25";
    const auto clients = run_console("SHOW CLIENTS", source);
    CHECK(header(clients) == shared + " pin:25");
    CHECK(
        line(clients, 0) ==
        "C|app|tracker|active|10.0.0.9|5000|10.0.0.1|6432|2023-11-14 22:13:20 UTC|2023-11-14 "
        "22:13:25 UTC|2|1|0|c7|s3|42||backend|temporary object");
    const auto servers = run_console("SHOW SERVERS", source);
    CHECK(header(servers) == shared);
    CHECK(column(servers, "request_time") == std::vector<std::string>{"~"});
    CHECK(column(servers, "type") == std::vector<std::string>{"S"});
}

TEST_CASE("SHOW DATABASES, USERS, LISTS and VERSION have PgBouncer's columns") {
    made_up_source source;
    session::database database;
    database.name = "tracker";
    database.server = {"db", 5433, "real"};
    source.values.databases.push_back(database);
    source.values.users["zoe"] = {"zoe", session::auth_method::trust, "", ""};
    source.values.users["app"] = {"app", session::auth_method::scram, "", ""};
    source.pool_rows.push_back({"tracker", "app", 0, 0, 3, 1, 1, 20, 0us});
    source.pool_rows.push_back({"other", "app", 0, 0, 5, 0, 0, 20, 0us});
    const auto databases = run_console("SHOW DATABASES", source);
    CHECK(
        header(databases) ==
        "name:25 host:25 port:23 database:25 force_user:25 pool_size:23 min_pool_size:23 "
        "reserve_pool:23 pool_mode:25 max_connections:23 current_connections:23 paused:23 "
        "disabled:23");
    CHECK(line(databases, 0) == "tracker|db|5433|real|~|20|0|0|transaction|0|5|0|0");
    const auto users = run_console("SHOW USERS", source);
    CHECK(header(users) == "name:25 pool_mode:25 auth:25");
    CHECK(column(users, "name") == std::vector<std::string>{"app", "zoe"});
    CHECK(column(users, "auth") == std::vector<std::string>{"scram", "trust"});
    const auto lists = run_console("SHOW LISTS", source);
    CHECK(header(lists) == "list:25 items:23");
    CHECK(line(lists, 6) == "free_servers|1");
    CHECK(line(lists, 7) == "used_servers|8");
    const auto version = run_console("SHOW VERSION", source);
    CHECK(header(version) == "version:25");
    CHECK(line(version, 0) == "Postern 1.2.3");
}

TEST_CASE("SHOW CONFIG tells values from defaults and holds no password") {
    made_up_source source;
    source.values.clients_max = 77;
    source.values.users["app"] = {"app", session::auth_method::scram, "verifier", "upstream"};
    const auto reply = run_console("SHOW CONFIG", source);
    CHECK(header(reply) == "key:25 value:25 default:25 changeable:25");
    bool seen = false;
    for (std::size_t i = 0; i < reply.rows.size(); ++i) {
        const auto row = line(reply, i);
        CHECK(row.find("verifier") == row.npos);
        CHECK(row.find("upstream") == row.npos);
        seen = seen || row == "limits.clients|77|10000|yes";
    }
    CHECK(seen);
}

TEST_CASE("SHOW CACHE WHY has the newest first, in one line each") {
    made_up_source source;
    source.recent_rows.push_back(
        {"tracker", "app", "SELECT  1\n FROM t", 0xabc, 3, reason::no_rule, "", noon});
    source.recent_rows.push_back(
        {"tracker", "app", "SELECT now()", 1, 1, reason::time_dependent, "now", noon + 1500ms});
    const auto reply = run_console("SHOW CACHE  why", source);
    CHECK(
        column(reply, "statement") == std::vector<std::string>{"SELECT now()", "SELECT 1 FROM t"});
    CHECK(column(reply, "reason") == std::vector<std::string>{"time_dependent", "no_rule"});
    CHECK(column(reply, "sentence").at(1) == std::string{sentence(reason::no_rule)});
    CHECK(column(reply, "detail").at(0) == "now");
    CHECK(column(reply, "count").at(1) == "3");
    CHECK(column(reply, "fingerprint").at(1) == "0000000000000abc");
    CHECK(column(reply, "last_seen").at(0) == "2023-11-14 22:13:21.500 UTC");
}

TEST_CASE("SHOW SHADOW has what will differ first, then what fails, then the newest") {
    made_up_source source;
    const auto add = [&](std::string text, wall_time seen = noon) -> catalog::sampled_shape& {
        auto& one = source.shadow_rows.emplace_back();
        one.what.database = "tracker";
        one.what.role = "app";
        one.what.text = std::move(text);
        one.last_seen = seen;
        return one.what;
    };
    add("older").same = 2;
    add("newer", noon + 1500ms);
    auto& broken = add("broken");
    broken.errors = 1;
    broken.sqlstate = "42703";
    auto& changed = add("changed");
    changed.different = 3;
    changed.rows_without = 10;
    changed.rows_with = 4;
    const auto reply = run_console("SHOW SHADOW", source);
    CHECK(
        column(reply, "statement") ==
        std::vector<std::string>{"changed", "broken", "newer", "older"});
    CHECK(column(reply, "different").at(0) == "3");
    CHECK(column(reply, "rows_without").at(0) == "10");
    CHECK(column(reply, "rows_with").at(0) == "4");
    CHECK(column(reply, "sqlstate").at(1) == "42703");
    CHECK(column(reply, "same").at(3) == "2");
}

TEST_CASE("SHOW CACHE says whether Redis is there") {
    made_up_source source;
    source.cache_values.near_entries = 12;
    const auto redis = [&] {
        return line(run_console("SHOW CACHE", source), 1);
    };
    CHECK(redis() == "redis|not configured|the second store");
    source.cache_values.redis_connected = true;
    CHECK(redis() == "redis|connected|the second store");
    source.cache_values.redis_connected = false;
    CHECK(redis() == "redis|away|the second store");
    const auto reply = run_console("SHOW CACHE", source);
    CHECK(header(reply) == "item:25 value:25 meaning:25");
    bool seen = false;
    for (std::size_t i = 0; i < reply.rows.size(); ++i) {
        seen = seen || line(reply, i) == "near_entries|12|answers in memory now";
    }
    CHECK(seen);
}

TEST_CASE("SHOW RULES has them in the order in which they are tried") {
    made_up_source source;
    cache::rule one;
    one.name = "first";
    one.tables = {"a", "b.*"};
    one.statement_patterns = {"SELECT 1"};
    one.mode = cache::rule_mode::observe;
    one.ttl = 5s;
    one.where = "rules.yaml:3";
    cache::rule two;
    two.name = "second";
    two.bypass = true;
    source.values.rules.rules = {one, two};
    const auto reply = run_console("SHOW RULES", source);
    CHECK(
        header(reply) ==
        "number:23 name:25 mode:25 bypass:25 tables:25 statements:25 databases:25 roles:25 "
        "ttl_ms:20 max_size:20 where:25");
    CHECK(line(reply, 0) == "1|first|observe|false|a, b.*|SELECT 1|||5000|1048576|rules.yaml:3");
    CHECK(line(reply, 1) == "2|second|enabled|true|||||60000|1048576|");
}

TEST_CASE("RELOAD says what was wrong, and FLUSH flushes") {
    made_up_source source;
    CHECK(run_console("reload", source).command_tag == "RELOAD");
    CHECK(source.reloads == 1);
    source.reload_failure = "postern.yaml:3:1: no";
    const auto failed = run_console(" RELOAD ; ", source);
    CHECK(failed.error == "postern.yaml:3:1: no");
    CHECK(failed.sqlstate == "F0000");
    CHECK(failed.command_tag == "");
    CHECK(run_console("FLUSH", source).command_tag == "FLUSH");
    CHECK(source.flushes == 1);
}

TEST_CASE("commands are found whatever their case, spaces, comments and semicolon") {
    made_up_source source;
    for (const char* one :
         {"SHOW VERSION",
          "show version",
          "  Show\n\tVersion ;; ",
          "-- a comment\nSHOW VERSION",
          "/* a comment */ SHOW VERSION"}) {
        CAPTURE(one);
        CHECK(run_console(one, source).rows.size() == 1);
    }
    for (const char* one : {"", " ; ", "-- only a comment", "/* open"}) {
        CAPTURE(one);
        const auto reply = run_console(one, source);
        CHECK(reply.error == "");
        CHECK(reply.command_tag == "");
        CHECK(reply.columns.empty());
    }
}

TEST_CASE("SHOW HELP names every command, and each of them is known") {
    made_up_source source;
    source.paused = {""};
    const auto commands = column(run_console("SHOW HELP", source), "command");
    CHECK(commands.size() == 38);
    for (const auto& one : commands) {
        CAPTURE(one);
        const auto error = run_console(one.substr(0, one.find(" [")), source).error;
        CHECK(error.find("unknown console command") == error.npos);
        if (one.starts_with("SHOW")) CHECK(error == "");
    }
    CHECK(column(run_console("SHOW", source), "command") == commands);
}

TEST_CASE("what drivers send on their own is taken, anything else is refused") {
    made_up_source source;
    CHECK(run_console("SET extra_float_digits = 3", source).command_tag == "SET");
    CHECK(run_console("BEGIN", source).command_tag == "BEGIN");
    for (const char* one : {"SELECT 1", "SHOW STTS", "SHOW STATS; SHOW POOLS", "SETTLE"}) {
        CAPTURE(one);
        const auto reply = run_console(one, source);
        CHECK(
            reply.error ==
            "unknown console command \"" + std::string{one} + "\"; SHOW HELP lists them");
        CHECK(reply.sqlstate == "42601");
    }
    CHECK(source.reloads == 0);
}

TEST_CASE("shortening keeps whole characters") {
    CHECK(shorten("a  b\n\tc ", 10) == "a b c");
    CHECK(shorten("äöü", 2) == "äö…");
    CHECK(shorten("äöü", 3) == "äöü");
    CHECK(shorten("", 3) == "");
    CHECK(shorten("\xC3", 3) == "\xC3");
}

namespace {

made_up_source with_tracker() {
    made_up_source source;
    session::database database;
    database.name = "tracker";
    source.values.databases.push_back(database);
    return source;
}

}  // namespace

TEST_CASE("PAUSE waits until the last server is gone, and RESUME ends it") {
    auto source = with_tracker();
    source.drained = false;
    const auto waiting = admin::run_console({"pause tracker;"}, source);
    REQUIRE(waiting.progress);
    CHECK(source.paused == std::set<std::string>{"tracker"});
    CHECK_FALSE(waiting.progress().has_value());
    source.drained = true;
    CHECK(waiting.progress()->command_tag == "PAUSE");
    CHECK(run_console("PAUSE tracker", source).command_tag == "PAUSE");
    CHECK(run_console("RESUME", source).error == "Postern is not paused");
    CHECK(run_console("RESUME tracker", source).command_tag == "RESUME");
    const auto again = run_console("RESUME \"tracker\"", source);
    CHECK(again.error == "database \"tracker\" is not paused");
    CHECK(again.sqlstate == "55000");
}

TEST_CASE("PAUSE that another console resumes, or that is cancelled, is over") {
    auto source = with_tracker();
    source.drained = false;
    auto waiting = admin::run_console({"PAUSE"}, source);
    REQUIRE(waiting.progress);
    CHECK(run_console("PAUSE", source).error == "already paused");
    CHECK(run_console("RESUME", source).error == "");
    CHECK(waiting.progress()->error == "Postern was resumed before all its servers were gone");
    waiting = admin::run_console({"PAUSE"}, source);
    REQUIRE(waiting.undo);
    waiting.undo();
    CHECK(source.paused.empty());
    source.paused = {"tracker"};
    waiting = admin::run_console({"PAUSE tracker"}, source);
    waiting.undo();  // another PAUSE stands
    CHECK(source.paused == std::set<std::string>{"tracker"});
}

TEST_CASE("KILL, DISABLE and ENABLE want a database that there is, and not the console's") {
    auto source = with_tracker();
    for (const std::string command : {"KILL", "DISABLE", "ENABLE"}) {
        CAPTURE(command);
        CHECK(run_console(command, source).error == "a database is required");
        const auto unknown = run_console(command + " nowhere", source);
        CHECK(unknown.error == "no such database: nowhere");
        CHECK(unknown.sqlstate == "3D000");
        CHECK(run_console(command + " pgbouncer", source).sqlstate == "55000");
    }
    CHECK(run_console("PAUSE TRACKER", source).sqlstate == "3D000");
    CHECK(run_console("KILL tracker", source).command_tag == "KILL");
    CHECK(source.killed == "tracker");
    CHECK(source.paused == std::set<std::string>{"tracker"});
    CHECK(run_console("DISABLE tracker", source).command_tag == "DISABLE");
    CHECK(column(run_console("SHOW DATABASES", source), "paused") == std::vector<std::string>{"1"});
    CHECK(
        column(run_console("SHOW DATABASES", source), "disabled") == std::vector<std::string>{"1"});
    CHECK(run_console("ENABLE tracker", source).command_tag == "ENABLE");
    CHECK(source.disabled.empty());
}

TEST_CASE("KILL_CLIENT takes what SHOW CLIENTS shows") {
    made_up_source source;
    CHECK(run_console("KILL_CLIENT c12", source).command_tag == "KILL_CLIENT");
    CHECK(source.clients_killed == std::set<std::string>{"c12"});
    CHECK(run_console("KILL_CLIENT c404", source).error == "no such client: c404");
    CHECK(run_console("KILL_CLIENT", source).sqlstate == "42601");
}

TEST_CASE("WAIT_CLOSE waits for what RECONNECT has left") {
    auto source = with_tracker();
    source.outdated_servers = 1;
    CHECK(run_console("RECONNECT tracker", source).command_tag == "RECONNECT");
    CHECK(source.reconnects == 1);
    const auto waiting = admin::run_console({"WAIT_CLOSE"}, source);
    REQUIRE(waiting.progress);
    CHECK_FALSE(waiting.progress().has_value());
    source.outdated_servers = 0;
    CHECK(waiting.progress()->command_tag == "WAIT_CLOSE");
    CHECK(run_console("WAIT_CLOSE tracker", source).command_tag == "WAIT_CLOSE");
}

TEST_CASE("SHUTDOWN says for what it waits, and SUSPEND what to use instead") {
    made_up_source source;
    CHECK(run_console("SHUTDOWN soon", source).sqlstate == "42601");
    CHECK_FALSE(source.shut_down_how.has_value());
    CHECK(run_console("SHUTDOWN", source).command_tag == "SHUTDOWN");
    CHECK(source.shut_down_how == shutdown_mode::at_once);
    run_console("shutdown wait_for_servers", source);
    CHECK(source.shut_down_how == shutdown_mode::wait_for_servers);
    run_console("SHUTDOWN WAIT_FOR_CLIENTS;", source);
    CHECK(source.shut_down_how == shutdown_mode::wait_for_clients);
    CHECK(run_console("SUSPEND", source).sqlstate == "0A000");
}

TEST_CASE("users of admin.stats_users may only look") {
    auto source = with_tracker();
    for (const char* one : {"SHOW STATS", "SHOW CACHE WHY", "SET extra_float_digits = 3"}) {
        CAPTURE(one);
        CHECK(admin::run_console({one, false}, source).reply.error == "");
    }
    for (const char* one : {"SHOW FDS", "RELOAD", "FLUSH", "PAUSE", "KILL tracker", "SHUTDOWN"}) {
        CAPTURE(one);
        CHECK(admin::run_console({one, false}, source).reply.sqlstate == "42501");
    }
    CHECK(source.paused.empty());
    CHECK(source.reloads == 0);
}

TEST_CASE("SET of what the configuration decides is refused rather than forgotten") {
    made_up_source source;
    CHECK(
        run_console("SET limits.clients = 5", source).error ==
        "\"limits.clients\" is set in postern.yaml: change it there, then RELOAD");
    CHECK(run_console("SET limits.clients=5", source).sqlstate == "55P02");
}

TEST_CASE("SHOW MEM shows no more than its columns hold, and SHOW FDS no secret") {
    made_up_source source;
    CHECK(line(run_console("SHOW MEM", source), 0) == "near_cache|0|3|0|2147483647");
    source.client_rows = {{}};
    const auto fds = run_console("SHOW FDS", source);
    CHECK(line(fds, 0) == "5|pooler|~|~|127.0.0.1|6432|0|0|~|~|~|~|~|~|~");
    CHECK(fds.rows.size() == 2);
}
