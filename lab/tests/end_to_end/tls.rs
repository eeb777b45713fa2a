//! Every link through TLS: a whole sale, what is said where a certificate does not hold, and that it mends itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flux_lab::control::Controlled;
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client;
use flux_lab::servers::{Encryption, KafkaOptions, PostgresOptions, RedisOptions};
use flux_test_support::certificates::{Authority, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::{buyers, run, settle_and_check, units_stored, wait_until};

/// As certificates of servers on loopback name them.
const LOOPBACK: &[&str] = &["127.0.0.1", "localhost"];

fn encryption(identity: &Identity, clients: Option<PathBuf>) -> Option<Box<Encryption>> {
    Some(Box::new(Encryption { certificate: identity.certificate.clone(), key: identity.key.clone(), clients }))
}

fn encrypted(authority: &Authority) -> DeploymentOptions {
    let server = |name: &str| encryption(&authority.server(name, LOOPBACK), None);
    DeploymentOptions {
        servers: Servers::Own {
            kafka: KafkaOptions { tls: server("kafka"), ..KafkaOptions::default() },
            postgres: PostgresOptions { tls: server("postgres"), ..PostgresOptions::default() },
        },
        redis: RedisOptions { tls: server("redis"), ..RedisOptions::default() },
        trusted: Some(authority.file()),
        ..DeploymentOptions::default()
    }
}

#[test]
fn a_sale_over_three_links_with_tls() {
    let authority = Authority::new();
    let mut deployment = Deployment::start(encrypted(&authority)).expect("servers, an edge and a worker");
    // Nobody's connection is plain: what the servers say of it.
    let mut ledger = deployment.ledger().unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE \
                     'flux-worker%' AND ssl AND version = 'TLSv1.3'";
    assert!(ledger.query_one(encrypted, &[]).unwrap().get::<_, i64>(0) > 0);
    deployment.init("phone", 300).unwrap();
    let crowd = buyers(&mut deployment, "phone", 1_000, 50);
    let report = run(crowd);
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), 300);
    // And through it all again, with new sessions.
    deployment.redis.kill();
    deployment.redis.up().unwrap();
    wait_until("the edge is back", || deployment.edges[0].program.output().matches("connected to Redis").count() == 2);
}

#[test]
fn servers_that_want_to_know_their_clients_are_shown_a_certificate() {
    let authority = Authority::new();
    let server = |name: &str| encryption(&authority.server(name, LOOPBACK), Some(authority.file()));
    let Identity { certificate, key } = authority.client("flux-gate");
    let options = DeploymentOptions {
        servers: Servers::Own {
            kafka: KafkaOptions { tls: server("kafka"), ..KafkaOptions::default() },
            postgres: PostgresOptions { tls: server("postgres"), ..PostgresOptions::default() },
        },
        redis: RedisOptions { tls: server("redis"), ..RedisOptions::default() },
        shown: Some((certificate, key)),
        ..encrypted(&authority)
    };
    let mut deployment = Deployment::start(options).expect("servers, an edge and a worker");
    let mut ledger = deployment.ledger().unwrap();
    let shown = "SELECT count(*) FROM pg_stat_ssl WHERE client_dn LIKE '%flux-gate%'";
    assert!(ledger.query_one(shown, &[]).unwrap().get::<_, i64>(0) > 0, "PostgreSQL has seen who the worker is");
    deployment.init("phone", 50).unwrap();
    let crowd = buyers(&mut deployment, "phone", 100, 10);
    let report = run(crowd);
    settle_and_check(&deployment, &report.history);
    assert_eq!(units_stored(&deployment, "phone"), 50);

    // Who shows none says what is missing.
    let none = ["FLUX_REDIS_TLS_CERT", "FLUX_REDIS_TLS_KEY", "FLUX_KAFKA_TLS_CERT", "FLUX_KAFKA_TLS_KEY"];
    deployment.launch_edge_with(&none.map(|name| (name.to_owned(), String::new()))).unwrap();
    let stranger = &deployment.edges[1].program;
    wait_until("the edge says which certificates are missing", || {
        let told = stranger.output();
        told.contains("--redis-tls-cert") && told.contains("--kafka-tls-cert")
    });
    assert!(!stranger.is_ready());
}

