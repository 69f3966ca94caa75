// Both sides of a login: against RFC 7677's recorded exchange, against each other, and against
// every kind of message that must be refused.

#include "auth/scram.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace postern::auth {
namespace {

// RFC 7677, section 3.
namespace rfc {
constexpr std::string_view password = "pencil";
constexpr std::string_view salt =
    "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
constexpr std::string_view client_nonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr std::string_view client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr std::string_view server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
}  // namespace rfc

// The same exchange by SCRAM-SHA-256-PLUS, bound to 32 bytes from 0 up. No RFC records one;
// computed by another implementation (Python's hashlib and hmac).
namespace plus {
constexpr std::string_view client_first = "p=tls-server-end-point,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view client_final =
    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=nY1Wus9a+gM2DrbQ1msXFgyhW6KM5ktOxWiU+/P/EGY=";
constexpr std::string_view server_final = "v=RwppMGddhz/J0lFYaRReBjXcQeNUFP5Qc76Lo5Exrig=";
std::string end_point() {
    std::string bytes;
    for (char i = 0; i < 32; ++i)
        bytes += i;
    return bytes;
}
}  // namespace plus

scram_server rfc_server() {
    return scram_server(
        scram_verifier::derive(rfc::password, rfc::salt, 4096),
        std::string(rfc::server_nonce));
}

scram_client rfc_client() {
    return scram_client(std::string(rfc::password), std::string(rfc::client_nonce), "user");
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
    std::string copy(text);
    const std::size_t at = copy.find(from);
    REQUIRE(at != std::string::npos);
    return copy.replace(at, from.size(), to);
}

// What a whole login came to: "" for success, or the failure of the side that gave up.
std::string log_in(scram_server& server, scram_client& client) {
    const auto server_first = server.first(client.first());
    if (server_first.has_error()) return server_first.error().message;
    const auto client_final = client.final(*server_first);
    if (client_final.has_error()) return client_final.error().message;
    const auto server_final = server.final(*client_final);
    if (server_final.has_error()) return server_final.error().message;
    const auto verified = client.verify(*server_final);
    return verified.has_error() ? verified.error().message : "";
}

}  // namespace

