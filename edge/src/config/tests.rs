use clap::CommandFactory;

use super::*;
use crate::limits::shell::WORKERS_MAX;

fn read(flags: &[&str]) -> Result<Config, ConfigError> {
    read_with(flags, None)
}

fn read_with(flags: &[&str], token: Option<&str>) -> Result<Config, ConfigError> {
    read_as(flags, SecretVariables { admin_token: token, ..SecretVariables::default() })
}

fn read_as(flags: &[&str], secrets: SecretVariables<'_>) -> Result<Config, ConfigError> {
    Config::read(std::iter::once("flux-edge").chain(flags.iter().copied()), secrets, &[0, 1])
}

fn mistake(flags: &[&str], token: Option<&str>) -> String {
    match read_with(flags, token) {
        Err(ConfigError::Mistake(line)) => line,
        other => panic!("{flags:?} gave {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = read(&[]).expect("the defaults");
    assert_eq!(config.listen.to_string(), "0.0.0.0:3000");
    assert_eq!(config.admin.to_string(), "127.0.0.1:3001");
    assert_eq!(config.waiting_room.map(|address| address.to_string()).as_deref(), Some("0.0.0.0:4000"));
    assert_eq!(config.cores, [0, 1]);
    assert_eq!(config.driver, DriverChoice::Auto);
    assert_eq!((config.drain_delay, config.drain_deadline), (Duration::ZERO, Duration::from_secs(10)));
    assert_eq!(config.keep_alive, Duration::from_secs(75));
    assert_eq!(config.kafka, [("127.0.0.1".to_owned(), 9092)]);
    assert_eq!((config.rate, config.burst, config.outbox_orders_max), (10_000, 10_000, 100_000));
    assert_eq!(config.idempotency_ttl, Duration::from_secs(24 * 3600));
    assert_eq!((config.redis_deadline, config.publish_deadline), (Duration::from_millis(500), Duration::from_secs(2)));
    assert_eq!(config.waiting_room_url, "http://localhost:4000/");
    assert_eq!(config.cors_origin, "http://localhost:4000");
    assert_eq!(config.topic, "orders");
    assert!(config.workers.is_empty());
    let core = config.for_core(3000);
    assert!(core.admin_token.is_none() && !core.admin_needs_token);
    assert_eq!(config.pages.brand.name(), "Flux-Gate");
    assert_eq!((&config.pages.public_url, &config.pages.ledger_url), (&None, &None));
    assert_eq!(config.redis.address.to_string(), "127.0.0.1:6379");
    assert_ne!(config.edge_id, read(&[]).expect("the defaults").edge_id, "each start is another edge");
}

#[test]
fn every_mistake_is_one_line_that_names_the_flag() {
    for (flags, word) in [
        (&["--redis", "rediss://h", "--redis-tls-ca", "/nonexistent/ca.pem"][..], "--redis-tls-ca"),
        (&["--redis-tls-cert", "/c"], "--redis-tls-cert"),
        (&["--tls-cert", "/c"], "--tls-key"),
        (&["--tls-cert", "/nonexistent/c.pem", "--tls-key", "/k"], "/nonexistent/c.pem"),
        (&["--kafka-tls-ca", "/c"], "--kafka-security"),
        (&["--kafka-security", "tls"], "--kafka-security"),
        (&["--redis", "h"], "redis://"),
        (&["--rate", "1000", "--burst", "9"], "--burst"),
        (&["--rate", "50", "--burst", "1"], "--burst"),
        (&["--rate", "2000000"], "--burst"),
        (&["--rate=-1"], "--rate"),
        (&["--admin", "0.0.0.0:3001"], "FLUX_ADMIN_TOKEN"),
        (&["--listen", "nowhere"], "--listen"),
        (&["--waiting-room", "on"], "--waiting-room"),
        (&["--waiting-room", "0.0.0.0:3000"], "--waiting-room"),
        (&["--admin", "127.0.0.1:1", "--listen", "127.0.0.1:1"], "--admin"),
        (&["--waiting-room-url", "ftp://h/"], "--waiting-room-url"),
        (&["--waiting-room-url", "http://h/?a=b"], "--waiting-room-url"),
        (&["--waiting-room-url", "http://h/\r\nset-cookie: a"], "--waiting-room-url"),
        (&["--waiting-room-url", "http:///"], "--waiting-room-url"),
        (&["--cors-origin", "*"], "--cors-origin"),
        (&["--cors-origin", "https://shop.example/"], "--cors-origin"),
        (&["--cors-headers", "a b"], "--cors-headers"),
        (&["--cors-headers", "x-a\r\nset-cookie"], "--cors-headers"),
        (&["--trusted-proxies", "balancer"], "--trusted-proxies"),
        (&["--trusted-proxies", "10.0.0.0/40"], "--trusted-proxies"),
        (&["--forwarded-field", "via"], "--forwarded-field"),
        (&["--proxy-protocol"], "--trusted-proxies"),
        (&["--address-rate", "20000"], "--address-rate"),
        (&["--address-rate", "1", "--address-burst", "61"], "--address-burst"),
        (&["--user-rate", "1", "--user-burst", "0"], "--user-burst"),
        (&["--address-burst", "50"], "--address-rate"),
        (&["--user-rate", "0", "--user-burst", "50"], "--user-rate"),
        (&["--kafka", ""], "--kafka"),
        (&["--kafka", "h:0"], "--kafka"),
        (&["--workers", "h:0"], "--workers"),
        (&["--topic", "no topic"], "--topic"),
        (&["--topic", ".."], "--topic"),
        (&["--idempotency-ttl", "1s"], "--idempotency-ttl"),
        (&["--redis-deadline", "0s"], "--redis-deadline"),
        (&["--publish-deadline", "1h"], "--publish-deadline"),
        (&["--drain-deadline", "soon"], "--drain-deadline"),
        (&["--drain-delay", "1h"], "--drain-delay"),
        (&["--keep-alive", "0s"], "--keep-alive"),
        (&["--keep-alive", "1500ms"], "--keep-alive"),
        (&["--outbox-orders-max", "0"], "--outbox-orders-max"),
        (&["--cores", "3"], "--cores"),
        (&["--cores", "5-6"], "--cores"),
        (&["--driver", "kqueue"], "--driver"),
        (&["--admin-token", "secret"], "--admin-token"),
        (&["--jwt-keys", "keys.json"], "FLUX_JWT_SUBJECT_KEY"),
        (&["--jwt-audience", "shop"], "--jwt-keys"),
        (&["--jwt-keys", "keys.json", "--jwt-leeway", "1h"], "--jwt-leeway"),
        (&["--admin-token-file", "/nonexistent"], "--admin-token-file: cannot read /nonexistent"),
        (&["--redis-password-file", "/nonexistent"], "--redis-password-file: cannot read /nonexistent"),
        (&["--kafka-security", "tls"], "--kafka-security"),
        (&["--kafka-security", "sasl_plaintext"], "--kafka-sasl-mechanism"),
        (&["--kafka-sasl-user", "shop"], "--kafka-security"),
        (&["--brand-name", " "], "--brand-name"),
        (&["--brand-color", "red"], "--brand-color"),
        (&["--brand-color", "#12345g"], "--brand-color"),
        (&["--brand-logo", "/nonexistent/logo.svg"], "--brand-logo"),
        (&["--brand-logo", "/etc/passwd"], "--brand-logo"),
        (&["--public-url", "shop.example"], "--public-url"),
        (&["--ledger-url", "javascript:alert(1)"], "--ledger-url"),
        (&["pages"], "--out"),
    ] {
        let line = mistake(flags, None);
        assert!(line.contains(word), "{flags:?} gave {line:?}");
        assert!(!line.is_empty() && !line.contains('\n') && !line.starts_with("error"), "{line:?}");
    }
}

#[test]
fn a_password_in_a_mistaken_url_is_not_repeated() {
    for flags in [
        &["--redis", "redis://user:hunter2@host/nodb"][..],
        &["--redis", "redis://user:hunter2"],
        &["--redis", "rediss://user:hunter2/0"],
        &["--kafka", "kafka-1:9092,user:hunter2@kafka-2:9092"],
        &["--workers", "http://user:hunter2@worker:3002"],
        // The flag was forgotten, or what is no flag of ours.
        &["redis://user:hunter2@host"],
        &["check", "redis://user:hunter2@host"],
        &["--redis-url=redis://user:hunter2@host"],
    ] {
        let line = mistake(flags, None);
        assert!(!line.contains("hunter2") && !line.is_empty(), "{flags:?}: {line}");
    }
    let second = mistake(&["--kafka", "kafka-1:9092,kafka-2:x,kafka-3"], None);
    assert!(second.starts_with("--kafka: address 2: "), "{second}");
}

#[test]
fn the_token_opens_other_addresses_and_is_never_shown() {
    let config = read_with(&["--admin", "0.0.0.0:3001"], Some("s3cret")).expect("a token is there");
    assert!(config.for_core(1).admin_needs_token);
    assert!(config.for_core(1).admin_token.is_some_and(|token| token.matches_bearer(Some(b"Bearer s3cret"))));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(read_with(&["--admin", "0.0.0.0:3001"], Some("")).is_err(), "empty is unset");
    assert!(!mistake(&[], Some("two words")).contains("two words"));
}

#[test]
fn secrets_come_from_files_and_those_of_the_command_line_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a name").to_owned()
    };
    let (token, password) = (file("token", "s3cret\n"), file("password", "hunter2\n"));
    let login =
        ["--kafka-security", "sasl_plaintext", "--kafka-sasl-mechanism", "scram-sha-512", "--kafka-sasl-user", "u"];
    let files = ["--admin-token-file", &token, "--redis-password-file", &password, "--redis", "redis://shop@h"];
    let kafka = ["--kafka-sasl-password-file", &*password];
    let config = read(&[&login[..], &files, &kafka].concat()).expect("all is there");
    assert_eq!(config.redis.password, Some("hunter2".into()));
    assert!(config.for_core(1).admin_token.is_some_and(|token| token.matches_bearer(Some(b"Bearer s3cret"))));
    assert_eq!(config.secrets.kept.len(), 3);
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    assert!(config.secrets.warnings.iter().all(|line| line.contains("every user of this machine may read")));
    let exposed = [&["--redis", "redis://:hunter2@h", "--kafka-sasl-password", "hunter2"][..], &login].concat();
    let warnings = read(&exposed).expect("it is taken all the same").secrets.warnings;
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("FLUX_REDIS_PASSWORD_FILE") && warnings[1].contains("FLUX_KAFKA_SASL_PASSWORD_FILE"));
    assert!(!warnings.concat().contains("hunter2"));
    let both = [&files[..2], &[]].concat();
    let Err(ConfigError::Mistake(line)) = read_with(&both, Some("other")) else { panic!("two tokens") };
    assert!(line.contains("not both"), "{line}");
}

