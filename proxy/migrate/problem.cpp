#include "migrate/problem.hpp"

#include <fmt/format.h>

#include <stdexcept>

namespace postern::migrate {

const char* to_string(problem_kind kind) noexcept {
    switch (kind) {
    case problem_kind::usage: return "usage";
    case problem_kind::file: return "file";
    case problem_kind::drift: return "drift";
    case problem_kind::missing: return "missing";
    case problem_kind::out_of_order: return "out_of_order";
    case problem_kind::unmet: return "unmet";
    case problem_kind::dirty: return "dirty";
    case problem_kind::irreversible: return "irreversible";
    case problem_kind::locked: return "locked";
    case problem_kind::connection: return "connection";
    case problem_kind::sql: return "sql";
    case problem_kind::verify: return "verify";
    case problem_kind::stopped: return "stopped";
    }
    return "unknown";
}

std::string problem::to_text() const {
    std::string text;
    if (!file.empty()) text += file + ":";
    if (line > 0) text += fmt::format("{}:", line);
    if (!text.empty()) text += ' ';
    if (statement > 0) text += fmt::format("statement {}: ", statement);
    text += message;
    if (!sqlstate.empty()) text += fmt::format(" (SQLSTATE {})", sqlstate);
    if (!detail.empty()) text += "\n  DETAIL: " + detail;
    if (!hint.empty()) text += "\n  HINT: " + hint;
    if (!summary.empty()) text += "\n  STATEMENT: " + summary;
    if (!context.empty()) text += "\n  CONTEXT: " + context;
    return text;
}

void throw_exception_from_error(const problem& error, const boost::source_location&) {
    throw std::runtime_error(error.to_text());
}

}  // namespace postern::migrate
