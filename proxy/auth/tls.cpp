#include "auth/tls.hpp"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

namespace postern::auth {

namespace {

/// The oldest of OpenSSL's complaints, and none left behind for the next caller.
std::string last_complaint() {
    std::array<char, 256> text{};
    const auto code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return "unknown error";
    ERR_error_string_n(code, text.data(), text.size());
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : text.data();
}

failure cannot_use(std::string_view what, const std::string& file) {
    return failure{fmt::format("cannot use {} {}: {}", what, file, last_complaint())};
}

/// PostgreSQL's own rule, on either side: nobody but its owner may read a key, and his group only
/// where it is root's.
outcome<void> check_key_file(const std::string& key) {
    struct stat about {};
    if (::stat(key.c_str(), &about) != 0)
        return failure{fmt::format("cannot use key file {}: {}", key, std::strerror(errno))};
    if (!S_ISREG(about.st_mode))
        return failure{fmt::format("cannot use key file {}: it is not a regular file", key)};
    const bool ours = about.st_uid == ::geteuid();
    if (!ours && about.st_uid != 0) {
        return failure{fmt::format(
            "cannot use key file {}: it must be owned by the user who runs this, or by root",
            key)};
    }
    const mode_t others = about.st_uid != 0 ? S_IRWXG | S_IRWXO : S_IWGRP | S_IXGRP | S_IRWXO;
    if ((about.st_mode & others) == 0) return boost::system::in_place_value;
    return failure{fmt::format(
        "cannot use key file {}: it has group or world access; it must have mode 0600 or less if "
        "owned by the user who runs this, or 0640 or less if owned by root",
        key)};
}

outcome<void> load_own(ssl_ctx_st* into, const std::string& certificate, const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(into, certificate.c_str()) != 1)
        return cannot_use("certificate file", certificate);
    if (auto checked = check_key_file(key); !checked) return checked;
    if (SSL_CTX_use_PrivateKey_file(into, key.c_str(), SSL_FILETYPE_PEM) != 1)
        return cannot_use("key file", key);
    if (SSL_CTX_check_private_key(into) != 1)
        return cannot_use(fmt::format("key file (for certificate {})", certificate), key);
    return boost::system::in_place_value;
}

outcome<void> load_root(ssl_ctx_st* into, const std::string& file) {
    if (SSL_CTX_load_verify_file(into, file.c_str()) == 1) return boost::system::in_place_value;
    return cannot_use("certificate authority file", file);
}

/// Common to both sides. No session is ever resumed: connections live long.
ssl_ctx_st* new_context(const SSL_METHOD* method) {
    auto* made = SSL_CTX_new(method);
    SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_options(
        made,
        SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
            SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_cache_mode(made, SSL_SESS_CACHE_OFF);
    // What a send leaves over is sent from another place, with more behind it; an idle connection
    // keeps no buffers.
    SSL_CTX_set_mode(
        made,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
            SSL_MODE_RELEASE_BUFFERS);
    return made;
}

/// A client that offers protocols has to offer ours; one that offers none is taken by its first
/// message.
int choose_protocol(
    SSL* /*connection*/,
    const unsigned char** chosen,
    unsigned char* chosen_size,
    const unsigned char* offered,
    unsigned offered_size,
    void* /*unused*/) {
    std::string_view rest{reinterpret_cast<const char*>(offered), offered_size};
    while (!rest.empty()) {
        const auto size = static_cast<std::size_t>(static_cast<unsigned char>(rest.front()));
        const auto name = rest.substr(1, size);
        if (name == alpn_protocol) {
            *chosen = reinterpret_cast<const unsigned char*>(name.data());
            *chosen_size = static_cast<unsigned char>(name.size());
            return SSL_TLSEXT_ERR_OK;
        }
        rest.remove_prefix(std::min(rest.size(), size + 1));
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool is_address(const std::string& host) {
    in6_addr unused{};
    return ::inet_pton(AF_INET, host.c_str(), &unused) == 1 ||
           ::inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

}  // namespace

tls_context::~tls_context() {
    SSL_CTX_free(context_);
}

outcome<tls_context_ptr> tls_context::towards_clients(const server_files& files) {
    std::shared_ptr<tls_context> made{new tls_context{new_context(TLS_server_method())}};
    if (auto loaded = load_own(made->context_, files.certificate, files.key); !loaded)
        return loaded.error();
    SSL_CTX_set_alpn_select_cb(made->context_, choose_protocol, nullptr);
    if (!files.client_ca.empty()) {
        if (auto loaded = load_root(made->context_, files.client_ca); !loaded)
            return loaded.error();
        SSL_CTX_set_client_CA_list(
            made->context_,
            SSL_load_client_CA_file(files.client_ca.c_str()));
        SSL_CTX_set_verify(
            made->context_,
            SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
            nullptr);
    }
    return tls_context_ptr{std::move(made)};
}

outcome<tls_context_ptr> tls_context::towards_servers(const client_files& files) {
    std::shared_ptr<tls_context> made{new tls_context{new_context(TLS_client_method())}};
    made->verify_ = files.verify;
    if (!files.certificate.empty()) {
        if (auto loaded = load_own(made->context_, files.certificate, files.key); !loaded)
            return loaded.error();
    }
    if (files.verify != verification::none) {
        if (auto loaded = load_root(made->context_, files.root_ca); !loaded) return loaded.error();
        SSL_CTX_set_verify(made->context_, SSL_VERIFY_PEER, nullptr);
    }
    return tls_context_ptr{std::move(made)};
}

tls_stream::tls_stream(tls_context_ptr rules, int fd)
    : context_{std::move(rules)}
    , ssl_{SSL_new(context_->context_)} {
    SSL_set_fd(ssl_, fd);
    // A record's header and body in one system call.
    SSL_set_read_ahead(ssl_, 1);
}

tls_stream::~tls_stream() {
    SSL_free(ssl_);
}

std::unique_ptr<tls_stream> tls_stream::accept(tls_context_ptr rules, int fd) {
    std::unique_ptr<tls_stream> made{new tls_stream{std::move(rules), fd}};
    SSL_set_accept_state(made->ssl_);
    return made;
}

std::unique_ptr<tls_stream> tls_stream::connect(
    tls_context_ptr rules,
    int fd,
    const std::string& host) {
    std::unique_ptr<tls_stream> made{new tls_stream{std::move(rules), fd}};
    SSL_set_connect_state(made->ssl_);
    static constexpr unsigned char protocols[] = "\x0apostgresql";
    SSL_set_alpn_protos(made->ssl_, protocols, sizeof protocols - 1);
    const bool address = is_address(host);
    // As libpq: Server Name Indication carries names only.
    if (!address) {
        // SSL_set_tlsext_host_name() is a macro with an old-style cast.
        auto* name = const_cast<char*>(host.c_str());
        SSL_ctrl(made->ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name);
    }
    if (made->context_->verify_ == tls_context::verification::full) {
        auto* asked = SSL_get0_param(made->ssl_);
        X509_VERIFY_PARAM_set_hostflags(asked, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (address) {
            X509_VERIFY_PARAM_set1_ip_asc(asked, host.c_str());
        } else {
            X509_VERIFY_PARAM_set1_host(asked, host.c_str(), host.size());
        }
    }
    return made;
}

tls_stream::result tls_stream::outcome_of(int returned, std::size_t count) noexcept {
    if (returned == 1) return {state::done, count};
    switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ: return {state::wants_read};
    case SSL_ERROR_WANT_WRITE: return {state::wants_write};
    case SSL_ERROR_ZERO_RETURN: return {state::closed};
    case SSL_ERROR_SYSCALL: ERR_clear_error(); return {state::closed};
    default: break;
    }
    const auto refused = SSL_get_verify_result(ssl_);
    error_ = refused == X509_V_OK ? last_complaint() : X509_verify_cert_error_string(refused);
    ERR_clear_error();
    return {state::closed};
}

tls_stream::result tls_stream::handshake() noexcept {
    ERR_clear_error();
    return outcome_of(SSL_do_handshake(ssl_), 0);
}

tls_stream::result tls_stream::receive(char* into, std::size_t size) noexcept {
    ERR_clear_error();
    std::size_t count = 0;
    const int returned = SSL_read_ex(ssl_, into, size, &count);
    return outcome_of(returned, count);
}

tls_stream::result tls_stream::send(std::string_view bytes) noexcept {
    ERR_clear_error();
    std::size_t count = 0;
    const int returned = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &count);
    return outcome_of(returned, count);
}

void tls_stream::shut_down() noexcept {
    if (error_.empty() && SSL_is_init_finished(ssl_) == 1) SSL_shutdown(ssl_);
    ERR_clear_error();
}

std::string tls_stream::peer_name() const {
    X509* const certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
    auto* const subject = X509_get_subject_name(certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return {};
    unsigned char* text = nullptr;
    const int size = ASN1_STRING_to_UTF8(
        &text,
        X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) {
        ERR_clear_error();
        return {};
    }
    const std::string name{reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)};
    OPENSSL_free(text);
    return name.find('\0') == std::string::npos ? name : std::string{};
}

std::string tls_stream::end_point() const {
    if (SSL_is_init_finished(ssl_) != 1) return {};
    const bool ours = SSL_is_server(ssl_) == 1;
    X509* const certificate = ours ? SSL_get_certificate(ssl_) : SSL_get0_peer_certificate(ssl_);
    int signing_hash = NID_undef;
    if (certificate == nullptr ||
        X509_get_signature_info(certificate, &signing_hash, nullptr, nullptr, nullptr) != 1 ||
        signing_hash == NID_undef) {
        ERR_clear_error();
        return {};
    }
    // RFC 5929, section 4.1: the weak ones are replaced.
    const bool weak = signing_hash == NID_md5 || signing_hash == NID_sha1;
    const EVP_MD* const hash = weak ? EVP_sha256() : EVP_get_digestbynid(signing_hash);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (hash == nullptr || X509_digest(certificate, hash, digest.data(), &size) != 1) {
        ERR_clear_error();
        return {};
    }
    return {reinterpret_cast<const char*>(digest.data()), size};
}

std::string_view tls_stream::alpn() const noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_, &name, &size);
    return {reinterpret_cast<const char*>(name), size};
}

std::string tls_stream::description() const {
    return fmt::format("{}/{}", SSL_get_version(ssl_), SSL_get_cipher_name(ssl_));
}

}  // namespace postern::auth
