// Entries in Redis: one pipelined asynchronous connection a thread (hiredis on our io_context).

#pragma once

#include "cache/entry.hpp"

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace postern::cache {

struct redis_settings {
    std::string host = "127.0.0.1";
    std::uint16_t port = 6379;
    std::string unix_socket;  ///< in place of host and port when not empty
    std::string username;
    std::string password;
    int database = 0;
    std::string key_prefix = "postern";
    std::chrono::milliseconds timeout{
        20};  ///< of one request; afterwards the read goes to PostgreSQL
    std::chrono::milliseconds connect_timeout{500};
    std::size_t compress_above_bytes = 1024;  ///< LZ4
    std::size_t value_bytes_max = std::size_t{1} << 20;
    std::size_t in_flight_max = 4096;  ///< requests under way; more are refused at once
};

/// One thread's connection. Never blocks, never throws for what Redis does; when Redis is slow,
/// gone, full or lying, look-ups answer null and stores are dropped (DESIGN P4). Reconnects by
/// itself. Keys are `prefix:namespace:SHA-256(material)`; the value repeats the material, which is
/// compared.
///
/// Thread safety: only on the thread that runs the io_context.
class redis_store {
public:
    /// `namespace_token`: random, of this process's start; nothing an earlier process stored is
    /// found.
    redis_store(boost::asio::io_context& io, redis_settings settings, std::string namespace_token);
    ~redis_store();  ///< pending look-ups are answered with null before it returns

    /// Calls `done` once: never from within this call, on this thread; null when not there.
    /// The entry's dependencies are those under which it was stored; the caller checks them.
    void find(std::string_view material, std::function<void(entry_ptr)> done);

    void put(const entry_ptr& fresh);

    bool connected() const noexcept;

private:
    struct connection;
    std::shared_ptr<connection> connection_;
};

}  // namespace postern::cache
