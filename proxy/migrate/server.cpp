#include "migrate/server.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <utility>

namespace postern::migrate {

namespace {

using clock = std::chrono::steady_clock;

// Bounds how late a signal that came just before poll() is seen.
constexpr int poll_ms = 100;

volatile std::sig_atomic_t signal_count = 0;
struct sigaction previous_int;
struct sigaction previous_term;

void count_signal(int) {
    signal_count = signal_count + 1;
}

struct result_closer {
    void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using result_ptr = std::unique_ptr<PGresult, result_closer>;

std::string trimmed(const char* text) {
    std::string words = text == nullptr ? "" : text;
    while (!words.empty() && (words.back() == '\n' || words.back() == ' '))
        words.pop_back();
    return words;
}

std::string field(const PGresult* result, int code) {
    return trimmed(PQresultErrorField(result, code));
}

problem sql_problem(const PGresult* result) {
    problem found{problem_kind::sql, field(result, PG_DIAG_MESSAGE_PRIMARY)};
    if (found.message.empty()) found.message = trimmed(PQresultErrorMessage(result));
    found.sqlstate = field(result, PG_DIAG_SQLSTATE);
    found.detail = field(result, PG_DIAG_MESSAGE_DETAIL);
    found.hint = field(result, PG_DIAG_MESSAGE_HINT);
    found.context = field(result, PG_DIAG_CONTEXT);
    const auto position = field(result, PG_DIAG_STATEMENT_POSITION);
    std::from_chars(position.data(), position.data() + position.size(), found.position);
    return found;
}

reply take_reply(PGresult* result) {
    reply taken;
    taken.has_rows = PQresultStatus(result) == PGRES_TUPLES_OK;
    const char* const count = PQcmdTuples(result);
    if (*count != '\0') {
        std::uint64_t number = 0;
        std::from_chars(count, count + std::strlen(count), number);
        taken.affected = number;
    }
    for (int row = 0; row < PQntuples(result); ++row) {
        auto& fields = taken.rows.emplace_back();
        for (int column = 0; column < PQnfields(result); ++column)
            fields.emplace_back(PQgetvalue(result, row, column));
    }
    return taken;
}

void receive_notice(void* to, const PGresult* result) {
    const auto& receiver = *static_cast<server::notice_receiver*>(to);
    if (receiver) receiver(trimmed(PQresultErrorMessage(result)));
}

void cancel(PGconn* handle) {
    PGcancel* const request = PQgetCancel(handle);
    std::array<char, 256> error{};
    if (request != nullptr) PQcancel(request, error.data(), static_cast<int>(error.size()));
    PQfreeCancel(request);
}

bool ended_badly(ExecStatusType status) {
    return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE ||
           status == PGRES_NONFATAL_ERROR;
}

// Data can't come from here nor go anywhere; left alone the connection would wait for ever.
void refuse_copy(PGconn* handle, ExecStatusType status) {
    if (status == PGRES_COPY_IN) PQputCopyEnd(handle, "a migration has no data of its own");
    if (status != PGRES_COPY_OUT) return;
    cancel(handle);
    char* line = nullptr;
    while (PQgetCopyData(handle, &line, 0) > 0)
        PQfreemem(line);
}

}  // namespace

stop_signals::stop_signals() {
    signal_count = 0;
    struct sigaction action {};
    action.sa_handler = count_signal;  // without SA_RESTART: it wakes poll()
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, &previous_int);
    sigaction(SIGTERM, &action, &previous_term);
}

stop_signals::~stop_signals() {
    sigaction(SIGINT, &previous_int, nullptr);
    sigaction(SIGTERM, &previous_term, nullptr);
}

int stop_signals::count() noexcept {
    return signal_count;
}

bool stop_signals::wait(std::chrono::milliseconds time) noexcept {
    const auto end = clock::now() + time;
    while (signal_count == 0) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - clock::now());
        if (left.count() <= 0) break;
        ::poll(nullptr, 0, static_cast<int>(std::min<std::int64_t>(left.count(), poll_ms)));
    }
    return signal_count == 0;
}