#[test]
fn a_rate_of_zero_and_small_bursts_are_taken() {
    let config = read(&["--rate", "0", "--burst", "2"]).expect("no limit");
    assert_eq!((config.rate, config.burst), (0, 2));
    let config = read(&["--rate", "50", "--cores", "1", "--waiting-room", "off"]).expect("the demo's");
    assert_eq!((config.cores.len(), config.waiting_room), (1, None));
}

#[test]
fn tokens_are_asked_for_where_there_are_keys() {
    assert!(read(&[]).expect("the defaults").identity.is_none());
    let flags = ["--jwt-keys", "keys.json", "--jwt-audience", "shop, sale", "--jwt-issuer", "https://id.example"];
    let key = "0123456789abcdef";
    let config =
        read_as(&flags, SecretVariables { jwt_subject_key: Some(key), ..SecretVariables::default() }).expect("rules");
    assert!(!format!("{config:?}").contains(key));
    let rules = config.identity.expect("asked for");
    assert_eq!((rules.audience.as_slice(), rules.issuer.len()), (&["shop".to_owned(), "sale".to_owned()][..], 1));
    assert_eq!((&*rules.claim, rules.leeway), ("sub", Duration::from_secs(30)));
    assert!(
        read_as(&flags, SecretVariables { jwt_subject_key: Some(&key[1..]), ..SecretVariables::default() }).is_err()
    );
}

