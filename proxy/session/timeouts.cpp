// How long a client may take. Each thread passes over its sessions now and then (worker.cpp) and
// compares points in time that are noted anyway: a statement costs no timer.

#include "base/log.hpp"
#include "session/limits.hpp"
#include "session/session.hpp"

#include <algorithm>

namespace postern::session {

namespace {

using std::chrono::milliseconds;

bool is_over(monotonic_ns at, monotonic_ns since, milliseconds limit) {
    return limit.count() > 0 && at - since >= std::chrono::nanoseconds{limit}.count();
}

/// How long PostgreSQL is given to react to a cancel request: as long again as the query was.
milliseconds patience(milliseconds query_timeout) {
    return std::clamp(query_timeout, milliseconds{1000}, milliseconds{10000});
}

}  // namespace

/// A reload is in force for clients that are there already.
void session::refresh_timeouts() {
    const auto& current = worker_.settings();
    if (timeouts_of_ == current) return;
    timeouts_of_ = current;
    timeouts_ = timeouts_of(*current, database_->name, user_);
}

session::overdue session::look_for_overdue(monotonic_ns at) {
    if (phase_ != phase::ready) return overdue::nothing;
    refresh_timeouts();
    const bool open = place_ != transaction_place::none || in_extended_;
    if ((open || running_) && is_over(at, transaction_began_, timeouts_.transaction))
        return overdue::transaction;
    if (running_ && running_->cancelled_at != 0) {
        const bool unheard = is_over(at, running_->cancelled_at, patience(timeouts_.query));
        return unheard ? overdue::cancel : overdue::nothing;
    }
    if (running_ && is_over(at, running_->sent_at, timeouts_.query)) return overdue::query;
    if (busy()) return overdue::nothing;
    if (open) {
        const bool idle = is_over(at, active_at_, timeouts_.idle_transaction);
        return idle ? overdue::idle_transaction : overdue::nothing;
    }
    return is_over(at, active_at_, timeouts_.client_idle) ? overdue::client_idle : overdue::nothing;
}

/// In PostgreSQL's own words (17's, of transaction_timeout).
void session::on_overdue(overdue what) {
    switch (what) {
    case overdue::nothing: return;
    case overdue::query: return cancel_overdue();
    case overdue::cancel:
        fail_client("FATAL", "57014", "terminating connection due to statement timeout");
        said_farewell_ = true;
        return server_lost();
    case overdue::client_idle:
        return farewell("57P05", "terminating connection due to idle-session timeout");
    case overdue::idle_transaction:
        return farewell("25P03", "terminating connection due to idle-in-transaction timeout");
    case overdue::transaction:
        return farewell("25P04", "terminating connection due to transaction timeout");
    }
}

/// As PostgreSQL's statement_timeout: the statement ends with an error, and the client goes on.
void session::cancel_overdue() {
    log::info("client {} {}: a statement reached its query_timeout", id_, address_);
    running_->cancelled_at = postern::now();
    cancelling_ = true;
    cancel([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->on_overdue_cancelled();
    });
}

/// Until now the signal might have hit what the client asks for next.
void session::on_overdue_cancelled() {
    cancelling_ = false;
    // By what it says: a literal's address may differ from file to file.
    if (waiting_for_ == nullptr || std::string_view{waiting_for_} != waits_for_cancel) return;
    waiting_for_ = nullptr;
    go_on();
}

}  // namespace postern::session
