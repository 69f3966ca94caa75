// The admin console's side of the protocol: simple queries, and extended ones treated alike. What
// the commands do is the console's own affair (admin/console.hpp).

#include "session/session.hpp"
#include "session/startup_options.hpp"

#include <algorithm>

namespace postern::session {

namespace {

constexpr std::uint32_t console_message_max = 64 * 1024;

void write_description(std::string& out, const console_reply& reply) {
    std::vector<wire::field_description> fields;
    for (const auto& column : reply.columns) {
        wire::field_description field;
        field.name = column.name;
        field.type = column.type_oid;
        field.type_size = -1;
        fields.push_back(field);
    }
    wire::write_row_description(out, fields);
}

void write_result(std::string& out, const console_reply& reply) {
    std::vector<std::optional<std::string_view>> values;
    for (const auto& row : reply.rows) {
        values.assign(row.begin(), row.end());
        wire::write_data_row(out, values);
    }
    if (reply.command_tag.empty() && reply.columns.empty()) {
        wire::write_empty_query_response(out);
    } else {
        wire::write_command_complete(out, reply.command_tag);
    }
}

}  // namespace

std::size_t session::consume_console(std::string_view bytes) {
    std::size_t used = 0;
    while (phase_ == phase::console && waiting_for_ == nullptr && used < bytes.size()) {
        const auto next = wire::peek_message(
            bytes.substr(used),
            wire::direction::from_client,
            console_message_max);
        if (next.state == wire::frame_state::incomplete) break;
        if (next.state == wire::frame_state::malformed) {
            protocol_violation(wire::describe(next.error));
            return bytes.size();
        }
        used += next.message.whole.size();
        on_console_message(next.message);
    }
    return phase_ == phase::closing ? bytes.size() : used;
}

void session::on_console_message(const wire::message& message) {
    std::string out;
    if (skip_until_sync_ && message.tag != 'S' && message.tag != 'X') return;
    switch (message.tag) {
    case 'X': return end();
    case 'Q':
        if (wire::read_query(message.body, front_.query_text) != wire::errc::ok) {
            return protocol_violation("malformed Query message");
        }
        return ask_console(std::string{front_.query_text}, console_answer::query);
    case 'P':
        if (wire::read_parse(message.body, front_.parse) != wire::errc::ok) {
            return protocol_violation("malformed Parse message");
        }
        console_->statements[std::string{front_.parse.name}] = front_.parse.query;
        wire::write_parse_complete(out);
        break;
    case 'B':
        front_.bind_of = nullptr;
        if (wire::read_bind(message.body, front_.bind) != wire::errc::ok) {
            return protocol_violation("malformed Bind message");
        }
        console_->portal = console_->statements[std::string{front_.bind.statement}];
        wire::write_bind_complete(out);
        break;
    case 'D':
        if (wire::read_target(message.body, front_.target) != wire::errc::ok) {
            return protocol_violation("malformed Describe message");
        }
        if (front_.target.kind == 'S') {
            wire::write_parameter_description(out, {});
            send_to_client(out);
            return ask_console(
                console_->statements[std::string{front_.target.name}],
                console_answer::description);
        }
        return ask_console(console_->portal, console_answer::description);
    case 'E': return ask_console(console_->portal, console_answer::rows);
    case 'C': wire::write_close_complete(out); break;
    case 'S':
        skip_until_sync_ = false;
        wire::write_ready_for_query(out, wire::transaction_status::idle);
        break;
    case 'H': return;
    default: return protocol_violation("unexpected message on the console");
    }
    send_to_client(out);
}

void session::ask_console(std::string command, console_answer form) {
    waiting_for_ = "console";
    // A command that acts must not act twice because a driver asks for its columns first.
    const auto first = std::min(command.find_first_not_of(" \t\r\n"), command.size());
    const bool acts = !to_lower(command.substr(first)).starts_with("show");
    if (form == console_answer::description && acts) {
        waiting_for_ = nullptr;
        std::string out;
        wire::write_no_data(out);
        return send_to_client(out);
    }
    console_->cancelled = std::make_shared<std::atomic<bool>>(false);
    worker_.shared.console(
        {std::move(command), console_->may_act, console_->cancelled},
        [&home = worker_, id = id_, form](console_reply reply) {
            home.events.post([&home, id, form, reply = std::move(reply)] {
                if (auto* self = home.find(id)) {
                    const auto keep_alive = self->shared_from_this();
                    self->on_console_reply(reply, form);
                }
            });
        });
}

void session::on_console_reply(const console_reply& reply, console_answer form) {
    waiting_for_ = nullptr;
    console_->cancelled.reset();
    if (phase_ != phase::console) return;
    std::string out;
    if (!reply.error.empty()) {
        wire::write_error(out, "ERROR", reply.sqlstate, reply.error);
        skip_until_sync_ = form != console_answer::query;
    } else {
        const bool described = form == console_answer::query || form == console_answer::description;
        if (described && !reply.columns.empty()) write_description(out, reply);
        if (form == console_answer::description && reply.columns.empty()) wire::write_no_data(out);
        if (form != console_answer::description) write_result(out, reply);
    }
    if (form == console_answer::query) {
        wire::write_ready_for_query(out, wire::transaction_status::idle);
    }
    send_to_client(out);
    resume();
}

}  // namespace postern::session