#[test]
fn a_certificate_that_does_not_hold_is_said_in_a_line_and_taken_once_it_does() {
    let (authority, stranger) = (Authority::new(), Authority::called("a stranger"));
    let trusted = authority.directory().join("trusted.pem");
    std::fs::copy(stranger.file(), &trusted).unwrap();
    let mut options = encrypted(&authority);
    options.edges = 0;
    options.workers = 0;
    let mut deployment = Deployment::start(options).expect("servers");
    let environment = [
        ("FLUX_CORES", "1".to_owned()),
        ("FLUX_REDIS", deployment.redis.tls_url().unwrap()),
        ("FLUX_REDIS_TLS_CA", trusted.display().to_string()),
        ("FLUX_KAFKA", deployment.kafka().bootstrap_encrypted()),
        ("FLUX_KAFKA_SECURITY", "ssl".to_owned()),
        ("FLUX_KAFKA_TLS_CA", trusted.display().to_string()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    deployment.launch_edge_with(&environment).unwrap();
    for server in ["cannot connect to Redis", "cannot connect to a broker"] {
        wait_until("the edge says what is wrong", || {
            let log = deployment.edges[0].program.output();
            log.lines().any(|line| line.contains(server) && line.contains("issued by nobody who is trusted"))
        });
    }
    assert!(!deployment.edges[0].program.is_ready());
    std::fs::copy(authority.file(), &trusted).unwrap();
    deployment.edges[0].program.signal(libc::SIGHUP);
    wait_until("the edge has read the issuer anew", || {
        deployment.edges[0].program.output().matches("connected to Redis").count() > 0
    });
}

/// One request over TLS 1.3 as a browser would send it, behind what a proxy puts in front of the handshake, and whether the
/// session was resumed.
fn request_behind(
    proxy: &[u8],
    config: &Arc<ClientConfig>,
    edge: SocketAddr,
    head: &str,
    body: &str,
) -> (String, bool) {
    let name = ServerName::try_from("shop.example").unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut socket = TcpStream::connect(edge).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(proxy).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    write!(stream, "{head}\r\nhost: shop.example\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    // With a goodbye: an end without one would be an error here.
    stream.read_to_string(&mut answer).unwrap();
    (answer, session.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
}

fn request(config: &Arc<ClientConfig>, edge: SocketAddr, head: &str, body: &str) -> (String, bool) {
    request_behind(b"", config, edge, head, body)
}

#[test]
fn one_order_over_tls_from_the_client_to_the_ledger() {
    let authority = Authority::new();
    let public = authority.server("public", &["shop.example"]);
    let mut options = encrypted(&authority);
    for (name, value) in [("FLUX_TLS_CERT", &public.certificate), ("FLUX_TLS_KEY", &public.key)] {
        options.edge_environment.push((name.to_owned(), value.display().to_string()));
    }
    let mut deployment = Deployment::start(options).expect("servers, an edge and a worker");
    deployment.init("phone", 5).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let (edge, room) = (deployment.edges[0].public(), deployment.edges[0].waiting_room());
    for number in 0..3 {
        let head = format!("POST /order HTTP/1.1\r\ncontent-type: application/json\r\nx-idempotency-key: key-{number}");
        let body = format!("{{\"productId\":\"phone\",\"userId\":\"user-{number}\",\"quantity\":1}}");
        let (answer, is_resumed) = request(&config, edge, &head, &body);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Order accepted"), "{answer}");
        assert_eq!(is_resumed, number > 0);
    }
    let (page, is_resumed) = request(&config, room, "GET / HTTP/1.1", "");
    assert!(page.starts_with("HTTP/1.1 200 ") && is_resumed, "one ticketer for both listeners: {page}");
    wait_until("all orders are stored", || units_stored(&deployment, "phone") == 3);
    let mut plain = TcpStream::connect(edge).unwrap();
    plain.write_all(b"GET /stock/phone HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut told = String::new();
    plain.read_to_string(&mut told).unwrap();
    assert!(
        told.starts_with("HTTP/1.1 400 ") && told.contains("\r\n\r\n{\"error\":\"This port speaks HTTPS\",\"type\":"),
        "{told}"
    );

    // What a balancer says of its client comes before the handshake, in the clear.
    let behind = [("FLUX_PROXY_PROTOCOL", "true"), ("FLUX_TRUSTED_PROXIES", "127.0.0.1")];
    deployment.launch_edge_with(&behind.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    wait_until("the edge behind a balancer is ready", || deployment.edges[1].program.is_ready());
    let behind = deployment.edges[1].public();
    let proxy = b"PROXY TCP4 203.0.113.7 127.0.0.1 40000 443\r\n";
    let (stock, _) = request_behind(proxy, &config, behind, "GET /stock/phone HTTP/1.1", "");
    assert!(stock.starts_with("HTTP/1.1 200 "), "{stock}");

    // One that is out of date takes no good one's place, and another good one does.
    let failures = |deployment: &Deployment| metric(deployment, "tls_reload_failures_total{link=\"public\"}");
    authority.expired("public", &["shop.example"]);
    deployment.edges[0].program.signal(libc::SIGHUP);
    wait_until("the edge says that it keeps its certificate", || failures(&deployment) == 1.0);
    let (stock, _) = request(&config, edge, "GET /stock/phone HTTP/1.1", "");
    assert!(stock.starts_with("HTTP/1.1 200 "), "{stock}");
    assert!(metric(&deployment, "tls_certificate_expiry_seconds{link=\"public\",of=\"own\"}") > 4e9);
    authority.server("public", &["shop.example"]);
    deployment.edges[0].program.signal(libc::SIGHUP);
    wait_until("the edge shows another certificate", || {
        deployment.edges[0].program.output().contains("certificates of the public listener: read anew")
    });
    for (what, least) in [
        ("tls_handshakes_total{link=\"public\",kind=\"full\"}", 1.0),
        ("tls_handshakes_total{link=\"public\",kind=\"resumed\"}", 3.0),
        ("tls_failures_total{link=\"public\",reason=\"plain_http\"}", 1.0),
        ("tls_handshakes_total{link=\"redis\",kind=\"full\"}", 1.0),
        ("tls_handshakes_total{link=\"kafka\",kind=\"full\"}", 1.0),
        ("tls_certificate_expiry_seconds{link=\"redis\",of=\"peer\"}", 4e9),
    ] {
        let found = metric(&deployment, what);
        assert!(found >= least, "{what} is {found}");
    }
}

fn metric(deployment: &Deployment, name: &str) -> f64 {
    let admin = deployment.edges[0].admin();
    let text = http_client::request(admin, "GET", "/metrics", &[], b"", Duration::from_secs(5)).unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix("flux_edge_")?.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not in:\n{text}")).trim().parse().unwrap()
}
