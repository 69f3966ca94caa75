#include "catalog/connection.hpp"

#include "base/assert.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace postern::catalog {
namespace {

using clock = std::chrono::steady_clock;

struct result_closer {
    void operator()(PGresult* answer) const noexcept { PQclear(answer); }
};
using result_ptr = std::unique_ptr<PGresult, result_closer>;

enum class waited : std::uint8_t { ready, timed_out, called_off };

// Until the socket is ready for `events`, the deadline has passed or `stop` is signalled.
waited wait_for(int socket, short events, clock::time_point deadline, const wakeup* stop) {
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()).count();
        if (left <= 0) return waited::timed_out;
        std::array<pollfd, 2> watched{{{socket, events, 0}, {-1, POLLIN, 0}}};
        if (stop != nullptr) watched[1].fd = stop->descriptor();
        const int count = ::poll(
            watched.data(),
            watched.size(),
            static_cast<int>(std::min<std::int64_t>(left, 60'000)));
        if (count > 0 && watched[1].revents != 0) return waited::called_off;
        if (count > 0) return waited::ready;
    }
}

// libpq's words in one line.
std::string one_line(const char* message) {
    std::string text = message == nullptr ? "" : message;
    while (text.ends_with('\n'))
        text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::erase(text, '\t');
    return text;
}

// Notices go nowhere: libpq would write them to stderr.
void ignore_notice(void*, const PGresult*) {}

std::string_view say(waited outcome) noexcept {
    return outcome == waited::timed_out ? "no answer in time" : "called off";
}

rows take_rows(PGresult* answer) {
    rows taken(static_cast<std::size_t>(PQntuples(answer)));
    for (int row = 0; row < PQntuples(answer); ++row) {
        auto& fields = taken[static_cast<std::size_t>(row)];
        fields.reserve(static_cast<std::size_t>(PQnfields(answer)));
        for (int column = 0; column < PQnfields(answer); ++column) {
            fields.emplace_back(
                PQgetvalue(answer, row, column),
                static_cast<std::size_t>(PQgetlength(answer, row, column)));
        }
    }
    return taken;
}

bool is_error(PGresult* answer) noexcept {
    const auto status = PQresultStatus(answer);
    return status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY &&
           status != PGRES_SINGLE_TUPLE;
}

using field_values = std::vector<std::optional<std::string_view>>;

void take_columns(PGresult* answer, field_values& fields, answer_digest& into) {
    fields.clear();
    for (int column = 0; column < PQnfields(answer); ++column)
        fields.emplace_back(PQfname(answer, column));
    into.columns(fields);
}

void take_row(PGresult* answer, field_values& fields, answer_digest& into) {
    fields.clear();
    for (int column = 0; column < PQnfields(answer); ++column) {
        auto& value = fields.emplace_back();
        if (PQgetisnull(answer, 0, column) != 0) continue;
        value = std::string_view{
            PQgetvalue(answer, 0, column),
            static_cast<std::size_t>(PQgetlength(answer, 0, column))};
    }
    into.row(fields);
}

int send(PGconn* handle, const std::string& sql, const bound_parameters& bound) {
    const auto count = bound.values.size();
    auto types = bound.types;
    types.resize(count);
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
    for (std::size_t i = 0; i < count; ++i) {
        const auto& value = bound.values[i];
        values.push_back(value ? value->c_str() : nullptr);
        lengths.push_back(value ? static_cast<int>(value->size()) : 0);
        const auto& given = bound.formats;
        formats.push_back(given.empty() ? 0 : given.size() == 1 ? given[0] : given.at(i));
    }
    return PQsendQueryParams(
        handle,
        sql.c_str(),
        static_cast<int>(count),
        types.data(),
        values.data(),
        lengths.data(),
        formats.data(),
        0);
}

}  // namespace

wakeup::wakeup()
    : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    POSTERN_ASSERT(descriptor_ >= 0);
}

wakeup::~wakeup() {
    ::close(descriptor_);
}

void wakeup::signal() noexcept {
    ::eventfd_write(descriptor_, 1);
}

void wakeup::clear() noexcept {
    eventfd_t count = 0;
    ::eventfd_read(descriptor_, &count);
}

void connection::closer::operator()(pg_conn* handle) const noexcept {
    PQfinish(handle);
}

// libpq's own words where it has any.
failure connection::broken(std::string_view what, std::string_view code) {
    sqlstate_ = code;
    auto words = one_line(PQerrorMessage(handle_.get()));
    close();
    return {words.empty() ? std::string(what) : std::move(words)};
}

failure connection::refused(const pg_result* answer) {
    const char* code = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    sqlstate_ = code != nullptr ? code : "08006";
    return {one_line(PQresultErrorMessage(answer))};
}

