// Goal: a lift is never wrong. Texts of one shape have the facts that a fresh parse of each would
// find, and what is unusual keeps a text from having a shape, or stays in its key.

#include "describe.hpp"
#include "sql/analyzer.hpp"
#include "sql/lexer.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace postern::sql {

namespace {

/// The shape's key with its placeholders made readable; "-" for a text without a shape.
std::string shape(std::string_view text) {
    std::string key;
    if (!scan_text(text, key).has_shape) return "-";
    std::string readable;
    for (const char c : key) {
        switch (c) {
        case '\x01': readable += "#i"; break;
        case '\x02': readable += "#d"; break;
        case '\x03': readable += "#s"; break;
        default: readable += c;
        }
    }
    return readable;
}

/// Checks that `text`, as one more text of an analyzer, has the facts of a fresh parse.
void check_same(analyzer& shared, std::string_view text) {
    CAPTURE(text);
    const analysis_ptr found = shared.analyze(text);
    CHECK(describe(*found->facts) == describe(parse_facts(text)));
    analyzer fresh;
    CHECK(found->has_time_constant == fresh.analyze(text)->has_time_constant);
}

}  // namespace

TEST_CASE("plain constants are lifted and space is made even") {
    CHECK(shape("SELECT  a FROM t\n WHERE x = 5") == "SELECT a FROM t WHERE x = #i");
    CHECK(shape("SELECT 'a''b', 1.5, 2e3, -7;") == "SELECT #s, #d, #d, -#i;");
    CHECK(
        shape("select a from t where x='1'and y in(1,2)") ==
        "select a from t where x=#sand y in(#i,#i)");
    CHECK(shape("SELECT date'2020-01-01'") == "SELECT date#s");
    CHECK(shape("SELECT a[1:2]") == "SELECT a[#i:#i]");
    CHECK(shape("SELECT 2147483647, 2147483648, 007") == "SELECT #i, #d, #i");
}

TEST_CASE("comments are dropped, but part what they stand between") {
    CHECK(shape("SELECT/* a /* b */ c */1--x\n+2") == "SELECT #i +#i");
    CHECK(shape("/* a */ SELECT 1 -- end") == "SELECT #i");
    CHECK(shape("SELECT 1 - -1, 1+/**/-1") == "SELECT #i - -#i, #i+ -#i");
    CHECK(shape("SELECT a-1--1\n") == "SELECT a-#i");
    CHECK(shape("SELECT 1 */* c */ 2") == "SELECT #i * #i");
}

TEST_CASE("what is unusual stays in the key") {
    CHECK(shape("SELECT E'a\\'b', 1") == "SELECT E'a\\'b', #i");
    CHECK(shape("SELECT B'01', X'ff', n'x', 1") == "SELECT B'01', X'ff', n'x', #i");
    CHECK(shape("SELECT $1, $$a 'b'$$, $t$ $$ $t$, 'c'") == "SELECT $1, $$a 'b'$$, $t$ $$ $t$, #s");
    CHECK(shape("SELECT \"a'1\"\"2\", t1, t$1, 3") == "SELECT \"a'1\"\"2\", t1, t$1, #i");
    CHECK(shape("SELECT .5, 5., 1..2, 1.2.3") == "SELECT .5, 5., 1..2, 1.2.3");
    CHECK(shape("SELECT 1a, 0x1F, 1_000, 1e") == "SELECT 1a, 0x1F, 1_000, 1e");
    CHECK(shape("SELECT x::float(24), 3") == "SELECT x::float(24), #i");
    CHECK(shape("SELECT CURRENT_TIME(3), 3") == "SELECT CURRENT_TIME(3), #i");
    CHECK(shape("SELECT x::FLOAT /* c */ ( 30 )") == "SELECT x::FLOAT ( 30 )");
}

TEST_CASE("texts whose constants could be facts have no shape") {
    for (const std::string_view text :
         {"SET a.b = '1'",
          "SELECT set_config('a', 'b', true)",
          "SELECT SET_CONFIG('a', 'b', true)",
          "SELECT \"current_setting\"('a')",
          "SELECT 1; SET a.b = '1'",
          "SELECT 'a'\n'b'",
          "SELECT E'a'\n'\\'b'",
          "SELECT U&'d!0061' UESCAPE '!'",
          "SELECT U&\"d!0061\" UESCAPE '!'",
          "SELECT \"\x01\"",
          "SELECT \x01",
          "SELECT 'open",
          "SELECT /* open",
          "(SELECT 1)",
          "EXPLAIN SELECT 1",
          "COPY a FROM '/x'",
          ""}) {
        CAPTURE(text);
        CHECK(shape(text) == "-");
    }
}

