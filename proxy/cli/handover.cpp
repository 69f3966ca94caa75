#include "cli/handover.hpp"

#include "base/clock.hpp"
#include "base/log.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <charconv>
#include <unistd.h>
#include <utility>

namespace postern::cli {

namespace {

/// Of what is said, and of what it means. A process that speaks another one is not taken over.
constexpr std::string_view greeting = "takeover 1";
/// For an answer that needs no work.
constexpr std::chrono::seconds answer_limit{10};

/// Takes what stands before `end` off the front of `text`.
std::string_view take_word(std::string_view& text, char end) {
    const auto at = text.find(end);
    const auto word = text.substr(0, at);
    text.remove_prefix(at == text.npos ? text.size() : at + 1);
    return word;
}

template <class T>
T number_in(std::string_view word) {
    T out{};
    std::from_chars(word.data(), word.data() + word.size(), out);
    return out;
}

std::string to_hex(std::string_view bytes) {
    std::string out;
    for (const char c : bytes)
        out += fmt::format("{:02x}", static_cast<unsigned char>(c));
    return out;
}

std::string from_hex(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
        unsigned char byte = 0;
        std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
        out += static_cast<char>(byte);
    }
    return out;
}

}  // namespace

handover::handover(boost::asio::io_context& io, session::proxy_server& proxy, std::string folder)
    : io_{io}
    , proxy_{proxy}
    , folder_{std::move(folder)} {}

outcome<void> handover::listen() {
    const auto fd = control_socket::listen(folder_);
    if (!fd) return fd.error();
    socket_ = std::make_unique<control_socket>(io_, *fd, folder_);
    socket_->own();
    return boost::system::in_place_value;
}

/// Runs the io_context until `come` says so; false: not within the limit.
bool handover::run_until(std::chrono::milliseconds limit, const std::function<bool()>& come) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!come()) {
        if (std::chrono::steady_clock::now() >= deadline) return false;
        io_.run_one_for(std::chrono::milliseconds{20});
    }
    return true;
}

outcome<handover::inheritance> handover::ask() {
    auto link = control_link::connect(io_, folder_);
    if (!link) return link.error();
    predecessor_ = *link;
    proxy_.bypass_cache();
    predecessor_->start(
        [this](std::string_view text, std::vector<received_fd> fds) {
            on_predecessor(text, std::move(fds));
        },
        [this] { on_predecessor_gone(); });
    predecessor_->send(greeting);
    run_until(answer_limit, [this] {
        return inherited_ || !refused_.empty() || predecessor_gone();
    });
    if (!refused_.empty()) return failure{"the running process refuses: " + refused_};
    if (!inherited_) return failure{"the running process does not answer"};
    return std::move(*std::exchange(inherited_, std::nullopt));
}

outcome<void> handover::await_ready() {
    const auto limit = proxy_.shared().settings()->takeover_timeout;
    const bool ready = run_until(limit, [this] { return proxy_.ready() || predecessor_gone(); });
    if (ready) return boost::system::in_place_value;
    return failure{fmt::format(
        "the catalog could not be read within {}ms (limits.takeover_timeout): the running process "
        "goes on",
        limit.count())};
}

outcome<void> handover::take() {
    if (predecessor_) predecessor_->send("ready");
    run_until(answer_limit, [this] { return is_ours_ || !refused_.empty() || predecessor_gone(); });
    if (is_ours_) return boost::system::in_place_value;
    if (!refused_.empty()) return failure{"the running process refuses: " + refused_};
    return failure{"the process to take over from has ended, or does not answer"};
}

void handover::serving() {
    if (socket_) socket_->own();
    if (predecessor_) predecessor_->send("serving");
}

void handover::read_listeners(std::string_view text, std::vector<received_fd> fds) {
    inheritance all;
    proxy_.shared().cancels.set_generation(number_in<std::int32_t>(take_word(text, '\n')));
    for (auto& one : fds) {
        auto line = take_word(text, '\n');
        const auto kind = take_word(line, '\t');
        session::listener where;
        where.port = number_in<std::uint16_t>(take_word(line, '\t'));
        where.address = line;
        if (kind == "client") {
            all.listeners.push_back(session::listening_socket::adopt(where, one.release()));
        } else if (kind == "http") {
            all.http = {where.address, where.port, one.release()};
        } else if (kind == "control") {
            socket_ = std::make_unique<control_socket>(io_, one.release(), folder_);
        }
    }
    inherited_ = std::move(all);
}

void handover::on_predecessor(std::string_view text, std::vector<received_fd> fds) {
    const auto verb = take_word(text, ' ');
    if (verb == "listeners") {
        read_listeners(text, std::move(fds));
    } else if (verb == "yours") {
        is_ours_ = true;
    } else if (verb == "refused") {
        refused_ = text;
    } else {
        hear_cancel(predecessor_, fmt::format("{} {}", verb, text));
    }
}