#[test]
fn nobody_is_believed_and_nobody_limited_unless_it_is_asked_for() {
    let config = read(&[]).expect("the defaults");
    assert!(config.front.trusted.is_empty() && !config.front.proxy_protocol);
    assert!(config.front.addresses.is_none() && config.users.is_none());
    let flags = ["--trusted-proxies", "10.0.0.0/8,::1", "--proxy-protocol", "--forwarded-field", "forwarded"];
    let limits = ["--address-rate", "10", "--user-rate", "1", "--cors-headers", "X-Shop, x-other"];
    let config = read(&[&flags[..], &limits].concat()).expect("a balancer in front");
    assert_eq!((config.front.trusted.len(), config.front.proxy_protocol), (2, true));
    assert!(config.front.addresses.is_some() && config.users.is_some());
    assert!(
        config.cors_headers.ends_with("traceparent, tracestate, baggage, x-shop, x-other"),
        "{}",
        config.cors_headers
    );
}

#[test]
fn workers_have_a_port_of_their_own_by_default() {
    let config = read(&["--workers", "worker-1, [::1]:4002"]).expect("two workers");
    assert_eq!(config.workers, [("worker-1".to_owned(), 3002), ("::1".to_owned(), 4002)]);
    let many = ["h"; WORKERS_MAX + 1].join(",");
    assert!(mistake(&["--workers", &many], None).contains("--workers"));
}