/// Until PQgetResult() need not wait; the failure, after which the connection is closed.
std::optional<failure> connection::await_result(time_point until, const wakeup* stop) {
    while (PQisBusy(handle_.get()) != 0) {
        const auto how = wait_for(PQsocket(handle_.get()), POLLIN, until, stop);
        if (how != waited::ready) return broken(say(how), "57014");
        if (PQconsumeInput(handle_.get()) == 0) return broken("connection lost");
    }
    return std::nullopt;
}

outcome<void> connection::open(
    const std::string& conninfo,
    std::chrono::milliseconds limit,
    const wakeup* stop) {
    // As a database name conninfo is expanded, and the settings beside it override what it says.
    const std::array<const char*, 4> keywords{
        "dbname",
        "client_encoding",
        "fallback_application_name",
        nullptr};
    const std::array<const char*, 4> values{conninfo.c_str(), "UTF8", "postern catalog", nullptr};
    const auto deadline = clock::now() + limit;
    handle_.reset(PQconnectStartParams(keywords.data(), values.data(), 1));
    if (handle_ == nullptr) return failure{"out of memory"};
    PQsetNoticeReceiver(handle_.get(), ignore_notice, nullptr);
    auto step = PGRES_POLLING_WRITING;
    while (PQstatus(handle_.get()) != CONNECTION_BAD && step != PGRES_POLLING_OK) {
        const short events = step == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        const auto how = wait_for(PQsocket(handle_.get()), events, deadline, stop);
        if (how != waited::ready) return broken(say(how));
        step = PQconnectPoll(handle_.get());
        if (step == PGRES_POLLING_FAILED) break;
    }
    if (PQstatus(handle_.get()) != CONNECTION_OK) return broken("connection failed");
    return {};
}

outcome<rows> connection::query(
    const std::string& sql,
    std::chrono::milliseconds limit,
    const wakeup* stop,
    const std::vector<std::string>& parameters) {
    if (handle_ == nullptr) return failure{"not connected"};
    std::vector<const char*> values;
    for (const auto& one : parameters)
        values.push_back(one.c_str());
    const int sent = values.empty() ? PQsendQuery(handle_.get(), sql.c_str())
                                    : PQsendQueryParams(
                                          handle_.get(),
                                          sql.c_str(),
                                          static_cast<int>(values.size()),
                                          nullptr,
                                          values.data(),
                                          nullptr,
                                          nullptr,
                                          0);
    if (sent == 0) return broken("query not sent");
    const auto until = clock::now() + limit;
    result_ptr last;
    std::optional<failure> error;
    for (;;) {
        if (auto lost = await_result(until, stop)) return *std::move(lost);
        result_ptr next(PQgetResult(handle_.get()));
        if (next == nullptr) break;
        if (is_error(next.get()) && !error) error = refused(next.get());
        last = std::move(next);
    }
    if (PQstatus(handle_.get()) != CONNECTION_OK) return broken("connection lost");
    if (error) return *std::move(error);
    return last == nullptr ? rows{} : take_rows(last.get());
}

outcome<answer_digest> connection::digest(
    const std::string& sql,
    const bound_parameters& bound,
    std::uint64_t rows_max,
    std::chrono::milliseconds limit,
    const wakeup* stop) {
    if (handle_ == nullptr) return failure{"not connected"};
    if (send(handle_.get(), sql, bound) == 0) return broken("query not sent");
    PQsetSingleRowMode(handle_.get());
    const auto until = clock::now() + limit;
    answer_digest found;
    field_values fields;
    bool knows_columns = false;
    std::optional<failure> error;
    for (;;) {
        if (auto lost = await_result(until, stop)) return *std::move(lost);
        result_ptr next(PQgetResult(handle_.get()));
        if (next == nullptr) break;
        if (is_error(next.get())) {
            if (!error) error = refused(next.get());
            // The start of a copy would be read for ever.
            const auto status = PQresultStatus(next.get());
            if (status != PGRES_FATAL_ERROR) return broken("an answer that is none", "0A000");
            continue;
        }
        if (!std::exchange(knows_columns, true)) take_columns(next.get(), fields, found);
        if (PQresultStatus(next.get()) != PGRES_SINGLE_TUPLE) continue;
        if (found.rows() == rows_max) {
            sqlstate_ = "54000";
            close();
            return failure{fmt::format("more than {} rows", rows_max)};
        }
        take_row(next.get(), fields, found);
    }
    if (PQstatus(handle_.get()) != CONNECTION_OK) return broken("connection lost");
    if (error) return *std::move(error);
    return found;
}

bool connection::is_open() const noexcept {
    return handle_ != nullptr;
}

int connection::descriptor() const noexcept {
    return handle_ == nullptr ? -1 : PQsocket(handle_.get());
}

bool connection::still_there() {
    if (handle_ == nullptr) return false;
    if (PQconsumeInput(handle_.get()) != 0 && PQstatus(handle_.get()) == CONNECTION_OK) return true;
    close();
    return false;
}

}  // namespace postern::catalog
