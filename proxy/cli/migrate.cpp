// The command line of `postern migrate`; what it does is in the room migrate.

#include "cli/migrate.hpp"

#include "cli/commands.hpp"
#include "cli/configuration.hpp"
#include "migrate/read_folder.hpp"
#include "session/conninfo.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <utility>

namespace postern::cli {

namespace {

/// What the command line says, as it says it.
struct migrate_options {
    migrate::request asked;
    std::string config;
    std::string name;
    std::string lock_wait = "30s";
    std::string lock_timeout = "1s";
    std::string statement_timeout = "0";
    bool json = false;
    bool exit_code = false;
    bool no_verify = false;
    int done = -1;
};

int fail(const std::string& message) {
    fmt::print(stderr, "{}\n", message);
    return 1;
}

outcome<void> take_database(migrate_options& options) {
    if (options.config.empty()) return {};
    const auto loaded = load_configuration(options.config);
    if (loaded.has_error()) return loaded.error();
    const auto& databases = loaded.value().session.databases;
    for (const auto& one : databases) {
        if (one.name != options.name && (!options.name.empty() || databases.size() > 1)) continue;
        options.asked.conninfo = service_conninfo(one);
        return {};
    }
    return failure{
        options.name.empty() ? "several databases: say which with --name"
                             : fmt::format("no database \"{}\" there", options.name)};
}

outcome<void> take_durations(migrate_options& options) {
    auto& settings = options.asked.settings;
    const struct {
        const char* option;
        const std::string& text;
        std::chrono::milliseconds& into;
    } all[] = {
        {"--lock-wait", options.lock_wait, options.asked.lock_wait},
        {"--lock-timeout", options.lock_timeout, settings.lock_timeout},
        {"--statement-timeout", options.statement_timeout, settings.statement_timeout}};
    for (const auto& one : all) {
        const auto parsed = migrate::parse_duration(one.text);
        if (!parsed) {
            return failure{fmt::format(
                "{} {}: expected a duration such as 500ms, 2s or 5min",
                one.option,
                one.text)};
        }
        one.into = *parsed;
    }
    return {};
}

void print_step(const migrate::step_report& one) {
    if (one.error) {
        fmt::print("{:<17} {} FAILED\n", one.kind, one.file);
        return;
    }
    const auto& result = one.result;
    std::string more;
    if (result.rows > 0) more += fmt::format(", {} rows", result.rows);
    if (result.attempts > 1) more += fmt::format(", {} attempts", result.attempts);
    const auto took = one.kind == "verify" ? ""
                                           : fmt::format(" ({} ms{})", result.duration_ms, more);
    fmt::print("{:<17} {}{}\n", one.kind, one.file, took);
    std::fflush(stdout);
}

migrate::listener listen(bool json) {
    migrate::listener told;
    told.say = [](const std::string& line) {
        fmt::print(stderr, "  {}\n", line);
    };
    told.begin = [](const migrate::step_report&) {
    };
    told.end = [json](const migrate::step_report& one) {
        if (!json) print_step(one);
    };
    return told;
}

int exit_status(const migrate::report& made, bool exit_code) {
    if (made.error) return made.error->kind == migrate::problem_kind::stopped ? 3 : 1;
    return exit_code && made.attention ? 2 : 0;
}

int run_migrate(migrate_options& options) {
    auto& asked = options.asked;
    if (asked.conninfo.empty() == options.config.empty())
        return fail("say which database: either --database CONNINFO or -c postern.yaml");
    if (const auto taken = take_database(options); taken.has_error())
        return fail(taken.error().message);
    if (const auto taken = take_durations(options); taken.has_error())
        return fail(taken.error().message);
    if (options.done >= 0) asked.done = static_cast<unsigned>(options.done);
    asked.settings.verify = !options.no_verify;
    asked.settings.by = {version_number(), migrate::git_commit_around(asked.migrations)};

    const auto made = migrate::execute(asked, listen(options.json));
    for (const auto& warning : made.warnings)
        fmt::print(stderr, "warning: {}\n", warning);
    fmt::print("{}", options.json ? migrate_json(made) + "\n" : migrate_text(made));
    if (made.error) fmt::print(stderr, "{}\n", made.error->to_text());
    return exit_status(made, options.exit_code);
}

void add_common(CLI::App& to, migrate_options& options) {
    to.add_option("--database", options.asked.conninfo, "Of a direct connection")
        ->type_name("CONNINFO|URI");
    to.add_option("-c,--config", options.config, "Take the database from postern.yaml")
        ->type_name("FILE");
    to.add_option("--name", options.name, "Which of postern.yaml's databases");
    to.add_option("--migrations", options.asked.migrations, "VERSION_name.up.sql, .down, .verify")
        ->type_name("DIR")
        ->capture_default_str();
    to.add_option("--policies", options.asked.policies, "Files applied again when they change")
        ->type_name("DIR")
        ->capture_default_str();
    to.add_flag("--json", options.json, "One JSON object");
    to.add_flag("--exit-code", options.exit_code, "2 when something is pending or not right");
}

void add_running(CLI::App& to, migrate_options& options) {
    to.add_flag("--dry-run", options.asked.dry_run, "Print the SQL, change nothing");
    to.add_option("--lock-wait", options.lock_wait, "For another migration to end")
        ->capture_default_str();
    to.add_option("--lock-timeout", options.lock_timeout, "Unless the file says another")
        ->capture_default_str();
    to.add_option("--statement-timeout", options.statement_timeout, "Likewise; 0: none")
        ->capture_default_str();
    to.add_option("--retry", options.asked.settings.retry, "After lock trouble; likewise")
        ->capture_default_str();
    to.add_flag("--verbose", options.asked.settings.verbose, "Tell each statement and its time");
    to.add_flag("--no-verify", options.no_verify, "Don't run verify files after each step");
}

}  // namespace

void add_migrate(CLI::App& app, int& status) {
    const auto options = std::make_shared<migrate_options>();
    auto* const all = app.add_subcommand("migrate", "Bring a database's schema up or down");
    all->require_subcommand(1);
    const auto add = [&](migrate::verb what, const char* meaning) {
        auto* const one = all->add_subcommand(migrate::to_string(what), meaning);
        add_common(*one, *options);
        one->callback([options, what, &status] {
            options->asked.what = what;
            status = run_migrate(*options);
        });
        return one;
    };
    auto& asked = options->asked;
    using migrate::verb;
    add(verb::status, "Say what is applied, pending, drifted or half done");
    add(verb::verify, "Run the verify files of what is applied");

    auto* const plan = add(verb::plan, "Say what up would do");
    auto* const up = add(verb::up, "Apply what is pending, then repeatable files that changed");
    for (auto* const one : {plan, up}) {
        one->add_option("--to", asked.version, "The last version; default: all");
        one->add_flag("--out-of-order", asked.out_of_order, "Versions below applied ones too");
        add_running(*one, *options);
    }
    auto* const down = add(verb::down, "Undo what is applied above a version");
    down->add_option("--to", asked.version, "The version that stays; 0: none")->required();
    auto* const redo = add(verb::redo, "Undo the newest version and apply it again");
    for (auto* const one : {down, redo}) {
        one->add_flag("--allow-data-loss", asked.allow_data_loss, "Down files that lose data too");
        add_running(*one, *options);
    }
    auto* const baseline = add(verb::baseline, "Take all up to a version as applied");
    baseline->add_option("version", asked.version)->required();
    add_running(*baseline, *options);
    auto* const repair = add(verb::repair, "Accept changed files; say how far a half done one is");
    repair->add_option("version", asked.version, "Default: accept all files as they are now");
    auto* const done = repair->add_option("--done", options->done, "So many statements are done");
    done->check(CLI::NonNegativeNumber);
    repair->add_flag("--forget", asked.forget, "Drop the version from the history")->excludes(done);
    add_running(*repair, *options);
}

}  // namespace postern::cli
