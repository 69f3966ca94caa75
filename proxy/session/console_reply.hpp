// What a client asks of the admin console and what it answers, without the protocol's messages.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace postern::session {

struct console_request {
    std::string command;
    bool may_act = true;  ///< false: it may only SHOW
    /// Becomes true when the client cancels the command, or null: it can't. Read on any thread.
    std::shared_ptr<const std::atomic<bool>> cancelled = {};
};

/// Either a failure (`error` is not empty) or a result: columns and rows where there are columns,
/// then the command tag. An empty tag without columns answers an empty query.
struct console_reply {
    struct column {
        std::string name;
        std::uint32_t type_oid = 25;  ///< pg_type.oid; values are in text format always
    };
    std::vector<column> columns;
    std::vector<std::vector<std::optional<std::string>>> rows;  ///< absent: NULL
    std::string command_tag;

    std::string error;     ///< message for people
    std::string sqlstate;  ///< five characters, with `error` only
};

}  // namespace postern::session
