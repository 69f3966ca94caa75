#include "migrate/script.hpp"

#include "migrate/statement_kind.hpp"
#include "migrate/tokens.hpp"

#include <fmt/format.h>
#include <pg_query.h>

#include <array>
#include <openssl/evp.h>

namespace postern::migrate {

namespace {

constexpr std::size_t summary_size_max = 60;

problem file_problem(std::string_view file, unsigned line, std::string message) {
    return {problem_kind::file, std::move(message), std::string(file), line};
}

// A backslash is no token of SQL outside of quotes.
std::optional<problem> find_meta_command(std::string_view file, std::string_view text) {
    token_reader reader(text);
    for (auto one = reader.next(); !one.text.empty(); one = reader.next()) {
        if (one.text != "\\") continue;
        const auto rest = text.substr(one.offset);
        const auto command = rest.substr(0, rest.find_first_of(" \t\r\n"));
        return file_problem(
            file,
            line_at(text, one.offset),
            fmt::format(
                "{} is a command of psql, not SQL: only statements that the server itself "
                "understands can be run",
                command));
    }
    return std::nullopt;
}

// A piece of the text between two semicolons; nothing if it holds but comments.
void add_statement(std::string_view text, std::size_t start, std::size_t end, script& into) {
    const auto piece = text.substr(start, end - start);
    const auto first = token_reader(piece).next();
    if (first.text.empty()) return;
    auto body = piece.substr(first.offset);
    const auto last = body.find_last_not_of(" \t\r\n");
    body = body.substr(0, last + 1);
    into.statements.push_back({std::string(body), line_at(text, start + first.offset)});
}

bool split_by_grammar(std::string_view file, const std::string& text, script& into) {
    const PgQuerySplitResult split = pg_query_split_with_parser(text.c_str());
    if (split.error != nullptr) {
        const auto at = split.error->cursorpos > 0
                            ? offset_of_character(
                                  text,
                                  static_cast<unsigned>(split.error->cursorpos))
                            : 0;
        into.unparsed = file_problem(file, line_at(text, at), split.error->message);
    }
    for (int i = 0; split.error == nullptr && i < split.n_stmts; ++i) {
        const auto start = static_cast<std::size_t>(split.stmts[i]->stmt_location);
        const auto size = static_cast<std::size_t>(split.stmts[i]->stmt_len);
        add_statement(text, start, start + size, into);
    }
    pg_query_free_split_result(split);
    return !into.unparsed;
}

// By semicolons outside of quotes, parentheses and BEGIN ATOMIC … END.
void split_by_tokens(std::string_view text, script& into) {
    token_reader reader(text);
    std::size_t start = 0;
    int parentheses = 0;
    int blocks = 0;
    std::string before;
    for (auto one = reader.next(); !one.text.empty(); one = reader.next()) {
        const auto word = first_tokens(one.text, 1).front();
        if (word == "(") ++parentheses;
        if (word == ")") --parentheses;
        if (one.word && before == "BEGIN" && word == "ATOMIC") ++blocks;
        if (one.word && blocks > 0 && word == "CASE") ++blocks;
        if (one.word && blocks > 0 && word == "END") --blocks;
        before = word;
        if (word != ";" || parentheses > 0 || blocks > 0) continue;
        add_statement(text, start, one.offset, into);
        start = one.offset + 1;
        parentheses = 0;
    }
    add_statement(text, start, text.size(), into);
}

// `BEGIN; … COMMIT;` around everything is a habit of files for other tools.
void drop_brackets(script& of) {
    auto& all = of.statements;
    if (!of.header.transaction || all.size() < 2) return;
    if (!is_plain_begin(all.front().text) || !is_plain_commit(all.back().text)) return;
    all.pop_back();
    all.erase(all.begin());
}

std::optional<problem> find_unsuitable(const script& in) {
    for (std::size_t i = 0; i < in.statements.size(); ++i) {
        const auto why = why_not_runnable(in.statements[i].text, in.header);
        if (why.empty()) continue;
        auto found = file_problem(in.file, in.statements[i].line, why);
        found.statement = static_cast<unsigned>(i + 1);
        return found;
    }
    return std::nullopt;
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
    std::string text;
    for (unsigned i = 0; i < size; ++i)
        text += fmt::format("{:02x}", digest[i]);
    return text;
}

std::string script::sha256_of_first(std::size_t count) const {
    std::string all;
    for (std::size_t i = 0; i < count && i < statements.size(); ++i)
        all += statements[i].text + ";\n";
    return sha256_hex(all);
}

answer<script> parse_script(std::string_view file, std::string_view text) {
    if (text.find('\0') != std::string_view::npos)
        return file_problem(file, 1, "a zero byte: this is no SQL text in UTF-8");
    script read{std::string(file), sha256_hex(text), {}, {}, {}};
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    const auto header = parse_directives(file, text);
    if (header.has_error()) return header.error();
    read.header = header.value();
    if (auto meta = find_meta_command(file, text)) return *std::move(meta);
    if (!split_by_grammar(file, std::string(text), read)) split_by_tokens(text, read);
    drop_brackets(read);
    if (auto unsuitable = find_unsuitable(read)) return *std::move(unsuitable);
    return read;
}

std::string summary(const statement& one) {
    std::string line;
    token_reader reader(one.text);
    std::size_t end = 0;
    for (auto token = reader.next(); !token.text.empty(); token = reader.next()) {
        if (line.size() + token.text.size() > summary_size_max) return line + " …";
        if (!line.empty() && token.offset > end) line += ' ';
        for (const char c : token.text)
            line += c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
        end = token.offset + token.text.size();
    }
    return line;
}

}  // namespace postern::migrate
