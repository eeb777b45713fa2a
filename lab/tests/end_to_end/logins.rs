//! Servers that want to know who we are: Kafka by SASL, Redis by its ACL. Sales run with the rights that docs/OPERATING.md names,
//! logins are renewed under load, and rights that are taken away in mid-sale come back without a restart.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flux_lab::control::Controlled;
use flux_lab::deployment::{Deployment, DeploymentOptions, Servers};
use flux_lab::http_client;
use flux_lab::programs::{Edge, Environment, Worker};
use flux_lab::servers::kafka_rights::AUTHORIZER;
use flux_lab::servers::{Data, Encryption, KafkaLogins, KafkaOptions, KafkaRight, PostgresOptions, RedisOptions};

use flux_test_support::certificates::Authority;

use crate::{accepted, buyers, endless, logs, run, settle_and_check, stop, wait_until};

const MANUAL: &str = include_str!("../../../docs/OPERATING.md");

/// Servers alone.
fn servers(kafka: Option<KafkaLogins>, redis: Vec<String>) -> Deployment {
    let servers = match kafka {
        None => Servers::Shared,
        Some(login) => {
            let kafka = KafkaOptions { login: Some(login), ..KafkaOptions::default() };
            Servers::Own { kafka, postgres: PostgresOptions::default() }
        }
    };
    let redis = RedisOptions { arguments: redis, ..RedisOptions::default() };
    Deployment::start(DeploymentOptions { edges: 0, workers: 0, servers, redis, ..DeploymentOptions::default() })
        .expect("servers")
}

