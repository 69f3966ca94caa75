#include "cli/section.hpp"

#include "cli/units.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace postern::cli {

namespace {

/// yaml-cpp gives text in quotes this tag; such a value is text even when it looks like a number.
bool is_quoted(const YAML::Node& node) {
    return node.Tag() == "!";
}

std::string describe(const YAML::Node& node) {
    switch (node.Type()) {
    case YAML::NodeType::Map: return "a mapping";
    case YAML::NodeType::Sequence: return "a list";
    case YAML::NodeType::Scalar: break;
    default: return "nothing";
    }
    if (is_quoted(node)) return fmt::format("the text \"{}\"", node.Scalar());
    return fmt::format("\"{}\"", node.Scalar());
}

}  // namespace

void findings::add(const std::string& file, const YAML::Mark& mark, std::string text) {
    // A null mark (line -1) becomes the file's first place.
    const int line = std::max(0, mark.line) + 1;
    const int column = std::max(0, mark.column) + 1;
    problems.push_back({file, line, column, std::move(text)});
}

std::string findings::message() const {
    std::vector<std::string> files;
    for (const auto& one : problems) {
        if (std::ranges::find(files, one.file) == files.end()) files.push_back(one.file);
    }
    std::string all;
    for (const auto& file : files) {
        std::vector<const problem*> here;
        for (const auto& one : problems) {
            if (one.file == file) here.push_back(&one);
        }
        std::ranges::stable_sort(here, [](const problem* a, const problem* b) {
            return std::pair{a->line, a->column} < std::pair{b->line, b->column};
        });
        for (const auto* one : here) {
            if (!all.empty()) all += '\n';
            all += fmt::format("{}:{}:{}: {}", one->file, one->line, one->column, one->text);
        }
    }
    return all;
}

std::optional<YAML::Node> read_yaml(findings& into, const std::string& file) {
    std::error_code error;
    const bool regular = std::filesystem::is_regular_file(file, error);
    std::ifstream stream{file};
    if (!regular || !stream) {
        into.add(
            file,
            YAML::Mark::null_mark(),
            "can't be read: no such file, or no right to read it");
        return std::nullopt;
    }
    try {
        return YAML::Load(stream);
    } catch (const YAML::Exception& e) {
        into.add(file, e.mark, fmt::format("not valid YAML: {}", e.msg));
        return std::nullopt;
    }
}

std::string section::place::key(std::string_view of) const {
    return name.empty() ? std::string{of} : fmt::format("{}.{}", name, of);
}

std::string section::place::pattern_key(std::string_view of) const {
    return pattern.empty() ? std::string{of} : fmt::format("{}.{}", pattern, of);
}

section::section(findings& into, place where, const YAML::Node& node, const YAML::Mark& mark)
    : findings_{into}
    , place_{std::move(where)}
    , mark_{mark} {
    if (!node.IsDefined() || node.IsNull()) return;
    if (!node.IsMap()) {
        const auto name = place_.name.empty() ? "the file" : place_.name;
        into.add(
            place_.file,
            node.Mark(),
            fmt::format("{} must be a mapping of keys to values, not {}", name, describe(node)));
        return;
    }
    present_ = true;
    for (const auto& pair : node) {
        if (!pair.first.IsScalar()) {
            into.add(place_.file, pair.first.Mark(), "a key must be a word");
            continue;
        }
        const auto& key = pair.first.Scalar();
        if (const auto* earlier = find(key)) {
            into.add(
                place_.file,
                pair.first.Mark(),
                fmt::format(
                    "{} stands here a second time; the first is in line {}",
                    place_.key(key),
                    earlier->key_node.Mark().line + 1));
            continue;
        }
        entries_.push_back({key, pair.first, pair.second});
    }
}

section::~section() {
    if (open_) return;
    for (const auto& one : entries_) {
        if (!asked_.contains(one.key)) report_unknown(one);
    }
}

void section::report_unknown(const entry& one) {
    const std::vector<std::string_view> known{asked_.begin(), asked_.end()};
    const auto near = nearest(one.key, known);
    const auto hint = near ? fmt::format("did you mean \"{}\"?", *near)
                           : fmt::format("known here: {}", fmt::join(known, ", "));
    findings_.add(
        place_.file,
        one.key_node.Mark(),
        fmt::format("{} is not a key; {}", place_.key(one.key), hint));
}

const section::entry* section::find(std::string_view key) const noexcept {
    const auto found = std::ranges::find(entries_, key, &entry::key);
    return found == entries_.end() ? nullptr : &*found;
}

const section::entry* section::ask(std::string_view key) {
    asked_.emplace(key);
    findings_.keys.insert(place_.pattern_key(key));
    return find(key);
}

bool section::has(std::string_view key) const noexcept {
    const auto* one = find(key);
    return one != nullptr && !one->value.IsNull();
}

void section::wrong(const entry& one, std::string_view expected) {
    findings_.add(
        place_.file,
        one.value.Mark(),
        fmt::format("{} must be {}, not {}", place_.key(one.key), expected, describe(one.value)));
}

bool section::is_plain(const entry& one, std::string_view expected) {
    if (one.value.IsScalar() && !is_quoted(one.value)) return true;
    wrong(one, expected);
    return false;
}