TEST_SUITE("auth/scram_exchange") {
    TEST_CASE("the server retraces the exchange of RFC 7677") {
        scram_server server = rfc_server();
        CHECK(server.first(rfc::client_first).value() == rfc::server_first);
        CHECK(server.final(rfc::client_final).value() == rfc::server_final);
    }

    TEST_CASE("the client retraces the exchange of RFC 7677") {
        scram_client client = rfc_client();
        CHECK(client.first() == rfc::client_first);
        CHECK(client.final(rfc::server_first).value() == rfc::client_final);
        CHECK(client.verify(rfc::server_final).has_value());
    }

    TEST_CASE("client and server with the same password agree") {
        for (const std::string_view password : {"secret", "", "p\u00e4ss", "\xff", ",=\"\\"}) {
            CAPTURE(password);
            scram_server server(scram_verifier::derive(password, "some salt", 2));
            scram_client client{std::string(password)};
            CHECK(log_in(server, client) == "");
        }
    }

    TEST_CASE("passwords that SASLprep holds equal log in alike") {
        scram_server server(scram_verifier::derive("IX", "some salt", 2));
        scram_client client("\u2168");
        CHECK(log_in(server, client) == "");
    }

    TEST_CASE("each attempt has nonces of its own") {
        CHECK(scram_client("x").first() != scram_client("x").first());
        scram_server one = rfc_server();
        scram_server other(scram_verifier::derive(rfc::password, rfc::salt, 2));
        CHECK(one.first(rfc::client_first).value() != other.first(rfc::client_first).value());
    }

    TEST_CASE("a wrong password and an unknown user are told by the same words") {
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        scram_client client("wrong");
        CHECK(log_in(server, client) == "the password does not match");

        scram_server unknown(mock_verifier("nobody", "secret"));
        unknown.set_doomed();
        scram_client somebody("wrong");
        CHECK(log_in(unknown, somebody) == "the password does not match");
    }

    TEST_CASE("a doomed attempt fails even with the right password") {
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        server.set_doomed();
        scram_client client("right");
        CHECK(log_in(server, client) == "the password does not match");
    }

    TEST_CASE("a server that knows only the salt is found out") {
        scram_verifier verifier = scram_verifier::derive("right", "some salt", 2);
        verifier.server_key.assign(32, 'x');
        scram_server server(verifier);
        scram_client client("right");
        CHECK(log_in(server, client).starts_with("the server's signature is wrong"));
    }

    TEST_CASE("a client that could have bound the channel, but thinks we can't, is served") {
        scram_server server = rfc_server();
        REQUIRE(server.first(replaced(rfc::client_first, "n,,", "y,,")).has_value());
        // The proof covers the flag, so only the refusal of the wrong flag can be seen here.
        const auto answer = server.final(rfc::client_final);
        REQUIRE(answer.has_error());
        CHECK(answer.error().message.find("channel-binding header") != std::string::npos);
        const auto proof_refused = server.final(replaced(rfc::client_final, "biws", "eSws"));
        REQUIRE(proof_refused.has_error());
        CHECK(proof_refused.error().message == "the password does not match");
    }

    TEST_CASE("what a client has proven logs in under the same verifier, and only there") {
        const auto verifier = scram_verifier::derive("right", "some salt", 2);
        scram_server server(verifier);
        scram_client client("right");
        CHECK(server.keys() == nullptr);
        REQUIRE(log_in(server, client) == "");
        const auto keys = server.keys();
        REQUIRE(keys != nullptr);

        scram_server elsewhere(verifier);
        scram_client without_password(keys);
        CHECK(log_in(elsewhere, without_password) == "");

        // A new password, and so a new salt; or more iterations; or a stranger's verifier.
        for (const auto& other :
             {scram_verifier::derive("right", "other salt", 2),
              scram_verifier::derive("right", "some salt", 3)}) {
            scram_server changed(other);
            scram_client late(keys);
            CHECK(log_in(changed, late).find("changed there since") != std::string::npos);
        }
        scram_server stranger(scram_verifier::derive("wrong", "some salt", 2));
        scram_client refused(keys);
        CHECK(log_in(stranger, refused) == "the password does not match");
    }

    TEST_CASE("a login that fails proves nothing") {
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        scram_client wrong("wrong");
        CHECK(log_in(server, wrong) != "");
        CHECK(server.keys() == nullptr);
        scram_server doomed(scram_verifier::derive("right", "some salt", 2));
        doomed.set_doomed();
        scram_client right("right");
        CHECK(log_in(doomed, right) != "");
        CHECK(doomed.keys() == nullptr);
    }

    TEST_CASE("a server that binds retraces the exchange, and so does a client") {
        scram_server server = rfc_server();
        server.offer_binding(plus::end_point());
        REQUIRE(server.choose(scram_plus_mechanism));
        CHECK(server.first(plus::client_first).value() == rfc::server_first);
        CHECK(server.final(plus::client_final).value() == plus::server_final);
        scram_client client = rfc_client();
        client.bind_to(plus::end_point());
        CHECK(client.mechanism() == scram_plus_mechanism);
        CHECK(client.first() == plus::client_first);
        CHECK(client.final(rfc::server_first).value() == plus::client_final);
        CHECK(client.verify(plus::server_final).has_value());
    }

    TEST_CASE("the binding mechanism is offered first, and only where there is something to bind") {
        scram_server server = rfc_server();
        REQUIRE(server.mechanisms().size() == 1);
        CHECK(server.mechanisms()[0] == scram_mechanism);
        CHECK_FALSE(server.choose(scram_plus_mechanism));
        server.offer_binding("end point");
        REQUIRE(server.mechanisms().size() == 2);
        CHECK(server.mechanisms()[0] == scram_plus_mechanism);
        CHECK(server.choose(scram_mechanism));
        CHECK(server.choose(scram_plus_mechanism));
        CHECK_FALSE(server.choose("SCRAM-SHA-1"));
        CHECK_FALSE(server.choose(""));
    }

    TEST_CASE("a login bound to another end point is refused, and known for it") {
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        server.offer_binding("one certificate");
        REQUIRE(server.choose(scram_plus_mechanism));
        scram_client client("right");
        client.bind_to("another certificate");
        CHECK(log_in(server, client).find("another server's certificate") != std::string::npos);
        CHECK(server.bound_elsewhere());
    }

    TEST_CASE("an offer that was taken away on the way is noticed") {
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        server.offer_binding("one certificate");
        REQUIRE(server.choose(scram_mechanism));
        scram_client client("right");
        client.note_no_offer();
        CHECK(log_in(server, client).find("taken away on the way") != std::string::npos);

        scram_server without(scram_verifier::derive("right", "some salt", 2));
        scram_client knowing("right");
        knowing.note_no_offer();
        CHECK(log_in(without, knowing) == "");
    }

    TEST_CASE("flag and mechanism have to agree") {
        struct disagreement {
            std::string_view mechanism;
            std::string_view first;
        };
        const disagreement cases[] = {
            {scram_mechanism, "p=tls-server-end-point,,n=user,r=abc"},
            {scram_plus_mechanism, "n,,n=user,r=abc"},
            {scram_plus_mechanism, "y,,n=user,r=abc"},
            {scram_plus_mechanism, "p=tls-unique,,n=user,r=abc"},
            {scram_plus_mechanism, "p=tls-server-end-pointed,,n=user,r=abc"},
            {scram_plus_mechanism, "p=tls-server-end-point"},
            {scram_plus_mechanism, "p=tls-server-end-point,"},
            {scram_plus_mechanism, "p=tls-server-end-point,a=admin,n=user,r=abc"},
            {scram_plus_mechanism, "p=tls-server-end-point,,m=must,n=user,r=abc"},
        };
        for (const auto& one : cases) {
            CAPTURE(std::string(one.first));
            scram_server server = rfc_server();
            server.offer_binding("end point");
            REQUIRE(server.choose(one.mechanism));
            CHECK(server.first(one.first).has_error());
        }
    }

    TEST_CASE("extensions that the server does not know are passed over, yet signed") {
        scram_server server = rfc_server();
        CHECK(server.first(std::string(rfc::client_first) + ",x=later,Y=").has_value());
        const auto answer = server.final(replaced(rfc::client_final, ",p=", ",x=later,p="));
        REQUIRE(answer.has_error());
        CHECK(answer.error().message == "the password does not match");
    }

    TEST_CASE("an exchange allows one proof") {
        scram_server server = rfc_server();
        REQUIRE(server.first(rfc::client_first).has_value());
        CHECK(server.first(rfc::client_first).has_error());
        CHECK(server.final(replaced(rfc::client_final, "p=dHz", "p=AHz")).has_error());
        CHECK(server.final(rfc::client_final).has_error());
    }

    TEST_CASE("a server asked for its last word first refuses") {
        scram_server server = rfc_server();
        CHECK(server.final(rfc::client_final).has_error());
        scram_client client = rfc_client();
        CHECK(client.verify(rfc::server_final).has_error());
        REQUIRE(client.final(rfc::server_first).has_value());
        CHECK(client.final(rfc::server_first).has_error());
    }

    TEST_CASE("a nonce may be long, a message not endless") {
        const std::string nonce(60000, 'n');
        scram_server server(scram_verifier::derive("right", "some salt", 2));
        scram_client client("right", nonce);
        CHECK(log_in(server, client) == "");
        scram_server other = rfc_server();
        CHECK(other.first("n,,n=,r=" + std::string(65535, 'n')).has_error());
    }

    TEST_CASE("the server refuses every malformed first message") {
        using namespace std::string_view_literals;
        const std::string_view cases[] = {
            ""sv,
            "n"sv,
            "n,"sv,
            "n,,"sv,
            "x,,n=user,r=abc"sv,
            "p=tls-server-end-point,,n=user,r=abc"sv,
            "p=,,n=user,r=abc"sv,
            "nn,,n=user,r=abc"sv,
            "n,a=admin,n=user,r=abc"sv,
            "n,b,n=user,r=abc"sv,
            "n,,m=must,n=user,r=abc"sv,
            "n,,r=abc"sv,
            "n,,n=user"sv,
            "n,,n=user,"sv,
            "n,,nuser,r=abc"sv,
            "n,,n=user,r="sv,
            "n,,n=user,r=a b"sv,
            "n,,n=user,r=\xc3\xa4"sv,
            "n,,n=user,r=abc\x7f"sv,
            "n,,n=user,r=abc,x"sv,
            "n,,n=user,r=abc,1=x"sv,
            "n,,n=user,r=abc,,"sv,
            "n,,n=user,r=abc\0"sv,
            "n,,n=us\0er,r=abc"sv,
        };
        for (const std::string_view text : cases) {
            CAPTURE(std::string(text));
            scram_server server = rfc_server();
            CHECK(server.first(text).has_error());
        }
    }

    TEST_CASE("the server refuses every malformed final message") {
        const std::string_view good = rfc::client_final;
        const std::string nonce = std::string(rfc::client_nonce) + std::string(rfc::server_nonce);
        const std::string cases[] = {
            "",
            "c",
            "c=biws",
            "c=biws,r=" + nonce,
            "c=biws,r=" + nonce + ",",
            "c=biws,r=" + nonce + ",p=",
            "r=" + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            replaced(good, "biws", "eSws"),
            replaced(good, "biws", ""),
            replaced(good, "biws", "cD10bHMtc2VydmVyLWVuZC1wb2ludCws"),
            replaced(good, "r=r", "r=q"),
            replaced(good, nonce, std::string(rfc::client_nonce)),
            replaced(good, nonce, nonce + "x"),
            replaced(good, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "c2hvcnQ="),
            replaced(good, "ndVQ=", "ndVQ"),
            replaced(good, "ndVQ=", "nd*Q="),
            replaced(good, "ndVQ=", "ndVR="),
            std::string(good) + ",x=after",
            std::string(good) + std::string(1, '\0'),
            replaced(good, ",p=", ",x,p="),
        };
        for (const std::string& text : cases) {
            CAPTURE(text);
            scram_server server = rfc_server();
            REQUIRE(server.first(rfc::client_first).has_value());
            const auto answer = server.final(text);
            REQUIRE(answer.has_error());
            CHECK(answer.error().message.starts_with("malformed SCRAM message: "));
            // A malformed message is no proof: the right one may still follow.
            CHECK(server.final(good).has_value());
        }
    }

    TEST_CASE("the client refuses every malformed or hostile first answer") {
        const std::string_view good = rfc::server_first;
        const std::string cases[] = {
            "",
            "r",
            "e=other-error",
            "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "m=must," + std::string(good),
            replaced(good, "r=rOpr", "r=xOpr"),
            replaced(good, rfc::server_nonce, ""),
            replaced(good, "k0,", "k\x01,"),
            replaced(good, "W22ZaJ0SNY7soEsUEjb6gQ==", ""),
            replaced(good, "W22ZaJ0SNY7soEsUEjb6gQ==", "W22"),
            replaced(good, "4096", ""),
            replaced(good, "4096", "0"),
            replaced(good, "4096", "-4096"),
            replaced(good, "4096", "4096 "),
            replaced(good, "4096", "1000001"),
            replaced(good, "4096", "4294967297"),
            replaced(good, ",i=4096", ""),
            std::string(good) + ",x=after",
            std::string(good) + std::string(1, '\0'),
            std::string(good) + std::string(65536, '0'),
        };
        for (const std::string& text : cases) {
            CAPTURE(text);
            scram_client client = rfc_client();
            CHECK(client.final(text).has_error());
        }
    }

    TEST_CASE("the client refuses every malformed, wrong or negative last answer") {
        const std::string_view good = rfc::server_final;
        const std::string cases[] = {
            "",
            "v",
            "v=",
            "p=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            "v=c2hvcnQ=",
            "e=invalid-proof",
            replaced(good, "v=6", "v=7"),
            std::string(good) + ",x=after",
            std::string(good) + std::string(1, '\0'),
        };
        for (const std::string& text : cases) {
            CAPTURE(text);
            scram_client client = rfc_client();
            REQUIRE(client.final(rfc::server_first).has_value());
            const auto verified = client.verify(text);
            REQUIRE(verified.has_error());
            if (text.starts_with("e=")) {
                CHECK(verified.error().message == "the server refused the login: invalid-proof");
            }
        }
    }
}

}  // namespace postern::auth