/// What a program is told of the servers, and more.
fn environment(deployment: &Deployment, more: &[(&str, &str)]) -> Environment {
    let mut all = deployment.worker_environment();
    all.push(("FLUX_CORES".to_owned(), "1".to_owned()));
    for (name, value) in more {
        all.retain(|(other, _)| other != name);
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    all
}

/// Starts an edge and a worker with what is told them of who they are.
fn start(deployment: &mut Deployment, edge: &[(&str, &str)], worker: &[(&str, &str)]) {
    let (worker, edge) = (environment(deployment, worker), environment(deployment, edge));
    let mut worker = Worker::new(deployment.run(), "worker-1", &worker).expect("a worker");
    let mut edge = Edge::new(deployment.run(), "edge-1", &edge).expect("an edge");
    worker.program.launch().expect("it starts");
    edge.program.launch().expect("it starts");
    deployment.workers.push(worker);
    deployment.edges.push(edge);
}

fn wait_until_both_are_ready(deployment: &mut Deployment) {
    if let Err(error) = deployment.wait_ready() {
        panic!("{error}\n{}", logs(deployment));
    }
}

/// What the admin listener answers to anybody.
fn told(address: std::net::SocketAddr, path: &str) -> String {
    http_client::request(address, "GET", path, &[], b"", Duration::from_secs(15)).expect("it answers").text()
}

fn figure(address: std::net::SocketAddr, name: &str) -> u64 {
    let text = told(address, "/metrics");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    lines.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64
}

/// A file that only we may read.
fn secret_file(deployment: &Deployment, name: &str, text: &str) -> String {
    let path: PathBuf = deployment.run().join(name);
    write_secret(&path, text);
    path.to_str().expect("a name").to_owned()
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

fn kafka_logins(session: Duration) -> KafkaLogins {
    let user = |name: &str, password: &str| (name.to_owned(), password.to_owned());
    KafkaLogins {
        users: vec![user("edge", "edgespassword"), user("worker", "workerspassword")],
        session: Some(session),
    }
}

/// How often a text stands in a log.
fn times(log: &str, text: &str) -> usize {
    log.matches(text).count()
}

/// Sessions end all the time while orders come: each is stored once, over the connections that there were from the start.
#[test]
fn scram_logins_are_renewed_under_load_and_a_user_that_is_removed_comes_back() {
    let mut deployment = servers(Some(kafka_logins(Duration::from_secs(8))), Vec::new());
    let kafka = deployment.kafka().login_bootstrap();
    let password = secret_file(&deployment, "password", "workerspassword\n");
    let common = [("FLUX_KAFKA", &*kafka), ("FLUX_KAFKA_SECURITY", "sasl_plaintext")];
    let edge = [
        ("FLUX_KAFKA_SASL_MECHANISM", "scram-sha-512"),
        ("FLUX_KAFKA_SASL_USER", "edge"),
        ("FLUX_KAFKA_SASL_PASSWORD", "edgespassword"),
    ];
    let worker = [
        ("FLUX_KAFKA_SASL_MECHANISM", "scram-sha-256"),
        ("FLUX_KAFKA_SASL_USER", "worker"),
        ("FLUX_KAFKA_SASL_PASSWORD_FILE", &*password),
    ];
    start(&mut deployment, &[&common[..], &edge].concat(), &[&common[..], &worker].concat());
    wait_until_both_are_ready(&mut deployment);
    deployment.init("phone", 1_000_000).unwrap();
    let admin = deployment.edges[0].admin();
    let connects = figure(admin, "flux_edge_kafka_connects_total");
    let crowd = flux_lab::crowd::start(endless(&mut deployment, "phone", 32)).unwrap();
    let begun = std::time::Instant::now();
    // More than two sessions' time: each connection has renewed its login at least twice.
    wait_until("logins were renewed", || begun.elapsed() > Duration::from_secs(18) && crowd.progress().accepted > 500);
    assert_eq!(
        figure(admin, "flux_edge_kafka_connects_total"),
        connects,
        "no connection was made anew\n{}",
        logs(&deployment)
    );

    // The user goes in mid-sale.
    deployment.kafka().set_scram("edge", false).unwrap();
    wait_until("the edge says what is missing", || {
        told(admin, "/readyz?deep").contains("the broker refuses user edge by SCRAM-SHA-512")
    });
    let words = "Kafka does not take this edge";
    wait_until("the log says so", || times(&deployment.edges[0].program.output(), words) > 0);
    let log = deployment.edges[0].program.output();
    assert_eq!(times(&log, words), 1, "one line\n{log}");
    assert!(!log.contains("edgespassword"));
    deployment.kafka().set_scram("edge", true).unwrap();
    wait_until("the edge is back by itself", || deployment.edges[0].program.is_ready());
    let before = crowd.progress().accepted;
    wait_until("orders are accepted again", || crowd.progress().accepted > before + 200);
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    let audit = deployment_audit(&deployment, &[&common[..], &worker].concat());
    assert!(audit.0, "{}", audit.1);
}

fn deployment_audit(deployment: &Deployment, login: &[(&str, &str)]) -> (bool, String) {
    let mut environment = deployment.worker_environment();
    for (name, value) in login {
        environment.retain(|(other, _)| other != name);
        environment.push(((*name).to_owned(), (*value).to_owned()));
    }
    let worker = flux_lab::programs::worker_binary().unwrap();
    let ran = flux_lab::programs::run_to_end(&worker, &["audit"], &environment).unwrap();
    (ran.code == Some(0), format!("{ran:?}"))
}

/// Tokens of some seconds' life, each fetched by the command before the last one ends; and a password that was wrong at first.
#[test]
fn tokens_are_fetched_before_they_end_and_a_wrong_password_is_mended_in_its_file() {
    let mut deployment = servers(Some(kafka_logins(Duration::from_secs(60))), Vec::new());
    let kafka = deployment.kafka().login_bootstrap();
    let password = secret_file(&deployment, "password", "wrongpassword\n");
    let common = [("FLUX_KAFKA", &*kafka), ("FLUX_KAFKA_SECURITY", "sasl_plaintext")];
    let encode = "base64 -w0 | tr +/ -_ | tr -d =";
    let command = format!(
        "now=$(date +%s); head=$(printf '{{\"alg\":\"none\"}}' | {encode}); \
         claims=$(printf '{{\"sub\":\"edge\",\"iat\":%s,\"exp\":%s}}' $now $((now+8)) | {encode}); printf '%s.%s.\\n' $head $claims"
    );
    let edge = [("FLUX_KAFKA_SASL_MECHANISM", "oauthbearer"), ("FLUX_KAFKA_SASL_TOKEN_COMMAND", &*command)];
    let worker = [
        ("FLUX_KAFKA_SASL_MECHANISM", "plain"),
        ("FLUX_KAFKA_SASL_USER", "worker"),
        ("FLUX_KAFKA_SASL_PASSWORD_FILE", &*password),
    ];
    start(&mut deployment, &[&common[..], &edge].concat(), &[&common[..], &worker].concat());
    let worker_admin = deployment.workers[0].admin();
    wait_until("the worker says what is wrong", || {
        http_client::request(worker_admin, "GET", "/readyz", &[], b"", Duration::from_secs(15))
            .is_ok_and(|answer| answer.text().contains("the broker refuses user worker by PLAIN"))
    });
    write_secret(Path::new(&password), "workerspassword\n");
    wait_until_both_are_ready(&mut deployment);
    deployment.init("phone", 1_000_000).unwrap();
    let admin = deployment.edges[0].admin();
    let connects = figure(admin, "flux_edge_kafka_connects_total");
    let crowd = flux_lab::crowd::start(endless(&mut deployment, "phone", 16)).unwrap();
    let begun = std::time::Instant::now();
    wait_until("tokens were renewed", || begun.elapsed() > Duration::from_secs(20) && crowd.progress().accepted > 200);
    assert_eq!(
        figure(admin, "flux_edge_kafka_connects_total"),
        connects,
        "no connection was made anew\n{}",
        logs(&deployment)
    );
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    for log in [deployment.edges[0].program.output(), deployment.workers[0].program.output()] {
        assert!(!log.contains("wrongpassword") && !log.contains("workerspassword") && !log.contains("eyJ"), "{log}");
    }
}

/// A token that OAUTHBEARER's validator without signatures takes for an hour.
fn unsigned_token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = format!("{{\"sub\":\"edge\",\"iat\":{now},\"exp\":{}}}", now + 3600);
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&claims))
}

