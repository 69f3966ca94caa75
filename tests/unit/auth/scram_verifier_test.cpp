// A verifier is an interface with PostgreSQL: those below were computed by PostgreSQL 15 itself,
// and deriving them anew from password, salt and iterations must give the same text.

#include "auth/scram.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace postern::auth {
namespace {

struct known {
    std::string_view what;
    std::string_view password;
    std::string_view verifier;
};

constexpr known made_by_postgresql[] = {
    {"plain ASCII",
     "correct horse battery staple",
     "SCRAM-SHA-256$4096:SWk+rqGw0Vb1E4oCp1dmLA==$CK/5TSRZVKkGKjxOdPbwVa9+FuBSZY8d5+z560lb0a4=:"
     "zA7ua7lHkm8oWXJISAwiPZBhriLupt2p9P1x/VPL3L0="},
    {"a Roman numeral that becomes letters, a soft hyphen that vanishes",
     "\u2168 pass\u00adw\u00f6rd",
     "SCRAM-SHA-256$4096:mGD2Y9HF4iLqZgddgFfCWg==$R0sJvSYbXbacCx9wCQtFh+BX1Kknpekhgw9LUEzYPcs=:"
     "GrftMAGOHW0bREWBiuFc/xDBaHYvS3mwEVoz2eRQYsQ="},
    {"a control character beside a non-ASCII letter: prohibited, so used as it is",
     "bell\a\u00e9",
     "SCRAM-SHA-256$4096:xRWYnYT4+XuXsvB69ImoJw==$S26meiTDRfrHssJHZopyzP/VQVFKNYSPVhmE4/jQnWA=:"
     "IOGAmJ99i9Ld3AFmqFnLpAWFKa+L3pLX7nT+aHprlBw="},
    {"a tab is prohibited likewise",
     "tab\t\u00aa",
     "SCRAM-SHA-256$4096:nOGsQkzZTp7WvAiWdiNj1g==$QAFsG6DnA0/+Xp5bLusjvzF7QSs0QwQamu3aKcJlPZM=:"
     "/KV28muG3AXsD3hyP6Min1PUY84obhC5+1avMEu7KBg="},
};

constexpr std::string_view valid = made_by_postgresql[0].verifier;

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
    std::string copy(text);
    const std::size_t at = copy.find(from);
    REQUIRE(at != std::string::npos);
    return copy.replace(at, from.size(), to);
}

}  // namespace

TEST_SUITE("auth/scram_verifier") {
    TEST_CASE("PostgreSQL's own verifiers are read, written and derived alike") {
        for (const known& example : made_by_postgresql) {
            CAPTURE(example.what);
            const auto parsed = scram_verifier::parse(example.verifier);
            REQUIRE(parsed.has_value());
            CHECK(parsed->to_string() == example.verifier);
            const auto derived =
                scram_verifier::derive(example.password, parsed->salt, parsed->iterations);
            CHECK(derived.to_string() == example.verifier);
        }
    }

    TEST_CASE("another password, salt or count of iterations derives another verifier") {
        const auto parsed = scram_verifier::parse(valid).value();
        const std::string_view password = made_by_postgresql[0].password;
        CHECK(scram_verifier::derive("other", parsed.salt).to_string() != valid);
        CHECK(scram_verifier::derive(password, "0123456789abcdef").to_string() != valid);
        CHECK(scram_verifier::derive(password, parsed.salt, 4097).to_string() != valid);
    }

    TEST_CASE("passwords that SASLprep can't read are used as they are") {
        const auto invalid = scram_verifier::derive("\xff\xfe", "salt", 1);
        CHECK(invalid.to_string() != scram_verifier::derive("\xff", "salt", 1).to_string());
        // A soft hyphen alone would leave nothing over.
        const auto vanishing = scram_verifier::derive("\u00ad", "salt", 1);
        CHECK(vanishing.to_string() != scram_verifier::derive("", "salt", 1).to_string());
    }

    TEST_CASE("texts that are no verifier are refused") {
        const std::string cases[] = {
            "",
            "md5c0ffee",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096",
            "SCRAM-SHA-256$4096:c2FsdA==",
            "SCRAM-SHA-256$4096:c2FsdA==$c2FsdA==",
            replaced(valid, "SCRAM-SHA-256", "SCRAM-SHA-1"),
            replaced(valid, "4096", ""),
            replaced(valid, "4096", "0"),
            replaced(valid, "4096", "-1"),
            replaced(valid, "4096", "+4096"),
            replaced(valid, "4096", "4096x"),
            replaced(valid, "4096", "99999999999999999999"),
            replaced(valid, "4096", "2147483648"),
            replaced(valid, "SWk+rqGw0Vb1E4oCp1dmLA==", ""),
            replaced(valid, "SWk+rqGw0Vb1E4oCp1dmLA==", "SWk+rqGw0Vb1E4oCp1dmLA"),
            replaced(valid, "SWk+rqGw0Vb1E4oCp1dmLA==", "SWk rqGw0Vb1E4oCp1dmLA=="),
            replaced(valid, "SWk+rqGw0Vb1E4oCp1dmLA==", "SWk+rqGw0Vb1E4oCp1dmLB=="),
            replaced(valid, "CK/5TSRZVKkGKjxOdPbwVa9+FuBSZY8d5+z560lb0a4=", "c2hvcnQ="),
            replaced(valid, "zA7ua7lHkm8oWXJISAwiPZBhriLupt2p9P1x/VPL3L0=", "c2hvcnQ="),
            std::string(valid) + "\n",
            std::string(valid) + "AAAA",
        };
        for (const std::string& text : cases) {
            CAPTURE(text);
            const auto parsed = scram_verifier::parse(text);
            REQUIRE(parsed.has_error());
            CHECK(parsed.error().message.starts_with("not a SCRAM-SHA-256 verifier: "));
        }
    }

    TEST_CASE("a mock verifier is the same for a user each time, and another for another") {
        const auto mock = mock_verifier("alice", "secret");
        CHECK(mock.to_string() == mock_verifier("alice", "secret").to_string());
        CHECK(mock.salt != mock_verifier("bob", "secret").salt);
        CHECK(mock.salt != mock_verifier("alice", "another secret").salt);
        CHECK(mock.iterations == 4096);
        CHECK(mock.salt.size() == 16);
        CHECK(scram_verifier::parse(mock.to_string()).has_value());
    }

    TEST_CASE("an MD5 response is that of PostgreSQL") {
        // md5(md5('secret' || 'alice') || '\1\2\3\4'), computed apart from this code.
        CHECK(md5_response("alice", "secret", "\1\2\3\4") == "md598a0412b9c31436fc53776e863350083");
        CHECK(md5_response("alice", "secret", "\1\2\3\5") != "md598a0412b9c31436fc53776e863350083");
    }

    TEST_CASE("random bytes are as many as asked for, and others each time") {
        CHECK(random_bytes(0).empty());
        CHECK(random_bytes(32).size() == 32);
        CHECK(random_bytes(32) != random_bytes(32));
    }
}

}  // namespace postern::auth
