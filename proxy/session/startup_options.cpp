#include "session/startup_options.hpp"

#include <fmt/format.h>

namespace postern::session {

namespace {

bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/// pg_split_opts (src/backend/utils/init/postinit.c): words at white space, backslash escapes.
std::vector<std::string> split(std::string_view options) {
    std::vector<std::string> words;
    std::size_t at = 0;
    while (at < options.size()) {
        if (is_space(options[at])) {
            ++at;
            continue;
        }
        std::string word;
        while (at < options.size() && !is_space(options[at])) {
            if (options[at] == '\\' && at + 1 < options.size()) ++at;
            word += options[at++];
        }
        words.push_back(std::move(word));
    }
    return words;
}

}  // namespace

std::string to_lower(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string clean_ascii(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        if (c < ' ' || c > '~') c = '?';
    }
    return out;
}

outcome<std::vector<std::pair<std::string, std::string>>> parse_options(std::string_view options) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto words = split(options);
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::string_view word = words[i];
        bool is_long = false;
        if (word == "--") {
            // getopt's end of the options, behind which PostgreSQL takes nothing.
            if (i + 1 == words.size()) break;
            return failure{
                fmt::format("invalid command-line argument for server process: {}", words[i + 1])};
        }
        if (word == "-c" && i + 1 < words.size()) {
            word = words[++i];
        } else if (word.starts_with("--")) {
            word.remove_prefix(2);
            is_long = true;
        } else if (word.starts_with("-c")) {
            word.remove_prefix(2);
        } else {
            return failure{fmt::format(
                "invalid command-line argument for server process: {} (only -c name=value and "
                "--name=value are accepted)",
                word)};
        }
        const auto equals = word.find('=');
        if (equals == std::string_view::npos || equals == 0) {
            return failure{
                fmt::format("startup option \"{}\" must have the form name=value", word)};
        }
        std::string name{word.substr(0, equals)};
        if (is_long) {
            for (char& c : name) {
                if (c == '-') c = '_';
            }
        }
        out.emplace_back(std::move(name), word.substr(equals + 1));
    }
    return out;
}

}  // namespace postern::session
