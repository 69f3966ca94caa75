// One SQL file: its directives, its checksum and its statements, each with the line it begins on.

#pragma once

#include "migrate/directives.hpp"
#include "migrate/problem.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::migrate {

struct statement {
    std::string text;   ///< without leading comments and without the semicolon
    unsigned line = 1;  ///< of its first word, counted from 1
};

struct script {
    std::string file;    ///< as messages name it
    std::string sha256;  ///< of all its bytes, 64 hexadecimal digits
    directives header;
    std::vector<statement> statements;
    /// What PostgreSQL 15's grammar can't make sense of. A newer server may: then its word counts,
    /// and `statements` were found by the lexical rules alone.
    std::optional<problem> unparsed;

    /// SHA-256 over the texts of the first `count` statements, whatever stands between them.
    std::string sha256_of_first(std::size_t count) const;
};

/// Reads a file's text. Fails with problem_kind::file on what no server would take: bad directives,
/// psql's meta-commands, COPY from the client, transaction control that isn't one pair of brackets
/// around everything (a BEGIN and a COMMIT like that are left out: the tool makes them itself).
answer<script> parse_script(std::string_view file, std::string_view text);

/// 64 hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

/// The statement's first words on one line, cut to fit in a message.
std::string summary(const statement& one);

}  // namespace postern::migrate
