//! The ledger over TLS, on a real PostgreSQL: libpq's modes, channel binding, and what somebody in between can do.

use std::io::{Read, Write};
use std::net::TcpListener;

use flux_net::{Runtime, RuntimeOptions};
use flux_protocol::postgres::PostgresConfig;
use flux_test_support::certificates::Authority;
use flux_test_support::postgres::Server;
use flux_worker::ledger::{Ledger, LedgerError, LedgerTarget};

fn run<F: Future<Output = ()>>(test: F) {
    Runtime::build(RuntimeOptions::default()).expect("a runtime").block_on(test);
}

fn target(port: u16, host: &str, user: &str, parameters: &str) -> LedgerTarget {
    let url = format!("postgres://{user}:pass word:%40%25@{host}:{port}/postgres?{parameters}");
    LedgerTarget::load(PostgresConfig::parse(&url).expect("a URL")).expect("files")
}

/// What the server says of the connection.
async fn has_tls(target: &LedgerTarget) -> bool {
    let mut ledger = Ledger::connect(target).await.unwrap_or_else(|error| panic!("{:?}: {error}", target.config.tls));
    let rows = ledger.query("select ssl::text from pg_stat_ssl where pid = pg_backend_pid()", &[]).await;
    rows.expect("a row")[0].text(0) == Some("true")
}

async fn refusal(target: &LedgerTarget) -> LedgerError {
    match Ledger::connect(target).await {
        Ok(_) => panic!("{:?} was let in", target.config.tls),
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            error
        }
    }
}

#[test]
fn each_mode_asks_what_libpq_asks() {
    let (authority, stranger) = (Authority::new(), Authority::called("a stranger"));
    let identity = authority.server("postgres", &["db.example", "127.0.0.1"]);
    let server = Server::with_tls(&identity.certificate, &identity.key);
    let (ours, theirs) = (authority.file().display().to_string(), stranger.file().display().to_string());
    let to = |host: &str, parameters: &str| target(server.port(), host, "shop", parameters);
    run(async {
        assert!(!has_tls(&to("127.0.0.1", "")).await, "plain, where nothing is asked");
        for parameters in ["sslmode=prefer", "sslmode=require", "sslmode=require&channel_binding=require"] {
            assert!(has_tls(&to("127.0.0.1", parameters)).await, "{parameters}");
        }
        for (mode, binding) in [("require", "disable"), ("verify-ca", "prefer"), ("verify-full", "require")] {
            let parameters = format!("sslmode={mode}&sslrootcert={ours}&channel_binding={binding}");
            assert!(has_tls(&to("127.0.0.1", &parameters)).await, "{parameters}");
            let parameters = format!("sslmode={mode}&sslrootcert={theirs}");
            let error = refusal(&to("127.0.0.1", &parameters)).await;
            assert!(error.to_string().contains("issued by nobody who is trusted (sslrootcert"), "{error}");
            assert!(error.is_retryable(), "an issuer may be mended: {error}");
        }
        let named = |mode, host| to(host, &format!("sslmode={mode}&sslrootcert={ours}&hostaddr=127.0.0.1"));
        assert!(has_tls(&named("verify-full", "db.example")).await);
        assert!(has_tls(&named("verify-ca", "other.example")).await);
        let error = refusal(&named("verify-full", "other.example")).await.to_string();
        assert!(error.contains("its certificate is for other names: db.example, 127.0.0.1"), "{error}");
    });
}

#[test]
fn a_server_without_tls_is_refused_by_all_that_ask_for_it() {
    let server = Server::shared();
    let to = |parameters: &str| target(server.port(), "127.0.0.1", "shop", parameters);
    run(async {
        assert!(!has_tls(&to("sslmode=prefer")).await);
        let error = refusal(&to("sslmode=require")).await;
        assert!(error.to_string().contains("it has no TLS"), "{error}");
        assert!(matches!(error, LedgerError::Unreachable { .. }));
    });
}

#[test]
fn who_requires_channel_binding_is_let_in_by_nothing_less() {
    let authority = Authority::new();
    let identity = authority.server("postgres", &["127.0.0.1"]);
    let server = Server::with_tls(&identity.certificate, &identity.key);
    let full = format!("sslmode=verify-full&sslrootcert={}", authority.file().display());
    run(async {
        // `clear` is asked for its password in clear text: given to a server whose name is proved, but not in place of a proof.
        let clear = |parameters: &str| {
            let mut target = target(server.port(), "127.0.0.1", "clear", parameters);
            target.config.password = Some("x".into());
            target
        };
        assert!(has_tls(&clear(&full)).await);
        let error = refusal(&clear(&format!("{full}&channel_binding=require"))).await.to_string();
        assert!(error.contains("channel_binding=require, and the server asks for a password alone"), "{error}");
        let error = refusal(&clear("sslmode=require")).await.to_string();
        assert!(error.contains("in clear text over TCP"), "{error}");
    });
}

/// Whoever sits in between answers SSLRequest and puts a login's happy end behind it, in the clear.
#[test]
fn bytes_before_the_handshake_are_never_the_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let between = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        socket.read_exact(&mut [0; 8]).expect("SSLRequest");
        socket.write_all(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").expect("sent");
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = socket.read_to_end(&mut rest);
        rest
    });
    run(async {
        let error = refusal(&target(port, "127.0.0.1", "shop", "sslmode=require")).await;
        assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("is not TLS"), "{error}");
    });
    let heard = between.join().expect("no panic");
    assert!(!heard.windows(4).any(|part| part == b"shop"), "nothing but a handshake was sent");
}
