// What a statement means for how it is run: PostgreSQL refuses some inside a transaction, some set
// the session up for those that follow, and some would take the transaction out of the tool's
// hands.

#pragma once

#include "migrate/directives.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace postern::migrate {

/// How to find out, after an interruption, whether a statement that runs outside of a transaction
/// has done its work.
enum class outside_kind : std::uint8_t {
    none,              ///< it may run inside a transaction, as far as its first words tell
    create_index,      ///< CREATE INDEX CONCURRENTLY: the index is there and valid
    drop_index,        ///< DROP INDEX CONCURRENTLY: the index is gone
    reindex,           ///< REINDEX: may run again, once what it left behind is dropped
    detach_partition,  ///< DETACH PARTITION … CONCURRENTLY: detached, or to be finalised
    repeatable,        ///< VACUUM, ALTER SYSTEM, CLUSTER: may simply run again
    unknown            ///< CREATE DATABASE, a procedure that commits: only a person can tell
};

/// A statement that PostgreSQL refuses inside a transaction block. Names are as the statement has
/// them, quotes and schema included; empty where they don't apply.
struct outside_statement {
    outside_kind kind = outside_kind::none;
    std::string index = {};
    std::string table = {};
    std::string partition = {};
    bool if_exists = false;  ///< IF EXISTS or IF NOT EXISTS
};

outside_statement classify(std::string_view statement);

/// SET, RESET and the like, not SET LOCAL: what follows in the file may rely on it, so it is run
/// again in front of every statement that is run by itself.
bool sets_the_session(std::string_view statement);

bool is_plain_begin(std::string_view statement);
bool is_plain_commit(std::string_view statement);

/// Why the tool can't run this statement under these directives; empty if it can.
std::string why_not_runnable(std::string_view statement, const directives& header);

}  // namespace postern::migrate