void handover::on_predecessor_gone() {
    forget_orders(std::exchange(predecessor_, nullptr));
    if (!is_ours_) return;
    log::info("the process that was taken over from has ended");
    proxy_.believe_cache();
}

void handover::allow(std::function<http_listener()> http, std::function<void()> handed_over) {
    http_ = std::move(http);
    on_handed_over_ = std::move(handed_over);
    if (socket_) socket_->accept([this](const link_ptr& link) { on_link(link); });
}

/// Why this process can't be taken over just now; empty if it can.
std::string_view handover::refusal() const {
    if (proxy_.shared().stopping || handed_over_) return "refused it is stopping";
    // Nobody could say RESUME or ENABLE to it afterwards, and the other process would know of
    // neither.
    if (proxy_.shared().admits.restricts())
        return "refused a database is paused or disabled: RESUME or ENABLE it first";
    return {};
}

void handover::on_link(const link_ptr& link) {
    const auto why = successor_ != nullptr ? "refused another process is taking over" : refusal();
    if (!why.empty()) {
        // It is heard first: closed with a message unread, a link would lose what it was sent last.
        return link->start(
            [link, why](std::string_view, const std::vector<received_fd>&) { link->send(why); },
            [link] {});
    }
    successor_ = link;
    successor_->start(
        [this](std::string_view text, const std::vector<received_fd>&) { on_successor(text); },
        [this] { on_successor_gone(); });
}

void handover::on_successor(std::string_view text) {
    if (text == greeting) {
        offer();
    } else if (text == "ready" && !refusal().empty()) {
        successor_->send(refusal());  // since it was let begin
    } else if (text == "ready" && !std::exchange(successor_ready_, true)) {
        proxy_.bypass_cache();
        successor_->send("yours");
    } else if (text == "serving" && successor_ready_ && !std::exchange(handed_over_, true)) {
        socket_->hand_over();
        on_handed_over_();
    } else if (text.starts_with("cancel")) {
        hear_cancel(successor_, text);
    } else {
        successor_->send("refused it speaks another version");
    }
}

void handover::on_successor_gone() {
    forget_orders(std::exchange(successor_, nullptr));
    if (handed_over_) return;
    if (std::exchange(successor_ready_, false)) proxy_.believe_cache();
    log::warning("a process that wanted to take over has ended: this one goes on serving");
}

void handover::offer() {
    auto& cancels = proxy_.shared().cancels;
    auto text = fmt::format(
        "listeners {}\n",
        (cancels.generation() + 1) % session::cancel_registry::generations);
    std::vector<int> fds;
    const auto add = [&](std::string_view kind, const session::listener& where, int fd) {
        text += fmt::format("{}\t{}\t{}\n", kind, where.port, where.address);
        fds.push_back(fd);
    };
    for (const auto& one : proxy_.sockets())
        add("client", one.configured(), one.fd());
    if (const auto http = http_(); http.fd >= 0) add("http", {http.address, http.port}, http.fd);
    add("control", {}, socket_->fd());
    log::info("another process wants to take over");
    successor_->send(text, fds);
}

void handover::relay_cancel(std::int32_t key, std::string secret, std::function<void()> done) {
    boost::asio::post(io_, [this, key, secret = std::move(secret), done = std::move(done)] {
        pass_on(key, secret, done, nullptr);
    });
}

void handover::pass_on(
    std::int32_t key,
    const std::string& secret,
    std::function<void()> done,
    const link_ptr& not_to) {
    // Called when the last of its holders lets go: all have answered, or there is nobody to ask.
    const std::shared_ptr<std::function<void()>> last{
        new std::function<void()>{std::move(done)},
        [](std::function<void()>* call) {
            (*call)();
            delete call;
        }};
    for (const auto& link : {predecessor_, successor_}) {
        if (link == nullptr || link == not_to) continue;
        orders_.emplace(next_order_, cancel_order{link, last});
        link->send(fmt::format("cancel {} {} {}", next_order_++, key, to_hex(secret)));
    }
}

void handover::hear_cancel(const link_ptr& from, std::string_view text) {
    const auto verb = take_word(text, ' ');
    const auto number = number_in<std::uint64_t>(take_word(text, ' '));
    if (verb == "cancelled") {
        orders_.erase(number);
        return;
    }
    if (verb != "cancel") return;
    const auto key = number_in<std::int32_t>(take_word(text, ' '));
    const auto secret = from_hex(text);
    auto done = [this, number, weak = std::weak_ptr{from}] {
        boost::asio::post(io_, [number, weak] {
            if (const auto link = weak.lock()) link->send(fmt::format("cancelled {}", number));
        });
    };
    auto& shared = proxy_.shared();
    if (session::cancel_client(shared, key, secret, done)) return;
    if (shared.cancels.makes(key)) return done();
    pass_on(key, secret, done, from);
}

void handover::forget_orders(const link_ptr& gone) {
    std::erase_if(orders_, [&](const auto& one) { return one.second.to == gone; });
}

}  // namespace postern::cli