void section::text(std::string_view key, std::string& into) {
    const auto* one = ask(key);
    if (one == nullptr) return;
    if (!one->value.IsScalar() || one->value.Scalar().empty()) return wrong(*one, "text");
    into = one->value.Scalar();
}

std::vector<YAML::Node> section::items(std::string_view key) {
    const auto* one = ask(key);
    if (one == nullptr) return {};
    if (!one->value.IsSequence()) {
        wrong(*one, "a list");
        return {};
    }
    return {one->value.begin(), one->value.end()};
}

void section::texts(std::string_view key, std::vector<std::string>& into) {
    const auto list = items(key);
    for (std::size_t i = 0; i < list.size(); ++i) {
        if (!list[i].IsScalar() || list[i].Scalar().empty()) {
            refuse_item(key, i, fmt::format("must be text, not {}", describe(list[i])));
            continue;
        }
        into.push_back(list[i].Scalar());
    }
}

void section::flag(std::string_view key, bool& into) {
    constexpr std::string_view expected = "true or false";
    const auto* one = ask(key);
    if (one == nullptr || !is_plain(*one, expected)) return;
    const auto& value = one->value.Scalar();
    if (value != "true" && value != "false") return wrong(*one, expected);
    into = value == "true";
}

std::optional<std::int64_t> section::whole(
    std::string_view key,
    std::int64_t min,
    std::int64_t max) {
    const auto expected = fmt::format("a whole number from {} to {}", min, max);
    const auto* one = ask(key);
    if (one == nullptr || !is_plain(*one, expected)) return std::nullopt;
    const auto& digits = one->value.Scalar();
    const auto* const end = digits.data() + digits.size();
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc{} || rest != end || value < min || value > max) {
        wrong(*one, expected);
        return std::nullopt;
    }
    return value;
}

void section::fraction(std::string_view key, double& into) {
    constexpr std::string_view expected = "a number from 0 to 1, such as 0.01";
    const auto* one = ask(key);
    if (one == nullptr || !is_plain(*one, expected)) return;
    const auto& digits = one->value.Scalar();
    const auto* const end = digits.data() + digits.size();
    double value = 0;
    const auto [rest, error] = std::from_chars(digits.data(), end, value);
    if (error != std::errc{} || rest != end || !(value >= 0 && value <= 1))
        return wrong(*one, expected);
    into = value;
}

void section::duration(
    std::string_view key,
    std::chrono::milliseconds& into,
    std::chrono::milliseconds min,
    std::chrono::milliseconds max) {
    const auto expected = fmt::format(
        "a duration from {} to {}, such as 20ms, 5s or 10min",
        format_duration(min),
        format_duration(max));
    const auto* one = ask(key);
    if (one == nullptr || !is_plain(*one, expected)) return;
    const auto value = parse_duration(one->value.Scalar());
    if (!value || *value < min || *value > max) return wrong(*one, expected);
    into = *value;
}

void section::size(std::string_view key, std::size_t& into, std::int64_t min, std::int64_t max) {
    const auto expected = fmt::format(
        "a size from {} to {}, such as 64KiB or 256MiB",
        format_size(min),
        format_size(max));
    const auto* one = ask(key);
    if (one == nullptr || !is_plain(*one, expected)) return;
    const auto value = parse_size(one->value.Scalar());
    if (!value || *value < min || *value > max) return wrong(*one, expected);
    into = static_cast<std::size_t>(*value);
}

std::optional<std::ptrdiff_t> section::one_of(
    std::string_view key,
    std::span<const std::string_view> names) {
    const auto* one = ask(key);
    if (one == nullptr) return std::nullopt;
    if (one->value.IsScalar()) {
        const auto found = std::ranges::find(names, one->value.Scalar());
        if (found != names.end()) return found - names.begin();
    }
    wrong(*one, fmt::format("one of {}", fmt::join(names, ", ")));
    return std::nullopt;
}

section section::child(std::string_view key) {
    const auto* one = ask(key);
    place below{place_.file, place_.key(key), place_.pattern_key(key)};
    if (one == nullptr) return section{findings_, std::move(below), YAML::Node{}, mark_};
    return section{findings_, std::move(below), one->value, one->key_node.Mark()};
}

section::place section::item_place(std::string_view key, std::size_t index) const {
    return {
        place_.file,
        fmt::format("{}[{}]", place_.key(key), index),
        fmt::format("{}[]", place_.pattern_key(key))};
}

std::vector<std::pair<std::string, std::string>> section::pairs() {
    open_ = true;
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& one : entries_) {
        if (!one.value.IsScalar()) {
            wrong(one, "text");
            continue;
        }
        all.emplace_back(one.key, one.value.Scalar());
    }
    return all;
}

void section::refuse(std::string_view key, std::string_view text) {
    const auto* one = find(key);
    findings_.add(
        place_.file,
        one == nullptr ? mark_ : one->value.Mark(),
        fmt::format("{} {}", place_.key(key), text));
}

void section::refuse_item(std::string_view key, std::size_t index, std::string_view text) {
    const auto* one = find(key);
    const auto& mark = one == nullptr ? mark_ : one->value[index].Mark();
    findings_.add(place_.file, mark, fmt::format("{}[{}] {}", place_.key(key), index, text));
}

void section::refuse_whole(std::string_view text) {
    findings_.add(place_.file, mark_, fmt::format("{} {}", place_.name, text));
}

}  // namespace postern::cli
