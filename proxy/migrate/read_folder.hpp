// Finds and reads the SQL files of an application's migrations.

#pragma once

#include "migrate/folder.hpp"
#include "migrate/problem.hpp"

#include <string>

namespace postern::migrate {

/// Reads the .sql files of both folders, not of folders in them. `policies` may be absent;
/// `migrations` must be there. Fails as build_folder() does, or naming the file that can't be read.
answer<folder> read_folder(const std::string& migrations, const std::string& policies);

/// The commit that the working tree around `path` stands at, 40 hexadecimal digits; empty where
/// there is none. Reads .git itself: the tool must not depend on git being installed.
std::string git_commit_around(const std::string& path);

}  // namespace postern::migrate
