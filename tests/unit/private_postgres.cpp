#include "private_postgres.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace postern::test {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void give_up(const std::string& why) {
    std::fprintf(stderr, "private PostgreSQL: %s\n", why.c_str());
    std::abort();
}

// The newest version that is installed, or the folder that POSTERN_PG_BIN names.
std::string find_programs() {
    if (const char* named = std::getenv("POSTERN_PG_BIN")) return named;
    std::string best;
    int best_version = 0;
    std::error_code ignored;
    for (const auto& one : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
        const int version = std::atoi(one.path().filename().c_str());
        if (version <= best_version || !fs::exists(one.path() / "bin/initdb")) continue;
        best_version = version;
        best = one.path() / "bin";
    }
    if (best.empty()) give_up("not installed; POSTERN_PG_BIN may name the folder of initdb");
    return best;
}

std::uint16_t find_free_port() {
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    void* const raw = &address;
    if (::bind(socket, static_cast<sockaddr*>(raw), size) != 0 ||
        ::getsockname(socket, static_cast<sockaddr*>(raw), &size) != 0) {
        give_up("no free port");
    }
    ::close(socket);
    return ntohs(address.sin_port);
}

// Starts a program, as "postgres" when this is root; it ends when this process does.
pid_t spawn(std::vector<std::string> words, const std::string& log) {
    std::vector<std::string> command{"setpriv", "--pdeathsig", "QUIT"};
    if (::geteuid() == 0) {
        command.insert(command.end(), {"--reuid=postgres", "--regid=postgres", "--clear-groups"});
    }
    command.insert(command.end(), words.begin(), words.end());
    std::vector<char*> arguments;
    for (auto& word : command)
        arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::setpgid(0, 0);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
}

struct connection_closer {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
struct result_closer {
    void operator()(PGresult* answer) const { PQclear(answer); }
};

}  // namespace

private_postgres::private_postgres(std::vector<std::string> settings)
    : port_(find_free_port()) {
    std::string pattern = (fs::temp_directory_path() / "postern-pg-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) give_up("no temporary folder");
    folder_ = pattern;
    if (::geteuid() == 0) {
        const auto* user = ::getpwnam("postgres");
        if (user == nullptr || ::chown(folder_.c_str(), user->pw_uid, user->pw_gid) != 0) {
            give_up("no user postgres to run as");
        }
    }
    const pid_t child = spawn(
        {find_programs() + "/initdb",
         "--pgdata=" + folder_ + "/data",
         "--username=postgres",
         "--auth=trust",
         "--encoding=UTF8",
         "--locale=C",
         "--no-sync"},
        folder_ + "/initdb.log");
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) give_up("initdb failed, see " + folder_ + "/initdb.log");
    std::ofstream configuration(folder_ + "/data/postgresql.conf", std::ios::app);
    configuration << fmt::format(
        "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\n"
        "fsync = off\nsynchronous_commit = off\nautovacuum = off\nmax_connections = 40\n",
        port_,
        folder_);
    for (const auto& line : settings)
        configuration << line << '\n';
    configuration.close();
    start();
}

private_postgres::~private_postgres() {
    stop();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
}

std::string private_postgres::conninfo(const std::string& database) const {
    return fmt::format("host={} port={} user=postgres dbname={}", folder_, port_, database);
}

bool private_postgres::answers() const {
    const std::unique_ptr<PGconn, connection_closer> connection(PQconnectdb(conninfo().c_str()));
    return PQstatus(connection.get()) == CONNECTION_OK;
}

void private_postgres::start() {
    server_ = spawn(
        {find_programs() + "/postgres", "-D", folder_ + "/data"},
        folder_ + "/server.log");
    for (int attempt = 0; attempt < 600; ++attempt) {
        if (answers()) return;
        int status = 0;
        if (::waitpid(server_, &status, WNOHANG) == server_) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    give_up("does not start, see " + folder_ + "/server.log");
}

void private_postgres::stop() {
    if (server_ < 0) return;
    ::kill(server_, SIGQUIT);
    int status = 0;
    ::waitpid(server_, &status, 0);
    server_ = -1;
}

std::string private_postgres::run(const std::string& sql, const std::string& database) const {
    const std::unique_ptr<PGconn, connection_closer> connection(
        PQconnectdb(conninfo(database).c_str()));
    const std::unique_ptr<PGresult, result_closer> answer(PQexec(connection.get(), sql.c_str()));
    const auto status = PQresultStatus(answer.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        give_up(PQerrorMessage(connection.get()) + sql);
    }
    return PQntuples(answer.get()) > 0 ? PQgetvalue(answer.get(), 0, 0) : "";
}

}  // namespace postern::test
