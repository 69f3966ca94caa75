// A PostgreSQL server of the test's own: in a temporary folder, on 127.0.0.1 and a Unix socket,
// gone when the object is.

#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace postern::test {

/// Starts on construction, and fails the process with words if it can't. As root the server runs as
/// the user "postgres", since PostgreSQL refuses root.
class private_postgres {
public:
    /// `settings` are postgresql.conf lines, such as "wal_level = logical".
    explicit private_postgres(std::vector<std::string> settings = {});
    ~private_postgres();
    private_postgres(const private_postgres&) = delete;
    private_postgres& operator=(const private_postgres&) = delete;

    /// libpq's form, for the superuser "postgres"; more can be appended.
    std::string conninfo(const std::string& database = "postgres") const;
    const std::string& folder() const { return folder_; }
    std::uint16_t port() const { return port_; }

    void start();
    void stop();  ///< at once; as after a crash, the log is replayed by the next start()

    /// Runs statements and gives the first field of the last row; fails the process on an error.
    std::string run(const std::string& sql, const std::string& database = "postgres") const;

private:
    bool answers() const;

    std::string folder_;
    std::uint16_t port_ = 0;
    pid_t server_ = -1;
};

}  // namespace postern::test
