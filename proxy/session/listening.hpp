// Sockets that clients connect to: bound here, or handed over by the process before this one.

#pragma once

#include "base/result.hpp"
#include "session/settings.hpp"

#include <string>
#include <utility>

namespace postern::session {

/// A listening socket; owns the descriptor and, of a Unix socket, its name in the file system. Both
/// go with it.
class listening_socket {
public:
    /// Binds and listens. A failure names the address that could not be had, and why: one that
    /// somebody else listens on is never shared.
    static outcome<listening_socket> bind(const listener& where);

    /// Takes over a descriptor that listens already, as `where` was configured. Its name stays
    /// until own() has been called.
    static listening_socket adopt(const listener& where, int fd);

    listening_socket(listening_socket&& other) noexcept;
    listening_socket& operator=(listening_socket&& other) noexcept;
    listening_socket(const listening_socket&) = delete;
    listening_socket& operator=(const listening_socket&) = delete;
    ~listening_socket();

    int fd() const noexcept { return fd_; }
    /// As it stands in the configuration: port 0 stays 0.
    const listener& configured() const noexcept { return configured_; }
    /// With the port that it has.
    listener actual() const;

    /// Nobody else listens on it (any more): a Unix socket's name goes with it.
    void own();
    /// Another process listens on the same socket from now on: its name stays.
    void hand_over() noexcept { path_.clear(); }

private:
    listening_socket(listener where, int fd, std::string path)
        : configured_{std::move(where)}
        , fd_{fd}
        , path_{std::move(path)} {}

    listener configured_;
    int fd_;
    std::string path_;  // of a Unix socket, while it is ours to remove
};

}  // namespace postern::session