/// One edge for each mechanism, and a worker; all of Kafka is SASL_SSL.
#[test]
fn every_mechanism_logs_in_through_tls() {
    let authority = Authority::new();
    let identity = authority.server("servers", &["127.0.0.1", "localhost"]);
    let tls = Encryption { certificate: identity.certificate.clone(), key: identity.key.clone(), clients: None };
    let login = Some(kafka_logins(Duration::from_secs(8)));
    let kafka = KafkaOptions { login, tls: Some(Box::new(tls)), ..KafkaOptions::default() };
    let servers = Servers::Own { kafka, postgres: PostgresOptions::default() };
    let options = DeploymentOptions { edges: 0, workers: 0, servers, ..DeploymentOptions::default() };
    let mut deployment = Deployment::start(options).expect("servers");
    let (bootstrap, issuer) = (deployment.kafka().login_bootstrap(), authority.file().display().to_string());
    let token = secret_file(&deployment, "token", &unsigned_token());
    let password = secret_file(&deployment, "password", "edgespassword\n");
    let common = [("FLUX_KAFKA", &*bootstrap), ("FLUX_KAFKA_SECURITY", "sasl_ssl"), ("FLUX_KAFKA_TLS_CA", &*issuer)];
    let by_password = |mechanism: &'static str| {
        vec![
            ("FLUX_KAFKA_SASL_MECHANISM", mechanism),
            ("FLUX_KAFKA_SASL_USER", "edge"),
            ("FLUX_KAFKA_SASL_PASSWORD_FILE", &*password),
        ]
    };
    let by_token = vec![("FLUX_KAFKA_SASL_MECHANISM", "oauthbearer"), ("FLUX_KAFKA_SASL_TOKEN_FILE", &*token)];
    let worker = [&common[..], &by_password("scram-sha-512")].concat();
    start(&mut deployment, &[&common[..], &by_password("plain")].concat(), &worker);
    for login in [by_password("scram-sha-256"), by_password("scram-sha-512"), by_token] {
        let number = deployment.edges.len() + 1;
        let environment = environment(&deployment, &[&common[..], &login].concat());
        let mut edge = Edge::new(deployment.run(), &format!("edge-{number}"), &environment).expect("an edge");
        edge.program.launch().expect("it starts");
        deployment.edges.push(edge);
    }
    wait_until_both_are_ready(&mut deployment);
    deployment.init("phone", 1_000).unwrap();
    let crowd = buyers(&mut deployment, "phone", 400, 16);
    let report = run(crowd);
    assert_eq!(accepted(&report.history), 400, "{}", report.table());
    // Each session has been renewed by then.
    let admins: Vec<_> = deployment.edges.iter().map(Edge::admin).collect();
    let connects = |admin: &std::net::SocketAddr| figure(*admin, "flux_edge_kafka_connects_total");
    let before: Vec<u64> = admins.iter().map(connects).collect();
    let begun = std::time::Instant::now();
    wait_until("sessions have ended", || begun.elapsed() > Duration::from_secs(12));
    assert_eq!(admins.iter().map(connects).collect::<Vec<_>>(), before, "{}", logs(&deployment));
    let mut crowd = buyers(&mut deployment, "phone", 200, 16);
    crowd.orders = flux_lab::crowd::Orders::unique("phone", "later");
    let later = run(crowd);
    assert_eq!(accepted(&later.history), 200, "{}", later.table());
    let mut history = report.history;
    history.extend(&later.history);
    settle_and_check(&deployment, &history);
    for program in deployment.edges.iter().map(|edge| &edge.program) {
        let log = program.output();
        assert!(!log.contains("whoever can listen") && !log.contains("edgespassword"), "{log}");
    }
}

