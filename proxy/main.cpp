// The subcommand table, and nothing more.

#include "cli/audit.hpp"
#include "cli/commands.hpp"
#include "cli/migrate.hpp"

#include <CLI/CLI.hpp>
#include <string>

int main(int argc, char** argv) {
    namespace cli = postern::cli;
    CLI::App app{"Postern: a caching, pooling sidecar for PostgreSQL that keeps its cache true"};
    app.require_subcommand(1);

    std::string path;
    bool json = false;
    cli::explain_request asked;
    int status = 0;
    const auto command = [&](const char* name, const char* meaning) {
        auto* const one = app.add_subcommand(name, meaning);
        one->add_option("-c,--config", path, "postern.yaml")->required()->type_name("FILE");
        return one;
    };

    bool takeover = false;
    auto* const serve = command("serve", "Run the proxy until SIGTERM");
    serve->add_flag("--takeover", takeover, "Take over from the process that runs");
    serve->callback([&] { status = cli::serve_file(path, takeover); });

    auto* const check = command("check", "Read the configuration and say what is wrong with it");
    check->add_flag("--json", json, "One JSON object");
    check->callback([&] { status = cli::check(path, json); });

    auto* const explain = command("explain", "Say whether a statement could be cached, and why");
    explain->add_option("--database", asked.database, "As in postern.yaml; default: the only one");
    explain->add_option("--role", asked.role, "Who runs it; default: the only user");
    explain->add_option("--search-path", asked.search_path, "Under which names are found")
        ->capture_default_str();
    explain->add_flag("--json", asked.json, "One JSON object");
    explain->add_option("statement", asked.statement, "SQL, with $1 … for parameters")->required();
    explain->callback([&] { status = cli::explain(path, asked); });

    command("flush", "Drop everything that the running proxy has cached")->callback([&] {
        status = cli::flush(path);
    });

    cli::add_migrate(app, status);
    cli::add_audit(app, status);

    app.add_subcommand("version", "Print the version")->callback([&] { status = cli::version(); });

    CLI11_PARSE(app, argc, argv);
    return status;
}