TEST_CASE("texts of one shape share one parse and one analysis") {
    analyzer subject;
    const analysis_ptr first = subject.analyze("SELECT a FROM t WHERE x = 1");
    const analysis_ptr second = subject.analyze("SELECT a FROM t WHERE x = 2");
    const analysis_ptr again = subject.analyze("SELECT a FROM t WHERE x = 1");
    CHECK(first == second);
    CHECK(first == again);
    CHECK(first->id != 0);
    const analyzer::counts seen = subject.statistics();
    CHECK(seen.parses == 1);
    CHECK(seen.shape_hits == 1);
    CHECK(seen.text_hits == 1);
    CHECK(subject.analyze("SELECT a FROM t WHERE x = '1'")->id != first->id);
}

TEST_CASE("a text of a known shape is remembered by itself when it comes again") {
    analyzer subject;
    subject.analyze("SELECT a FROM t WHERE x = 1");
    for (int i = 2; i < 1000; ++i)
        subject.analyze("SELECT a FROM t WHERE x = " + std::to_string(i));
    CHECK(subject.statistics().text_hits == 0);
    CHECK(subject.statistics().shape_hits == 998);
    subject.analyze("SELECT a FROM t WHERE x = 500");
    CHECK(subject.statistics().text_hits == 0);
    CHECK(subject.statistics().shape_hits == 999);
    for (int i = 0; i < 3; ++i)
        subject.analyze("SELECT a FROM t WHERE x = 500");
    CHECK(subject.statistics().text_hits == 3);
    CHECK(subject.statistics().shape_hits == 999);
    CHECK(subject.statistics().parses == 1);
}

TEST_CASE("an analysis says whether it will be found again") {
    analyzer subject;
    CHECK(subject.analyze("SELECT a FROM t WHERE x = 1")->kept);
    const std::string two = "INSERT INTO t VALUES (1); UPDATE t SET x = 1";
    const analysis_ptr first = subject.analyze(two);
    CHECK_FALSE(first->kept);
    // Nobody has sent it once more.
    for (int i = 0; i < 3; ++i)
        CHECK_FALSE(subject.analyze(two, true)->kept);
    const analysis_ptr second = subject.analyze(two);
    CHECK(second->kept);
    CHECK(second->id != first->id);
    CHECK(subject.analyze(two) == second);
    CHECK(analyzer::unknown()->kept);
}

TEST_CASE("a time constant belongs to the text, not to the shape") {
    analyzer subject;
    CHECK_FALSE(subject.analyze("SELECT 1 FROM t WHERE d = '2020-01-01'")->has_time_constant);
    CHECK(subject.analyze("SELECT 1 FROM t WHERE d = 'now'")->has_time_constant);
    CHECK_FALSE(subject.analyze("SELECT 1 FROM t WHERE d = '2020-01-02'")->has_time_constant);
    CHECK(subject.analyze("SELECT 1 FROM u WHERE d = 'today'")->has_time_constant);
    CHECK_FALSE(subject.analyze("SELECT 1 FROM u WHERE d = 'x'")->has_time_constant);
    CHECK(subject.analyze("SELECT 1 FROM t WHERE d = E'n\\157w' AND x = 1")->has_time_constant);
    CHECK(subject.analyze("SELECT 1 FROM t WHERE d = E'n\\157w' AND x = 2")->has_time_constant);
    CHECK(subject.analyze("SELECT 1 FROM t WHERE d = $$now$$ AND x = 2")->has_time_constant);
    CHECK_FALSE(subject.analyze("SELECT now FROM today")->has_time_constant);
    CHECK(subject.statistics().shape_hits == 3);
}

TEST_CASE("a leading comment of ours is a hint for its own text") {
    analyzer subject;
    CHECK_FALSE(subject.analyze("SELECT 1")->hint_bypass);
    CHECK(subject.analyze("/* postern:bypass */ SELECT 1")->hint_bypass);
    CHECK(subject.analyze("/*postern:bypass*/SELECT 2")->hint_bypass);
    CHECK(subject.analyze("/* x */ -- y\n /* postern:other, bypass */ SELECT 3")->hint_bypass);
    CHECK(subject.analyze("/* postern:bypass */ EXPLAIN SELECT 1")->hint_bypass);
    CHECK_FALSE(subject.analyze("SELECT 1 /* postern:bypass */")->hint_bypass);
    CHECK_FALSE(subject.analyze("/* postern:bypassed */ SELECT 1")->hint_bypass);
    CHECK_FALSE(subject.analyze("/* not postern:bypass */ SELECT 1")->hint_bypass);
    CHECK_FALSE(subject.analyze("SELECT '/* postern:bypass */'")->hint_bypass);
    CHECK_FALSE(subject.analyze("SELECT 4")->hint_bypass);
}

