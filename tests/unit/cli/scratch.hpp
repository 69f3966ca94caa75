// A folder of a test's own, gone with it.

#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>

class scratch_folder {
public:
    scratch_folder() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "postern-cli-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~scratch_folder() { std::filesystem::remove_all(path_); }
    scratch_folder(const scratch_folder&) = delete;
    scratch_folder& operator=(const scratch_folder&) = delete;

    std::string file(const std::string& name) const { return (path_ / name).string(); }

    std::string write(const std::string& name, std::string_view content) const {
        std::ofstream{path_ / name, std::ios::binary} << content;
        return file(name);
    }

private:
    std::filesystem::path path_;
};