server::server() = default;
server::~server() = default;
server::server(server&&) noexcept = default;
server& server::operator=(server&&) noexcept = default;

void server::closer::operator()(pg_conn* handle) const noexcept {
    PQfinish(handle);
}

answer<server> server::connect(const std::string& conninfo) {
    server made;
    made.conninfo_ = conninfo;
    // As a database name it is expanded, and the settings after it override what it says.
    const std::array<const char*, 4> keywords{
        "dbname",
        "client_encoding",
        "fallback_application_name",
        nullptr};
    const std::array<const char*, 4> values{conninfo.c_str(), "UTF8", "postern migrate", nullptr};
    made.handle_.reset(PQconnectdbParams(keywords.data(), values.data(), 1));
    if (PQstatus(made.handle_.get()) != CONNECTION_OK)
        return problem{problem_kind::connection, trimmed(PQerrorMessage(made.handle_.get()))};
    made.on_notice({});
    return made;
}

void server::on_notice(notice_receiver call) {
    notices_ = std::make_unique<notice_receiver>(std::move(call));
    PQsetNoticeReceiver(handle_.get(), receive_notice, notices_.get());
}

problem server::lost(const std::string& words) {
    problem found{problem_kind::connection, "the connection to PostgreSQL was lost: " + words};
    found.hint = "what was committed stands: look with `postern migrate status`, go on with up";
    return found;
}

bool server::wait(clock::time_point since, bool& cancelled) {
    while (PQisBusy(handle_.get()) != 0) {
        pollfd events{PQsocket(handle_.get()), POLLIN, 0};
        const int ready = ::poll(&events, 1, poll_ms);
        if (ready < 0 && errno != EINTR) return false;
        if (ready > 0 && PQconsumeInput(handle_.get()) == 0) return false;
        if (stop_signals::count() > 1 && !std::exchange(cancelled, true)) cancel(handle_.get());
        if (ready <= 0 && tick_) {
            tick_(std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - since));
        }
    }
    return true;
}

answer<reply> server::run(const std::string& sql) {
    if (PQsendQuery(handle_.get(), sql.c_str()) == 0)
        return lost(trimmed(PQerrorMessage(handle_.get())));
    const auto since = clock::now();
    if (tick_) tick_(std::chrono::milliseconds(0));
    bool cancelled = false;
    std::optional<problem> error;
    reply last;
    for (;;) {
        if (!wait(since, cancelled)) return lost(trimmed(PQerrorMessage(handle_.get())));
        const result_ptr next(PQgetResult(handle_.get()));
        if (next == nullptr) break;
        const auto status = PQresultStatus(next.get());
        refuse_copy(handle_.get(), status);
        if (ended_badly(status) && !error) error = sql_problem(next.get());
        if (!error) last = take_reply(next.get());
    }
    if (is_lost()) return lost(error ? error->message : trimmed(PQerrorMessage(handle_.get())));
    if (error && cancelled && error->sqlstate == "57014") {
        error->kind = problem_kind::stopped;
        error->message = "cancelled by a second signal";
    }
    if (error) return *std::move(error);
    return last;
}

answer<std::string> server::value(const std::string& sql) {
    auto answered = run(sql);
    if (answered.has_error()) return answered.error();
    const auto& rows = answered.value().rows;
    if (rows.empty() || rows.front().empty()) return std::string();
    return rows.front().front();
}

bool server::is_lost() const noexcept {
    return handle_ == nullptr || PQstatus(handle_.get()) != CONNECTION_OK;
}

bool server::in_transaction() const noexcept {
    const auto status = PQtransactionStatus(handle_.get());
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

int server::backend_pid() const noexcept {
    return PQbackendPID(handle_.get());
}

int server::major_version() const noexcept {
    return PQserverVersion(handle_.get()) / 10000;
}

std::string server::database() const {
    const char* const name = PQdb(handle_.get());
    return name == nullptr ? "" : name;
}

}  // namespace postern::migrate