TEST_CASE("what can't be parsed, and what is too long, is unknown") {
    analyzer subject({.text_bytes_max = 4096, .shape_count_max = 4, .parse_size_max = 100});
    CHECK_FALSE(subject.analyze("SELEC 1")->facts->understood);
    CHECK(subject.analyze("SELECT " + std::string(200, '1')) == analyzer::unknown());
    CHECK(subject.analyze("SELECT 1")->facts->understood);
    CHECK(subject.analyze(std::string_view("SELECT 1--\0", 11)) == analyzer::unknown());
    const analysis_ptr unknown = analyzer::unknown();
    CHECK_FALSE(unknown->facts->understood);
    REQUIRE(unknown->facts->statements.size() == 1);
    CHECK(unknown->facts->statements[0].writes_everything);
    CHECK(unknown->facts->statements[0].pin == pin_cause::unknown_effect);
}

TEST_CASE("both memories are bounded and forget what is not asked for first") {
    analyzer subject({.text_bytes_max = 1000, .shape_count_max = 2, .parse_size_max = 1000});
    subject.analyze("SELECT a");
    for (int i = 0; i < 50; ++i) {
        subject.analyze("SELECT b" + std::to_string(i));
        subject.analyze("SELECT a");
    }
    analyzer::counts seen = subject.statistics();
    CHECK(seen.text_hits == 50);
    CHECK(seen.parses == 51);
    subject.analyze("SELECT b0");
    seen = subject.statistics();
    CHECK(seen.parses == 52);
}

TEST_CASE("texts of one shape have the facts of a fresh parse whatever their constants") {
    // @ stands for a constant, drawn anew each time.
    static const char* const patterns[] = {
        "SELECT * FROM a WHERE x = @",
        "SELECT a.x, b.y FROM a JOIN b ON a.i = b.i WHERE a.z IN (@, @) AND b.w LIKE @ LIMIT @",
        "SELECT x::numeric(10, 2), -@, - @, @::text, CAST(@ AS s.t), date @, interval @ day FROM a",
        "SELECT f(@, @) FROM a ORDER BY @ OFFSET @",
        "SELECT float8 @, x::float(@) FROM a",
        "SELECT CURRENT_TIME(@)",
        "SELECT a[@:@], (b).c, $1 + @ FROM t GROUP BY @ HAVING count(*) > @",
        "INSERT INTO a (x, y) VALUES (@, @), (@, DEFAULT) ON CONFLICT (x) DO UPDATE SET y = @",
        "UPDATE a SET x = @, y = y + @ WHERE z BETWEEN @ AND @",
        "DELETE FROM a WHERE x = @ RETURNING x || @",
        "WITH q AS (SELECT * FROM a WHERE x = @) SELECT * FROM q WHERE y = @ LIMIT 5",
        "VALUES (@), (@)",
        "SELECT 1 WHERE @@@",
        "SELECT a @ b",
        "SELECT @.5, .@, @a, a@",
        "SELECT @@ 'x', 'y'@",
        "SELECT a-@, a- -@, a+@",
        "SELECT E'a\\'' || @, $q$ ' $q$ || @, U&'a' || @",
        "SELECT nextval(@), pg_advisory_lock(@), now() - @",
        "SELECT * FROM t TABLESAMPLE system (@)",
        "SELECT extract(@ from x), x AT TIME ZONE @, x COLLATE \"C\" FROM t",
        "SELECT sum(x) OVER (ORDER BY y ROWS @ PRECEDING) FROM t",
    };
    static const char* const constants[] = {
        "1",       "0",           "42",       "2147483647", "2147483648",   "99999999999999999999",
        "007",     "1.5",         "0.0",      "1e5",        "1E-5",         "1.5e+3",
        "24",      "25",          "53",       "54",         "'a'",          "''",
        "'it''s'", "'now'",       "'5'",      "'1 day'",    "'--'",         "'/*'",
        "'$1'",    "'\\'",        "'a;b'",    "' today '",  "'set_config'", "'\"'",
        "'year'",  "'pg_temp.x'", "1.",       ".5",         "1a",           "E'b'",
        "$$c$$",   "B'1'",        "'a'\n'b'", "NULL",       "$2",
    };
    std::mt19937 random(20261123);
    analyzer shared;
    for (int round = 0; round < 120; ++round) {
        for (const std::string_view pattern : patterns) {
            std::string text;
            // Every other round keeps to what is lifted, so that shapes are met again.
            const std::size_t choices = round % 2 == 0 ? std::size(constants) : 32;
            for (const char c : pattern) {
                if (c == '@') {
                    text += constants[random() % choices];
                } else {
                    text += c;
                }
            }
            check_same(shared, text);
        }
    }
    CHECK(shared.statistics().shape_hits > 500);
}