#[test]
fn help_explains_every_flag_and_its_variable() {
    let Err(ConfigError::Asked(help)) = read(&["--help"]) else { panic!("help was asked for") };
    for flag in [
        "listen",
        "admin",
        "waiting-room",
        "waiting-room-url",
        "cors-origin",
        "cors-headers",
        "trusted-proxies",
        "forwarded-field",
        "proxy-protocol",
        "address-rate",
        "address-burst",
        "user-rate",
        "user-burst",
        "redis",
        "tls-cert",
        "tls-key",
        "redis-tls-ca",
        "redis-tls-cert",
        "redis-tls-key",
        "redis-tls-server-name",
        "kafka",
        "kafka-security",
        "kafka-sasl-mechanism",
        "kafka-sasl-user",
        "kafka-sasl-password",
        "kafka-sasl-password-file",
        "kafka-sasl-token-file",
        "kafka-sasl-token-command",
        "redis-password-file",
        "admin-token-file",
        "kafka-tls-ca",
        "kafka-tls-cert",
        "kafka-tls-key",
        "kafka-tls-server-name",
        "topic",
        "workers",
        "rate",
        "burst",
        "idempotency-ttl",
        "outbox-orders-max",
        "redis-deadline",
        "publish-deadline",
        "keep-alive",
        "drain-delay",
        "drain-deadline",
        "cores",
        "driver",
        "jwt-keys",
        "jwt-audience",
        "jwt-issuer",
        "jwt-claim",
        "jwt-leeway",
        "brand-name",
        "brand-color",
        "brand-logo",
        "public-url",
        "ledger-url",
    ] {
        assert!(help.contains(&format!("--{flag} ")) || help.contains(&format!("--{flag}\n")), "{flag}");
        assert!(help.contains(&format!("FLUX_{}", flag.to_uppercase().replace('-', "_"))), "{flag}");
    }
    assert!(help.contains("FLUX_ADMIN_TOKEN"));
}

#[test]
fn the_manual_tells_every_flag_its_variable_and_its_default() {
    let manual = include_str!("../../../docs/SPEC.md");
    let (_, table) =
        manual.split_once("| edge | environment | default |\n|---|---|---|\n").expect("the table of flags");
    let mut rows: Vec<[&str; 3]> = table
        .lines()
        .map_while(|line| line.strip_prefix("| `--")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>().try_into().expect("three cells"))
        .collect();
    let command = Arguments::command();
    let mut flags: Vec<&clap::Arg> = command.get_arguments().collect();
    flags.extend(command.get_subcommands().flat_map(clap::Command::get_arguments));
    let (flags_of_one_call, mut flags): (Vec<&clap::Arg>, Vec<&clap::Arg>) =
        flags.into_iter().filter(|flag| flag.get_long().is_some()).partition(|flag| flag.get_env().is_none());
    let told = manual.split_once("`flux-edge pages --out`").expect("those that no variable stands for").1;
    let told = told.split_once("`flux-worker").expect("the worker's behind them").0;
    let names = told.split(['`', ' ']).filter_map(|word| word.strip_prefix("--"));
    let mut told: Vec<&str> = std::iter::once("out").chain(names).collect();
    let mut without: Vec<&str> = flags_of_one_call.iter().filter_map(|flag| flag.get_long()).collect();
    without.sort_unstable();
    told.sort_unstable();
    assert_eq!(without, told, "flags without a variable");
    flags.sort_by_key(|flag| flag.get_long());
    flags.dedup_by_key(|flag| flag.get_long());
    for flag in flags {
        let name = flag.get_long().expect("a flag");
        let place = rows.iter().position(|[cell, ..]| cell.split('`').next() == Some(name));
        let [_, variable, default] = rows.remove(place.unwrap_or_else(|| panic!("--{name} is not told")));
        let environment = flag.get_env().expect("kept above").to_string_lossy();
        assert_eq!(variable, format!("`{environment}`"), "--{name}");
        assert_eq!(environment, format!("FLUX_{}", name.to_uppercase().replace('-', "_")), "--{name}");
        let own = flag.get_default_values().first().map(|value| value.to_string_lossy());
        match own.filter(|_| flag.get_action().takes_values()) {
            Some(own) => assert_eq!(default, format!("`{own}`"), "--{name}"),
            None => assert!(!default.starts_with('`'), "--{name} has no default of its own"),
        }
    }
    assert!(rows.is_empty(), "no such flags: {rows:?}");
}
