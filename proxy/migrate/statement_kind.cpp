#include "migrate/statement_kind.hpp"

#include "migrate/tokens.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace postern::migrate {

namespace {

constexpr std::size_t tokens_max = 60;  // far behind every word that is looked for here

/// The first tokens of a statement, read from left to right.
class words {
public:
    explicit words(std::string_view statement)
        : all_(first_tokens(statement, tokens_max)) {
        token_reader reader(statement);
        for (std::size_t i = 0; i < all_.size(); ++i)
            written_.emplace_back(reader.next().text);
    }

    bool take(std::string_view word) {
        if (at_ >= all_.size() || all_[at_] != word) return false;
        ++at_;
        return true;
    }
    bool take_all(std::initializer_list<std::string_view> several) {
        if (all_.size() - std::min(at_, all_.size()) < several.size()) return false;
        if (!std::equal(several.begin(), several.end(), all_.begin() + offset())) return false;
        at_ += several.size();
        return true;
    }
    /// A name with its schema, as it is written.
    std::string take_name() {
        std::string name;
        while (at_ < all_.size()) {
            name += written_[at_++];
            if (!take(".")) break;
            name += '.';
        }
        return name;
    }
    void skip_parentheses() {
        int depth = 0;
        while (at_ < all_.size()) {
            if (all_[at_] == "(") ++depth;
            if (all_[at_] == ")") --depth;
            if (depth == 0 && all_[at_] != ")") return;
            ++at_;
        }
    }
    bool ahead(std::string_view word) const {
        return std::find(all_.begin() + offset(), all_.end(), word) != all_.end();
    }
    bool skip_to(std::string_view word) {
        at_ = static_cast<std::size_t>(
            std::find(all_.begin() + offset(), all_.end(), word) - all_.begin());
        return take(word);
    }
    bool at_end() const { return at_ >= all_.size(); }
    std::string peek() const { return at_end() ? std::string() : all_[at_]; }

private:
    std::ptrdiff_t offset() const {
        return static_cast<std::ptrdiff_t>(std::min(at_, all_.size()));
    }

    std::vector<std::string> all_;      // unquoted words in upper case
    std::vector<std::string> written_;  // as they stand
    std::size_t at_ = 0;
};

outside_statement create_index(words& from) {
    outside_statement found;
    if (!from.take("CONCURRENTLY")) return found;
    found.kind = outside_kind::create_index;
    found.if_exists = from.take_all({"IF", "NOT", "EXISTS"});
    if (from.peek() != "ON") found.index = from.take_name();
    if (from.skip_to("ON")) {
        from.take("ONLY");
        found.table = from.take_name();
    }
    return found;
}

outside_statement drop_index(words& from) {
    outside_statement found;
    if (!from.take("CONCURRENTLY")) return found;
    found.kind = outside_kind::drop_index;
    found.if_exists = from.take_all({"IF", "EXISTS"});
    found.index = from.take_name();
    return found;
}

outside_statement reindex(words& from) {
    outside_statement found;
    const bool everything = from.ahead("DATABASE") || from.ahead("SYSTEM") || from.ahead("SCHEMA");
    if (!everything && !from.ahead("CONCURRENTLY")) return found;
    found.kind = outside_kind::reindex;
    from.skip_parentheses();
    if (from.take("INDEX")) {
        from.take("CONCURRENTLY");
        found.index = from.take_name();
    } else if (from.take("TABLE")) {
        from.take("CONCURRENTLY");
        found.table = from.take_name();
    }
    return found;
}

outside_statement alter(words& from) {
    outside_statement found;
    if (from.take("SYSTEM")) {
        found.kind = outside_kind::repeatable;
    } else if (from.take("SUBSCRIPTION")) {
        found.kind = from.ahead("REFRESH") ? outside_kind::repeatable : outside_kind::none;
    } else if (from.take("TABLE")) {
        from.take_all({"IF", "EXISTS"});
        from.take("ONLY");
        found.table = from.take_name();
        if (!from.take_all({"DETACH", "PARTITION"})) return found;
        found.partition = from.take_name();
        if (from.take("CONCURRENTLY")) found.kind = outside_kind::detach_partition;
    }
    return found;
}

bool is_transaction_control(std::string_view statement) {
    words from(statement);
    if (from.take("PREPARE")) return from.take("TRANSACTION");
    const std::string first = from.peek();
    const std::string_view all[] =
        {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"};
    return std::find(std::begin(all), std::end(all), first) != std::end(all);
}

}  // namespace

outside_statement classify(std::string_view statement) {
    words from(statement);
    if (from.take("CREATE")) {
        from.take("UNIQUE");
        if (from.take("INDEX")) return create_index(from);
        const bool alone = from.take("DATABASE") || from.take("TABLESPACE");
        return {alone ? outside_kind::unknown : outside_kind::none};
    }
    if (from.take("DROP")) {
        if (from.take("INDEX")) return drop_index(from);
        const bool alone = from.take("DATABASE") || from.take("TABLESPACE");
        return {alone ? outside_kind::unknown : outside_kind::none};
    }
    if (from.take("REINDEX")) return reindex(from);
    if (from.take("ALTER")) return alter(from);
    if (from.take("VACUUM")) return {outside_kind::repeatable};
    if (from.take("CLUSTER")) {
        from.skip_parentheses();
        from.take("VERBOSE");
        return {from.at_end() ? outside_kind::repeatable : outside_kind::none};
    }
    return {};
}

bool sets_the_session(std::string_view statement) {
    words from(statement);
    if (from.take("RESET")) return true;
    if (!from.take("SET")) return false;
    return from.peek() != "LOCAL" && from.peek() != "CONSTRAINTS" && from.peek() != "TRANSACTION";
}

bool is_plain_begin(std::string_view statement) {
    words from(statement);
    if (from.take_all({"START", "TRANSACTION"})) return from.at_end();
    if (!from.take("BEGIN")) return false;
    if (!from.take("WORK")) from.take("TRANSACTION");
    return from.at_end();
}

bool is_plain_commit(std::string_view statement) {
    words from(statement);
    if (!from.take("COMMIT") && !from.take("END")) return false;
    if (!from.take("WORK")) from.take("TRANSACTION");
    return from.at_end();
}

std::string why_not_runnable(std::string_view statement, const directives& header) {
    words from(statement);
    const auto first = from.peek();
    if (is_transaction_control(statement)) {
        return fmt::format(
            "{} is not for a migration: the tool opens and ends the transactions itself; say "
            "transaction=off to have each statement commit by itself",
            first);
    }
    if (from.take("COPY") && (from.ahead("STDIN") || from.ahead("STDOUT")))
        return "COPY from or to the client has no data here: use INSERT, or COPY with a file";
    if (from.take("DISCARD") && from.take("ALL"))
        return "DISCARD ALL would give up the lock that keeps a second migration away";
    const auto outside = classify(statement);
    if (outside.kind == outside_kind::none) return {};
    if (header.transaction) {
        return fmt::format(
            "{} can't run inside a transaction: put `-- postern: transaction=off` at the top of "
            "the file",
            outside.kind == outside_kind::create_index ? "CREATE INDEX CONCURRENTLY" : first);
    }
    if (outside.kind == outside_kind::create_index && outside.index.empty())
        return "give the index a name: an interrupted build is found again by it";
    return {};
}

}  // namespace postern::migrate
