// The files of an application's migrations, put together: what there is to apply, in which order.
// No I/O; read_folder.hpp finds and reads the files.

#pragma once

#include "migrate/problem.hpp"
#include "migrate/script.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::migrate {

/// Orders versions by their number, whatever their width: "9" < "0010" < "20240101120000".
/// REQUIRES: digits only.
bool version_less(std::string_view a, std::string_view b) noexcept;
bool version_equal(std::string_view a, std::string_view b) noexcept;

/// VERSION_name.up.sql, with .down.sql and .verify.sql where there are any.
struct migration {
    std::string version;  ///< digits, as the file name has them
    std::string name;
    script up;
    std::optional<script> down;
    std::optional<script> verify;
};

/// A file that is applied again whenever its checksum has changed.
struct repeatable {
    std::string name;  ///< the file name without .sql: "10_users"
    script body;
    std::optional<script> verify;
};

struct folder {
    std::vector<migration> versioned;     ///< ascending
    std::vector<repeatable> repeatables;  ///< by name
    std::vector<std::string> warnings;    ///< files that were passed over, one sentence each

    const migration* find(std::string_view version) const noexcept;
    const repeatable* find_repeatable(std::string_view name) const noexcept;
};

/// A file as it lies on the disk.
struct source_file {
    std::string path;  ///< as messages name it
    std::string name;  ///< without its folder
    std::string text;
};

/// Fails with problem_kind::file: a text that can't be run, two files of one version, a down or
/// verify file without its up file.
answer<folder> build_folder(
    const std::vector<source_file>& migrations,
    const std::vector<source_file>& policies);

}  // namespace postern::migrate
