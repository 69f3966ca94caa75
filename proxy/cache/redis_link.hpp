// One asynchronous connection of hiredis on an io_context: the adapter between hiredis's event
// hooks and Asio. Knows nothing of entries; redis_store.cpp does.

#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct redisAsyncContext;

namespace postern::cache {

/// What Redis answered to one command. Views are valid during the callback only.
struct redis_reply {
    enum class kind { nil, bytes, status, integer, error, lost };
    kind what = kind::lost;  ///< lost: the connection ended before the answer
    std::string_view text;
};

/// One connection, from connect to loss; then it is thrown away.
///
/// Thread safety: only on the thread that runs the io_context. Callbacks are never called from
/// within command(); all that are outstanding are called with `lost` by close() and by the loss of
/// the connection, `on_lost` after the last of them.
class redis_link : public std::enable_shared_from_this<redis_link> {
public:
    /// `reply_bytes_max`: a longer reply means that Redis lies, and ends the connection.
    redis_link(boost::asio::io_context& io, std::size_t reply_bytes_max);
    ~redis_link();
    redis_link(const redis_link&) = delete;
    redis_link& operator=(const redis_link&) = delete;

    /// Starts to connect; `address` is numeric, so that nothing is resolved and nothing blocks.
    /// False: it failed at once, and `on_lost` will not be called.
    [[nodiscard]] bool connect_tcp(
        const std::string& address,
        std::uint16_t port,
        std::function<void()> on_lost);
    [[nodiscard]] bool connect_unix(const std::string& path, std::function<void()> on_lost);

    /// Queues one command; it may be queued before the connection stands. Sent with all others that
    /// were queued in the same turn of the loop. False: the connection is gone, `done` is dropped.
    [[nodiscard]] bool command(
        std::span<const std::string_view> words,
        std::function<void(const redis_reply&)> done);

    /// Ends the connection now. Idempotent.
    void close();

    /// Bytes queued and not yet taken by the socket.
    std::size_t unsent_bytes() const noexcept;

    /// Why the connection ended, for the log.
    const std::string& trouble() const noexcept { return trouble_; }

private:
    enum class direction { read, write };
    struct hooks;

    bool adopt(redisAsyncContext* made, std::function<void()> on_lost);
    void wait(direction which);
    void ready(direction which);
    void cleaned_up();

    boost::asio::posix::stream_descriptor descriptor_;
    std::size_t reply_bytes_max_;
    redisAsyncContext* hiredis_ =
        nullptr;  // freed by hiredis itself, which then calls cleaned_up()
    std::function<void()> on_lost_;
    std::string trouble_;
    bool wants_read_ = false;
    bool wants_write_ = false;
    bool waits_read_ = false;
    bool waits_write_ = false;
};

}  // namespace postern::cache
