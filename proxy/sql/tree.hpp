// libpg_query's parse tree as protobuf-c unpacks it, and how to walk it without naming every field:
// each message carries a description of itself, so that no child is ever missed.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <pg_query/pg_query.pb-c.h>
#include <string>

namespace postern::sql {

/// Any node of the tree, known by its descriptor.
using tree_message = ProtobufCMessage;

struct tree_deleter {
    void operator()(PgQuery__ParseResult* tree) const noexcept;
};
using tree_ptr = std::unique_ptr<PgQuery__ParseResult, tree_deleter>;

/// Null when `text` is no valid SQL, or nested so deeply that libpg_query could run out of stack.
tree_ptr parse_tree(const std::string& text);

/// `message` as the type that its descriptor names.
/// REQUIRES: the descriptor has been looked at.
template <class Message>
const Message& as(const tree_message& message) noexcept {
    return reinterpret_cast<const Message&>(message);
}

/// The message that a Node wraps, null for an empty one.
const tree_message* unwrap(const PgQuery__Node* node) noexcept;

/// `node`'s message where it is of the kind `node_case`, else null.
template <class Message>
const Message* unwrap_as(const PgQuery__Node* node, PgQuery__Node__NodeCase node_case) noexcept {
    if (node == nullptr || node->node_case != node_case) return nullptr;
    const tree_message* inner = unwrap(node);
    return inner == nullptr ? nullptr : &as<Message>(*inner);
}

/// The value of a String node, null for any other.
const char* string_value(const PgQuery__Node* node) noexcept;

/// Calls `visit(const tree_message&)` for every message directly below `parent`, in field order.
template <class Visit>
void for_each_child(const tree_message& parent, Visit visit) {
    const auto* base = reinterpret_cast<const std::byte*>(&parent);
    const ProtobufCMessageDescriptor& description = *parent.descriptor;
    for (unsigned i = 0; i < description.n_fields; ++i) {
        const ProtobufCFieldDescriptor& field = description.fields[i];
        if (field.type != PROTOBUF_C_TYPE_MESSAGE) continue;
        const auto* place = base + field.offset;
        const auto* quantifier = base + field.quantifier_offset;
        if (field.label == PROTOBUF_C_LABEL_REPEATED) {
            const std::size_t count = *reinterpret_cast<const std::size_t*>(quantifier);
            auto* const* items = *reinterpret_cast<tree_message* const* const*>(place);
            for (std::size_t k = 0; k < count; ++k)
                visit(*items[k]);
            continue;
        }
        if ((field.flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
            *reinterpret_cast<const std::uint32_t*>(quantifier) != field.id) {
            continue;
        }
        const auto* child = *reinterpret_cast<const tree_message* const*>(place);
        if (child != nullptr) visit(*child);
    }
}

}  // namespace postern::sql
