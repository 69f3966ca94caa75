// How the configuration is put together, one function a part of postern.yaml. Each takes what it
// knows from `top`, the whole file, and keeps what is wrong in its findings.

#pragma once

#include "cli/configuration.hpp"
#include "cli/section.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace postern::cli {

void read_listeners(section& top, session::settings& into);
void read_admin(section& top, configuration& into);
void read_pools_and_databases(section& top, session::settings& into);
void read_client_tls(section& top, session::settings& into);
void read_users(section& top, session::settings& into);
/// The `tls` section of `into` is known already.
void read_access(section& top, session::settings& into);
void read_identity(section& top, session::settings& into);
void read_cache(section& top, configuration& into);
void read_limits(section& top, session::settings& into);
/// The time-outs in `limits` of the process or of a database.
void read_timeouts(section& limits, session::client_timeouts& into);
void read_process(section& top, configuration& into);

/// The keys of `pool` that a user may have of his own.
void read_overrides(section& pool, pool::overrides& into);

/// rules.yaml; `databases` of `into` are known already.
void read_rules(findings& found, const std::string& path, session::settings& into);

/// The password under `name`, `name`_env or `name`_file; absent when none is given or what is given
/// is wrong.
std::optional<std::string> read_secret(section& from, std::string_view name);

/// A version of the wire protocol, major << 16 | minor: 3.0, 3.2 or latest.
void read_protocol(section& from, std::string_view key, std::uint32_t& into);

/// Whether only this machine can reach it: a loopback address or a Unix socket.
bool is_local(const session::listener& where) noexcept;

/// `path` as it is, or below the folder of `file` when it is relative.
std::string beside(const std::string& file, const std::string& path);

/// A configuration as far as it could be read, and all that is wrong with it.
struct loaded_configuration {
    configuration settings;
    findings found;
};

loaded_configuration read_configuration(const std::string& path);

}  // namespace postern::cli