/// The rules of a user of Redis, as the manual gives them, with a password.
fn acl(user: &str, password: &str) -> Vec<String> {
    let line = MANUAL.lines().find_map(|line| line.trim().strip_prefix(&format!("ACL SETUSER {user} ")));
    let rules = line.unwrap_or_else(|| panic!("the manual has no rules for {user}"));
    let rules =
        rules.split(' ').map(|rule| if rule.starts_with('>') { format!(">{password}") } else { rule.to_owned() });
    ["--user".to_owned(), user.to_owned()].into_iter().chain(rules).collect()
}

/// With exactly the rights that the manual names, a sale runs, is audited and rebuilt; taken away in mid-sale, they come back.
#[test]
fn a_sale_runs_with_the_rights_in_redis_that_the_manual_names() {
    let users = [acl("flux-edge", "edgespassword"), acl("flux-worker", "workerspassword")].concat();
    let mut deployment = servers(None, users);
    let address = deployment.redis.address();
    for (user, password) in [("flux-edge", "edgespassword"), ("flux-worker", "workerspassword")] {
        let client = redis::Client::open(format!("redis://{user}:{password}@{address}")).unwrap();
        let mut connection = client.get_connection().unwrap();
        let told = redis::cmd("CONFIG").arg("GET").arg("requirepass").query::<Vec<String>>(&mut connection);
        assert_eq!(told.expect_err("the configuration holds passwords").code(), Some("NOPERM"), "{user}");
    }
    let (edge_url, worker_url) = (format!("redis://flux-edge@{address}"), format!("redis://flux-worker@{address}"));
    let edge_file = secret_file(&deployment, "edge", "edgespassword\n");
    let worker_file = secret_file(&deployment, "worker", "workerspassword\n");
    let edge = [("FLUX_REDIS", &*edge_url), ("FLUX_REDIS_PASSWORD_FILE", &*edge_file)];
    let worker = [("FLUX_REDIS", &*worker_url), ("FLUX_REDIS_PASSWORD_FILE", &*worker_file)];
    start(&mut deployment, &edge, &worker);
    wait_until_both_are_ready(&mut deployment);
    for body in [
        serde_json::json!({"productId": "phone", "quantity": 400, "rate": 0, "perUser": 2}),
        serde_json::json!({"productId": "fair", "quantity": 20, "rate": 100, "queue": "fair"}),
    ] {
        deployment.init_with(body).unwrap();
    }
    let crowd = buyers(&mut deployment, "phone", 300, 16);
    let report = run(crowd);
    assert_eq!(accepted(&report.history), 300, "{}", report.table());
    settle_and_check(&deployment, &report.history);
    let refused = |log: &str| log.lines().filter(|line| line.contains("NOPERM") || line.contains("lacks")).count();
    let audit = deployment_audit(&deployment, &worker);
    assert!(audit.0, "{}", audit.1);

    // The user is switched off in mid-sale: nothing is sold, and one line says so.
    let mut redis = deployment.redis.connection().unwrap();
    let mut set = |user: &str, what: &str| {
        redis::cmd("ACL").arg("SETUSER").arg(user).arg(what).exec(&mut redis).unwrap();
        redis::cmd("CLIENT").arg("KILL").arg("USER").arg(user).exec(&mut redis).unwrap();
    };
    set("flux-edge", "off");
    let admin = deployment.edges[0].admin();
    wait_until("the edge says what is missing", || told(admin, "/readyz").contains("WRONGPASS"));
    let order = deployment.order("phone", "late", "late", 1).unwrap();
    assert_eq!((order.status, order.json()["status"].as_str()), (503, Some("unavailable")));
    set("flux-edge", "on");
    wait_until("the edge is back by itself", || deployment.edges[0].program.is_ready());
    assert_eq!(deployment.order("phone", "late", "late", 1).unwrap().status, 200);
    let edge_log = deployment.edges[0].program.output();
    assert_eq!(times(&edge_log, "Redis lets no order through"), 1, "{edge_log}");

    // Redis forgets everything, users excepted.
    deployment.redis.restart(Data::Lose).unwrap();
    wait_until("the edge is back", || deployment.edges[0].program.is_ready());
    let mut environment = deployment.worker_environment();
    environment.extend(worker.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let program = flux_lab::programs::worker_binary().unwrap();
    let rebuild = ["rebuild", "--product", "phone", "--fence", "15s"];
    let ran = flux_lab::programs::run_to_end(&program, &rebuild, &environment).unwrap();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    wait_until("the sale goes on", || {
        deployment.order("phone", "last", "last", 1).is_ok_and(|order| order.status == 200)
    });
    let worker_log = deployment.workers[0].program.output();
    let edge_log = deployment.edges[0].program.output();
    assert_eq!((refused(&edge_log), refused(&worker_log)), (0, 0), "{edge_log}\n{worker_log}");
    for log in [&edge_log, &worker_log] {
        assert!(!log.contains("edgespassword") && !log.contains("workerspassword"));
    }
}

/// With exactly the rights that the manual names a sale runs and its topic is created; each that is taken away in mid-sale is named
/// by who lacks it, and the sale goes on by itself when it is back.
#[test]
fn a_sale_runs_with_the_rights_in_kafka_that_the_manual_names() {
    let user = |name: &str| (name.to_owned(), format!("{name}-password"));
    let login = KafkaLogins { users: vec![user("flux-edge"), user("flux-worker")], session: None };
    let properties = AUTHORIZER.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let kafka = KafkaOptions { login: Some(login), properties, ..KafkaOptions::default() };
    let servers = Servers::Own { kafka, postgres: PostgresOptions::default() };
    let options = DeploymentOptions { edges: 0, workers: 0, servers, ..DeploymentOptions::default() };
    let mut deployment = Deployment::start(options).expect("servers");
    let lines: Vec<&str> = MANUAL.lines().filter(|line| line.trim().starts_with("kafka-acls.sh")).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let (topic, group) = (deployment.sources().topic.clone(), format!("workers-of-{}", deployment.sources().topic));
    let named = |line: &&str| {
        line.replace("--topic orders", &format!("--topic {topic}"))
            .replace("--group flux-worker", &format!("--group {group}"))
    };
    let rights: Vec<_> = lines.iter().map(|line| KafkaRight::parse(&named(line)).unwrap()).collect();
    rights.iter().for_each(|rights| deployment.kafka().grant(rights).unwrap());
    let bootstrap = deployment.kafka().login_bootstrap();
    let common = [
        ("FLUX_KAFKA", &*bootstrap),
        ("FLUX_KAFKA_SECURITY", "sasl_plaintext"),
        ("FLUX_KAFKA_SASL_MECHANISM", "scram-sha-512"),
    ];
    let edge = [("FLUX_KAFKA_SASL_USER", "flux-edge"), ("FLUX_KAFKA_SASL_PASSWORD", "flux-edge-password")];
    let worker = [("FLUX_KAFKA_SASL_USER", "flux-worker"), ("FLUX_KAFKA_SASL_PASSWORD", "flux-worker-password")];
    start(&mut deployment, &[&common[..], &edge].concat(), &[&common[..], &worker].concat());
    wait_until_both_are_ready(&mut deployment);
    deployment.init("phone", 1_000_000).unwrap();
    let crowd = flux_lab::crowd::start(endless(&mut deployment, "phone", 8)).unwrap();
    wait_until("orders are accepted", || crowd.progress().accepted > 100);
    let denied = |log: &str| log.lines().filter(|line| line.contains("lacks the right")).count();
    let outputs =
        |deployment: &Deployment| (deployment.edges[0].program.output(), deployment.workers[0].program.output());
    let (edge_log, worker_log) = outputs(&deployment);
    assert_eq!((denied(&edge_log), denied(&worker_log)), (0, 0), "{edge_log}\n{worker_log}");
    wait_until("the edge reads the fences and its heartbeats", || {
        told(deployment.edges[0].admin(), "/metrics").contains("flux_edge_fences_current 1")
    });

    let (edge_admin, worker_admin) = (deployment.edges[0].admin(), deployment.workers[0].admin());
    for (line, operation, address, path, words) in [
        (0, 0, edge_admin, "/readyz?deep", format!("user flux-edge lacks the right Write on topic {topic}")),
        (1, 0, worker_admin, "/readyz", format!("user flux-worker lacks the right Read on topic {topic}")),
        (2, 0, worker_admin, "/readyz", "user flux-worker lacks the right Read on its group".to_owned()),
    ] {
        let right = &rights[line][operation..=operation];
        deployment.kafka().revoke(right).unwrap();
        wait_until(&words, || told(address, path).contains(&words));
        let log = || if line == 0 { outputs(&deployment).0 } else { outputs(&deployment).1 };
        wait_until("the log says so", || log().contains(&words));
        deployment.kafka().grant(right).unwrap();
        wait_until("what was said is taken back", || !told(address, path).contains(&words));
        let before = crowd.progress().accepted;
        wait_until("orders are accepted again", || crowd.progress().accepted > before + 100);
    }
    let report = stop(crowd);
    settle_and_check(&deployment, &report.history);
    let audit = deployment_audit(&deployment, &[&common[..], &worker].concat());
    assert!(audit.0, "{}", audit.1);
}

/// Both programs, with secrets planted wherever one may stand, at servers that refuse every one of them: none is in a log, in
/// what a listener answers, or in the list of processes.
#[test]
fn secrets_are_nowhere_but_where_they_were_put() {
    let mut deployment = servers(
        Some(kafka_logins(Duration::from_secs(60))),
        ["--user", "flux", "on", ">another", "~*", "+@all"].map(str::to_owned).to_vec(),
    );
    let kafka = deployment.kafka().login_bootstrap();
    let address = deployment.redis.address();
    let postgres = deployment.sources().postgres.clone();
    let redis = format!("redis://flux:planted-redis@{address}");
    let postgres = postgres.replacen("postgres@", "nobody:planted-postgres@", 1);
    let token = secret_file(&deployment, "token", "planted-token\n");
    // The public key of RFC 8037's example.
    let key = r#"{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let keys = secret_file(&deployment, "keys", key);
    let common = [
        ("FLUX_KAFKA", &*kafka),
        ("FLUX_KAFKA_SECURITY", "sasl_plaintext"),
        ("FLUX_KAFKA_SASL_MECHANISM", "plain"),
        ("FLUX_KAFKA_SASL_USER", "edge"),
        ("FLUX_KAFKA_SASL_PASSWORD", "planted-kafka"),
        ("FLUX_REDIS", &*redis),
        ("FLUX_ADMIN_TOKEN_FILE", &*token),
        ("FLUX_JWT_KEYS", &*keys),
        ("FLUX_JWT_SUBJECT_KEY", "planted-subject-key"),
        ("RUST_LOG", "trace"),
    ];
    start(&mut deployment, &common, &common);
    let mut refused_by_postgres = common.to_vec();
    refused_by_postgres.push(("FLUX_POSTGRES", &*postgres));
    let (edge, worker) = (deployment.edges[0].admin(), deployment.workers[0].admin());
    let asked = |address, path: &str| {
        http_client::request(address, "GET", path, &[], b"", Duration::from_secs(15)).map(|answer| answer.text())
    };
    wait_until("the edge was refused by both", || {
        asked(edge, "/readyz?deep").is_ok_and(|text| text.contains("WRONGPASS") && text.contains("refuses user edge"))
    });
    wait_until("the worker was refused", || {
        asked(worker, "/readyz").is_ok_and(|text| text.contains("refuses user edge"))
    });
    let headers = [("authorization", "Bearer planted-token"), ("content-type", "application/json")];
    let init = http_client::request(edge, "POST", "/init", &headers, b"{}", Duration::from_secs(15)).unwrap();
    let mut texts = vec![init.text()];
    for address in [edge, worker] {
        for path in ["/readyz", "/readyz?deep", "/metrics", "/livez"] {
            texts.push(asked(address, path).unwrap());
        }
    }
    texts.push(asked(edge, "/dashboard.json").unwrap());
    for program in [&deployment.edges[0].program, &deployment.workers[0].program] {
        texts.push(program.output());
        let pid = program.pid().expect("it runs");
        texts.push(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
    }
    let (_, audit) = deployment_audit(&deployment, &refused_by_postgres);
    texts.push(audit);
    for text in &texts {
        let at = text.find("planted-");
        assert!(at.is_none(), "{}", &text[at.unwrap().saturating_sub(300)..]);
    }
    // A secret on the command line is there for all to see: the program says so, once.
    let worker = flux_lab::programs::worker_binary().unwrap();
    let ran = flux_lab::programs::run_to_end(&worker, &["--redis", &redis, "audit"], &deployment.worker_environment())
        .unwrap();
    let said = format!("{ran:?}");
    assert_eq!(times(&said, "FLUX_REDIS_PASSWORD_FILE"), 1, "{said}");
    assert!(!said.contains("planted-"), "{said}");
}
