// One mapping of a YAML file, read key by key: every value checked as it is taken, every mistake
// kept with its place, every key that nobody asked for named at the end.

#pragma once

#include "base/result.hpp"

#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::cli {

/// What the reading of a file, and of those it names, brings to light.
struct findings {
    struct problem {
        std::string file;
        int line = 0;    ///< 1-based
        int column = 0;  ///< 1-based
        std::string text;
    };
    std::vector<problem> problems;
    std::vector<std::string> warnings;
    /// Every key that was asked for, present or not: "pool.size", "databases.*.host",
    /// "listen[].port". The JSON Schemas are held against it.
    std::set<std::string> keys;

    void add(const std::string& file, const YAML::Mark& mark, std::string text);
    /// One `file:line:column: text` a line, in the files' order; empty when there is none.
    std::string message() const;
};

/// Reads `file`; an unreadable or malformed one is a problem and an absent answer.
std::optional<YAML::Node> read_yaml(findings& into, const std::string& file);

/// A mapping that may be absent. The destructor reports the keys that were not asked for.
class section {
public:
    /// Where a section stands: its file, its name in messages ("databases.tracker.pool"), and its
    /// name with what a user chose taken out ("databases.*.pool").
    struct place {
        std::string file;
        std::string name;
        std::string pattern;
        std::string key(std::string_view of) const;
        std::string pattern_key(std::string_view of) const;
    };

    /// `mark` is where the section is named; what it lacks is reported there.
    section(findings& into, place where, const YAML::Node& node, const YAML::Mark& mark);
    ~section();
    section(const section&) = delete;
    section& operator=(const section&) = delete;

    bool present() const noexcept { return present_; }
    const place& where() const noexcept { return place_; }
    findings& found() noexcept { return findings_; }

    /// Whether `key` has a value other than null.
    bool has(std::string_view key) const noexcept;

    // Each of these leaves `into` alone when the key is absent, or wrong (then a problem says so).
    void text(std::string_view key, std::string& into);
    void texts(std::string_view key, std::vector<std::string>& into);
    void flag(std::string_view key, bool& into);
    template <class Integer>
    void number(std::string_view key, Integer& into, std::int64_t min, std::int64_t max) {
        if (const auto value = whole(key, min, max)) into = static_cast<Integer>(*value);
    }
    /// A share, from 0 to 1.
    void fraction(std::string_view key, double& into);
    void duration(
        std::string_view key,
        std::chrono::milliseconds& into,
        std::chrono::milliseconds min,
        std::chrono::milliseconds max);
    void size(std::string_view key, std::size_t& into, std::int64_t min, std::int64_t max);
    template <class Choice>
    void choice(
        std::string_view key,
        Choice& into,
        std::initializer_list<std::pair<std::string_view, Choice>> choices) {
        std::vector<std::string_view> names;
        for (const auto& [name, value] : choices)
            names.push_back(name);
        const auto index = one_of(key, names);
        if (index) into = (choices.begin() + *index)->second;
    }

    /// The section below `key`; absent when the key is.
    section child(std::string_view key);
    /// Calls `visit(name, section)` for each section of the mapping below `key`, whose keys are the
    /// user's own.
    template <class Visitor>
    void each(std::string_view key, Visitor visit) {
        section below = child(key);
        below.visit_entries(visit);
    }
    /// Calls `visit(section)` for each element of the list below `key`.
    template <class Visitor>
    void each_item(std::string_view key, Visitor visit) {
        const auto list = items(key);
        for (std::size_t i = 0; i < list.size(); ++i) {
            section one{findings_, item_place(key, i), list[i], list[i].Mark()};
            visit(one);
        }
    }
    /// All keys and values, where the keys are the user's own and the values text.
    std::vector<std::pair<std::string, std::string>> pairs();

    /// Says that the value of `key` is wrong; `text` follows the key's full name.
    void refuse(std::string_view key, std::string_view text);
    /// The same for one element of a list.
    void refuse_item(std::string_view key, std::size_t index, std::string_view text);
    /// Says that the section lacks something; `text` follows the section's full name.
    void refuse_whole(std::string_view text);

    /// 1-based line of the section, or of a key's value where the key is there.
    int line() const noexcept { return mark_.line + 1; }

private:
    struct entry {
        std::string key;
        YAML::Node key_node;
        YAML::Node value;
    };

    const entry* find(std::string_view key) const noexcept;
    const entry* ask(std::string_view key);
    bool is_plain(const entry& one, std::string_view expected);
    std::optional<std::int64_t> whole(std::string_view key, std::int64_t min, std::int64_t max);
    std::optional<std::ptrdiff_t> one_of(
        std::string_view key,
        std::span<const std::string_view> names);
    std::vector<YAML::Node> items(std::string_view key);
    place item_place(std::string_view key, std::size_t index) const;
    void wrong(const entry& one, std::string_view expected);
    void report_unknown(const entry& one);

    template <class Visitor>
    void visit_entries(Visitor& visit) {
        open_ = true;
        for (const auto& one : entries_) {
            section below{
                findings_,
                {place_.file, place_.key(one.key), place_.pattern_key("*")},
                one.value,
                one.key_node.Mark()};
            visit(one.key, below);
        }
    }

    findings& findings_;
    place place_;
    bool present_ = false;
    YAML::Mark mark_;
    std::vector<entry> entries_;
    std::set<std::string, std::less<>> asked_;
    bool open_ = false;  ///< its keys are the user's own: none is unknown
};

}  // namespace postern::cli