// long: a table of statements, one line each
TEST_CASE("tricky texts have the same facts by shape as by a fresh parse") {
    static const char* const texts[] = {
        "SELECT 'a' 'b'",
        "SELECT 'a' -- c\n 'b'",
        "SELECT 'a' /* c */ 'b'",
        "SELECT 'a'\n\n'b'",
        "SELECT E'\\\\', 'b'",
        "SELECT E'\\'', 'b'",
        "SELECT '\\', 'b'",
        "SELECT e'a''b', 'c'",
        "SELECT x'1' 'a'",
        "SELECT xe'a'",
        "SELECT type'a'",
        "SELECT u&x FROM t",
        "SELECT u & 1",
        "SELECT $a$'$a$, 'b'",
        "SELECT $a$ $b$ $a$, 1",
        "SELECT a$b$c$, 1",
        "SELECT $1$a$b$a$",
        "SELECT $",
        "SELECT $a",
        "SELECT 1$a$",
        "SELECT $$$$",
        "SELECT $a$$a$",
        "SELECT $a$$b$a$",
        "SELECT \"a\"\"b\", \"c'd\"",
        "SELECT \"a\"'b'",
        "SELECT 'a'\"b\"",
        "SELECT \"\"",
        "SELECT 1--2",
        "SELECT 1 --\n 2",
        "SELECT 1 - - 2",
        "SELECT 1 @-- 2\n 3",
        "SELECT 1 @/*x*/ 3",
        "SELECT 1 /*/* 2 */*/",
        "SELECT 1 /* 2",
        "SELECT 1 */ 2",
        "SELECT 1 +-1",
        "SELECT 1 @-1",
        "SELECT 1=-1",
        "SELECT 1.a",
        "SELECT 1.5a",
        "SELECT 1e5a",
        "SELECT 1e+",
        "SELECT 1.e5",
        "SELECT 1..5",
        "SELECT a.1",
        "SELECT .1",
        "SELECT 1.2.3",
        "SELECT 1e'a'",
        "SELECT 1.e'\\''",
        "SELECT 1x'f'",
        "SELECT 0x'f'",
        "SELECT 1E5E'\\''",
        "SELECT 1n'a'",
        "SELECT n'a'\n'b'",
        "SELECT 1;",
        "SELECT 1;;",
        "SELECT 1; SELECT 2",
        ";SELECT 1",
        "SELECT 1;'a'",
        "SELECT\f1",
        "SELECT\v1",
        "SELECT \xc3\xa4 FROM \xc3\xb6",
        "SELECT '\xc3\xa4'",
        "SELECT 1 AS \"set_config\"",
        "SELECT 'x' set_config",
        "SELECT a.set_config('x', 'y', true)",
        "SELECT set_config  ('x', 'y', true)",
        "SELECT set_config/**/('x', 'y', false)",
        "SELECT U&\"set_confi\\0067\"('x', 'y', false)",
        "SELECT U&'a' UESCAPE '!'",
        "SELECT \"float\"(24)",
        "SELECT 1::\"float\"(24)",
        "SELECT float(24) '1'",
        "SELECT 1::float(54)",
        "SELECT 1::float (24)",
        "SELECT 1::float(24.5)",
        "SELECT 1::float('24')",
        "SELECT 1 FROM t LIMIT 'a'",
        "SELECT interval(3) '1'",
        "SELECT interval '1' second(3)",
        "INSERT INTO a VALUES (1) RETURNING 'a' AS \"b\"",
        "SELECT 1 AS \"a\", 'x' AS b",
        "SELECT * FROM t AS OF",
        "SELECT * FROM \"t\"\"1\" WHERE x='a''b'AND y=1",
    };
    analyzer shared;
    for (const std::string_view text : texts)
        check_same(shared, text);
    for (const std::string_view text : texts)
        check_same(shared, text);
}

TEST_CASE("what is shown of a text holds no value and no comment") {
    CHECK(
        without_values(
            "SELECT  a /* of 7 */ FROM t -- of 8\n WHERE b = 'x''y' AND c IN (1, 2.5e3)") ==
        "SELECT a FROM t WHERE b = ? AND c IN (?, ?)");
    CHECK(
        without_values("SELECT $1, $tag$secret$tag$, E'\\'s', U&'s' FROM \"T 1\"") ==
        "SELECT $1, ?, ?, ? FROM \"T 1\"");
    CHECK(without_values("SELECT 'never ends") == "SELECT …");
    CHECK(without_values("") == "");
}

}  // namespace postern::sql
