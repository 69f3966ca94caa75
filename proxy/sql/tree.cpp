#include "sql/tree.hpp"

#include "sql/lexer.hpp"

#include <pg_query.h>

namespace postern::sql {

void tree_deleter::operator()(PgQuery__ParseResult* tree) const noexcept {
    pg_query__parse_result__free_unpacked(tree, nullptr);
}

tree_ptr parse_tree(const std::string& text) {
    if (text.find('\0') != std::string::npos || nesting_bound(text) > nesting_max) return nullptr;
    const PgQueryProtobufParseResult result = pg_query_parse_protobuf(text.c_str());
    tree_ptr tree;
    if (result.error == nullptr) {
        tree.reset(pg_query__parse_result__unpack(
            nullptr,
            result.parse_tree.len,
            reinterpret_cast<const std::uint8_t*>(result.parse_tree.data)));
    }
    pg_query_free_protobuf_parse_result(result);
    return tree;
}

const tree_message* unwrap(const PgQuery__Node* node) noexcept {
    if (node == nullptr || node->node_case == PG_QUERY__NODE__NODE__NOT_SET) return nullptr;
    // Every member of the union is a pointer to a message.
    return reinterpret_cast<const tree_message*>(node->alias);
}

const char* string_value(const PgQuery__Node* node) noexcept {
    const auto* value = unwrap_as<PgQuery__String>(node, PG_QUERY__NODE__NODE_STRING);
    return value == nullptr ? nullptr : value->sval;
}

}  // namespace postern::sql
