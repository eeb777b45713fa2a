use clap::CommandFactory;

use super::*;

fn read(arguments: &[&str]) -> Result<Config, ConfigError> {
    Config::read(std::iter::once("flux-worker").chain(arguments.iter().copied()))
}

fn mistake(arguments: &[&str]) -> String {
    match read(arguments) {
        Err(ConfigError::Mistake(line)) => {
            assert!(!line.contains('\n') && !line.is_empty(), "one line: {line:?}");
            line
        }
        other => panic!("{arguments:?} gives {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_specification() {
    let config = read(&[]).unwrap();
    assert_eq!(config.task, Task::Consume);
    assert_eq!(config.kafka, [("127.0.0.1".to_owned(), 9092)]);
    assert_eq!((&*config.topic, &*config.group), ("orders", "flux-worker"));
    assert_eq!((config.batch_orders, config.batch_wait), (5000, Duration::from_millis(20)));
    assert_eq!(config.admin, "127.0.0.1:3002".parse().unwrap());
    assert_eq!((config.topic_partitions, config.topic_replicas), (4, 1));
    assert_eq!(config.postgres.config.database, "flux");
}

#[test]
fn flags_may_stand_before_and_behind_a_command() {
    for arguments in [
        &["--topic", "other", "audit", "--product", "iphone-15"][..],
        &["audit", "--product", "iphone-15", "--topic", "other"][..],
    ] {
        let config = read(arguments).unwrap();
        assert_eq!(config.topic, "other");
        assert_eq!(config.task, Task::Audit { product: Identifier::new(b"iphone-15") });
    }
    assert_eq!(read(&["audit"]).unwrap().task, Task::Audit { product: None });
    let product = Identifier::new(b"p");
    let letters = read(&["dead-letters", "replay", "--product", "p"]).unwrap().task;
    assert_eq!(letters, Task::DeadLetters { action: DeadLettersAction::Replay, product });
    let Task::Rebuild(order) = read(&["rebuild", "--product", "p", "--old-master-is-dead"]).unwrap().task else {
        panic!("not a rebuild")
    };
    assert_eq!((order.fence, order.old_master_is_dead, order.slot_moved), (Duration::from_secs(15), true, false));
}

#[test]
fn mistakes_are_one_line_that_names_the_flag() {
    for (arguments, named) in [
        (&["--kafka", ""][..], "--kafka"),
        (&["--kafka", "a:b"], "--kafka"),
        (&["--topic", "with blank"], "--topic"),
        (&["--group", ""], "--group"),
        (&["--redis", "rediss://host", "--redis-tls-ca", "/nonexistent/ca.pem"], "--redis-tls-ca"),
        (&["--redis-tls-key", "/k"], "--redis-tls-key"),
        (&["--kafka-tls-cert", "/c"], "--kafka-security"),
        (&["--kafka-security", "on"], "--kafka-security"),
        (&["--postgres", "mysql://host"], "--postgres"),
        (&["--postgres-password-file", "/nonexistent"], "--postgres-password-file: cannot read /nonexistent"),
        (&["--redis-password-file", "/nonexistent"], "--redis-password-file: cannot read /nonexistent"),
        (&["--kafka-security", "tls"], "--kafka-security"),
        (&["--kafka-security", "sasl_plaintext"], "--kafka-sasl-mechanism"),
        (&["--kafka-sasl-user", "shop"], "--kafka-security"),
        (&["--postgres", "postgres://host/db?sslmode=yes"], "sslmode"),
        (
            &["--postgres", "postgres://host/db?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem"],
            "/nonexistent/ca.pem",
        ),
        (&["--batch-orders", "0"], "--batch-orders"),
        (&["--batch-wait", "11s"], "--batch-wait"),
        (&["--batch-wait", "soon"], "--batch-wait"),
        (&["--worker-admin", "nowhere"], "--worker-admin"),
        (&["--rebuild", "maybe"], "--rebuild"),
        (&["--rebuild", "always"], "--rebuild"),
        (&["--suspend-on-breach", "maybe"], "--suspend-on-breach"),
        (&["--idempotency-ttl", "59s"], "--idempotency-ttl must be from 1m to 1year 18h"),
        (&["--topic-partitions", "0"], "--topic-partitions"),
        (&["--topic-replicas", "33"], "--topic-replicas"),
        (&["--unknown"], "--unknown"),
        (&["rebuild"], "--product"),
        (&["rebuild", "--product", ".."], "--product"),
        (
            &["rebuild", "--product", "p", "--fence", "14999ms"],
            "--fence must be from 15s to 10m: an edge's last request",
        ),
        (&["rebuild", "--product", "p", "--per-user", "1001"], "--per-user"),
        (&["rebuild", "--product", "p", "--seed", "5e"], "--seed"),
        (&["rebuild", "--product", "p", "--opens-at", "noon"], "--opens-at"),
        (&["rebuild", "--product", "p", "--queue", "long"], "--queue"),
    ] {
        let line = mistake(arguments);
        assert!(line.contains(named), "{arguments:?}: {line}");
    }
}

#[test]
fn a_password_is_in_no_message() {
    for arguments in [
        &["--redis", "redis://u:hunter2@host/x"][..],
        &["--redis", "redis://u:hunter2"],
        &["--redis", "rediss://u:hunter2/0"],
        &["--postgres", "postgres://u:hunter2@host/db?x=y"],
        &["--postgres", "postgres://u:hunter2"],
        &["--postgres", "postgres://u:p?hunter2@host/db"],
        &["--kafka", "u:hunter2@kafka-1:9092"],
        &["postgres://u:hunter2@host/db"],
        &["audit", "postgres://u:hunter2@host/db"],
    ] {
        let line = mistake(arguments);
        assert!(!line.contains("hunter2"), "{arguments:?}: {line}");
    }
    let config = read(&["--redis", "redis://u:hunter2@h", "--postgres", "postgres://u:hunter2@h/db"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn secrets_come_from_files_and_those_of_the_command_line_are_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    std::fs::write(&path, "hunter2\n").expect("a file");
    let file = path.to_str().expect("a name");
    let login =
        ["--kafka-security", "sasl_plaintext", "--kafka-sasl-mechanism", "scram-sha-512", "--kafka-sasl-user", "u"];
    let files = ["--redis-password-file", file, "--postgres-password-file", file, "--kafka-sasl-password-file", file];
    for command in [&[][..], &["audit"]] {
        let config = read(&[command, &login, &files].concat()).unwrap();
        assert_eq!(
            (&config.redis.password, &config.postgres.config.password),
            (&Some("hunter2".into()), &Some("hunter2".into()))
        );
        assert_eq!(config.secrets.kept.len(), 3);
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(config.secrets.warnings.iter().all(|line| line.contains("every user of this machine may read")));
        let urls = ["--redis", "redis://:hunter2@h", "--postgres", "postgres://u:hunter2@h/d"];
        let exposed = [command, &urls, &login, &["--kafka-sasl-password", "hunter2"]].concat();
        let warnings = read(&exposed).unwrap().secrets.warnings;
        assert_eq!(warnings.len(), 3, "{command:?}");
        assert!(!warnings.concat().contains("hunter2"));
    }
    let twice = ["--postgres", "postgres://u:hunter2@h/d", "--postgres-password-file", file];
    assert!(mistake(&twice).contains("not in both"));
}

#[test]
fn help_documents_every_flag() {
    let Err(ConfigError::Asked(help)) = read(&["--help"]) else { panic!("no help") };
    for flag in [
        "--kafka",
        "--topic",
        "--redis",
        "--group",
        "--postgres",
        "--batch-orders",
        "--batch-wait",
        "--worker-admin",
        "--rebuild",
        "--topic-partitions",
        "--topic-replicas",
        "FLUX_KAFKA",
        "FLUX_BATCH_WAIT",
        "audit",
        "rebuild",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
}

#[test]
fn the_manual_tells_every_flag_its_variable_and_its_default() {
    let manual = include_str!("../../docs/SPEC.md");
    let (_, table) =
        manual.split_once("| worker | environment | default |\n|---|---|---|\n").expect("the table of flags");
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
    let told = manual.split_once("`flux-worker rebuild --sale`").expect("those that no variable stands for").1;
    let told = told.split_once('.').expect("a sentence").0.split('`').filter_map(|word| word.strip_prefix("--"));
    let mut told: Vec<&str> = std::iter::once("sale").chain(told).collect();
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
