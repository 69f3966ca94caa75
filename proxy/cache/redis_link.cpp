#include "cache/redis_link.hpp"

#include "base/assert.hpp"

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace postern::cache {

namespace asio = boost::asio;

namespace {

/// No command of ours is answered by an array: one is a lie, and its announced length must not make
/// hiredis allocate. hiredis takes null for "out of memory" and ends the connection.
redisReplyObjectFunctions* functions_without_arrays(const redisReplyObjectFunctions& regular) {
    static redisReplyObjectFunctions changed = [&] {
        auto made = regular;
        made.createArray = [](const redisReadTask*, auto) -> void* {
            return nullptr;
        };
        return made;
    }();
    return &changed;
}

redis_reply to_reply(const redisReply* from) {
    if (from == nullptr) return {};
    using kind = redis_reply::kind;
    switch (from->type) {
    case REDIS_REPLY_STRING: return {kind::bytes, {from->str, static_cast<std::size_t>(from->len)}};
    case REDIS_REPLY_STATUS:
        return {kind::status, {from->str, static_cast<std::size_t>(from->len)}};
    case REDIS_REPLY_ERROR: return {kind::error, {from->str, static_cast<std::size_t>(from->len)}};
    case REDIS_REPLY_INTEGER: return {kind::integer, {}};
    case REDIS_REPLY_NIL: return {kind::nil, {}};
    default: return {kind::error, "a reply of a kind that was not asked for"};
    }
}

using reply_callback = std::function<void(const redis_reply&)>;

void on_reply(redisAsyncContext*, void* reply, void* data) {
    const std::unique_ptr<reply_callback> done{static_cast<reply_callback*>(data)};
    (*done)(to_reply(static_cast<const redisReply*>(reply)));
}

}  // namespace

/// What hiredis calls; idempotent, as it demands.
struct redis_link::hooks {
    static redis_link& of(void* data) { return *static_cast<redis_link*>(data); }
    static void add_read(void* data) {
        of(data).wants_read_ = true;
        of(data).wait(direction::read);
    }
    static void del_read(void* data) { of(data).wants_read_ = false; }
    static void add_write(void* data) {
        of(data).wants_write_ = true;
        of(data).wait(direction::write);
    }
    static void del_write(void* data) { of(data).wants_write_ = false; }
    static void cleanup(void* data) { of(data).cleaned_up(); }
};

redis_link::redis_link(asio::io_context& io, std::size_t reply_bytes_max)
    : descriptor_{io}
    , reply_bytes_max_{reply_bytes_max} {}

redis_link::~redis_link() {
    POSTERN_ASSERT(hiredis_ == nullptr);  // close() comes first
}

bool redis_link::connect_tcp(
    const std::string& address,
    std::uint16_t port,
    std::function<void()> on_lost) {
    return adopt(redisAsyncConnect(address.c_str(), port), std::move(on_lost));
}

bool redis_link::connect_unix(const std::string& path, std::function<void()> on_lost) {
    return adopt(redisAsyncConnectUnix(path.c_str()), std::move(on_lost));
}

bool redis_link::adopt(redisAsyncContext* made, std::function<void()> on_lost) {
    POSTERN_ASSERT(hiredis_ == nullptr);
    if (made == nullptr) {
        trouble_ = "out of memory";
        return false;
    }
    boost::system::error_code refused;
    if (made->err == 0) descriptor_.assign(made->c.fd, refused);
    if (made->err != 0 || refused) {
        trouble_ = made->err != 0 ? made->errstr : refused.message();
        redisAsyncFree(made);
        return false;
    }
    hiredis_ = made;
    on_lost_ = std::move(on_lost);
    made->c.reader->fn = functions_without_arrays(*made->c.reader->fn);
    made->ev.data = this;
    made->ev.addRead = hooks::add_read;
    made->ev.delRead = hooks::del_read;
    made->ev.addWrite = hooks::add_write;
    made->ev.delWrite = hooks::del_write;
    made->ev.cleanup = hooks::cleanup;
    return true;
}

bool redis_link::command(
    std::span<const std::string_view> words,
    std::function<void(const redis_reply&)> done) {
    if (hiredis_ == nullptr) return false;
    std::vector<const char*> starts;
    std::vector<std::size_t> sizes;
    starts.reserve(words.size());
    sizes.reserve(words.size());
    for (const auto word : words) {
        starts.push_back(word.data());
        sizes.push_back(word.size());
    }
    auto owned = std::make_unique<reply_callback>(std::move(done));
    const int accepted = redisAsyncCommandArgv(
        hiredis_,
        on_reply,
        owned.get(),
        static_cast<int>(words.size()),
        starts.data(),
        sizes.data());
    if (accepted != REDIS_OK) return false;
    static_cast<void>(owned.release());  // on_reply owns it now: hiredis calls it exactly once
    return true;
}

void redis_link::close() {
    if (hiredis_ == nullptr) return;
    const auto self = shared_from_this();
    redisAsyncFree(hiredis_);
}

std::size_t redis_link::unsent_bytes() const noexcept {
    return hiredis_ == nullptr || hiredis_->c.obuf == nullptr ? 0 : sdslen(hiredis_->c.obuf);
}

void redis_link::wait(direction which) {
    bool& waits = which == direction::read ? waits_read_ : waits_write_;
    if (waits || hiredis_ == nullptr) return;
    waits = true;
    const auto event = which == direction::read ? asio::posix::descriptor_base::wait_read
                                                : asio::posix::descriptor_base::wait_write;
    descriptor_.async_wait(
        event,
        [self = shared_from_this(), which](boost::system::error_code error) {
            (which == direction::read ? self->waits_read_ : self->waits_write_) = false;
            if (!error) self->ready(which);
        });
}

void redis_link::ready(direction which) {
    const bool wanted = which == direction::read ? wants_read_ : wants_write_;
    if (hiredis_ == nullptr || !wanted) return;
    if (which == direction::read)
        redisAsyncHandleRead(hiredis_);
    else
        redisAsyncHandleWrite(hiredis_);
    // From here on hiredis may have freed itself.
    if (hiredis_ != nullptr &&
        hiredis_->c.reader->len - hiredis_->c.reader->pos > reply_bytes_max_) {
        trouble_ = "a reply longer than anything stored";
        redisAsyncFree(hiredis_);
    }
    if (wants_read_) wait(direction::read);
    if (wants_write_) wait(direction::write);
}

void redis_link::cleaned_up() {
    // hiredis has answered everything outstanding and is about to close the descriptor.
    if (hiredis_->err != 0) trouble_ = hiredis_->errstr;
    hiredis_ = nullptr;
    wants_read_ = wants_write_ = false;
    if (descriptor_.is_open()) descriptor_.release();
    if (const auto call = std::exchange(on_lost_, nullptr)) call();
}

}  // namespace postern::cache
