//! A command that a server does not let ask says so, by its exit code, too: 1 is its answer, 3 is that there is none.

use crate::world::{PRODUCT, World};

/// Whichever server refuses whatever is needed: a login, a right, the database.
#[test]
fn a_server_that_cannot_be_asked_is_no_answer() {
    let world = World::start();
    let mut client = world.client();
    world.open(&mut client);
    world.wait_for("SELECT count(*) FROM sales", 1);
    world.postgres.create_database("empty").expect("a database");
    let mut in_postgres = world.postgres.client("flux").expect("a connection");
    in_postgres.batch_execute("CREATE ROLE guest LOGIN").expect("a role");
    client.run("ACL SETUSER guest on >secret ~* +@all -get -hgetall -hmget");
    let (redis, postgres) = (world.redis.address(), world.postgres.url("flux"));
    let database = |name: &str| world.postgres.url(name);
    let role = |name: &str| postgres.replacen("postgres@", &format!("{name}@"), 1);
    assert_ne!(role("guest"), postgres);
    let refusals = [
        ("--postgres", database("nowhere"), "database \"nowhere\" does not exist"),
        ("--postgres", database("empty"), "is this the ledger's database"),
        ("--postgres", role("nobody"), "role \"nobody\" does not exist"),
        ("--postgres", role("guest"), "permission denied"),
        ("--redis", format!("redis://guest:wrong@{redis}"), "WRONGPASS"),
        ("--redis", format!("redis://guest:secret@{redis}"), "no permissions"),
        ("--redis", format!("redis://{redis}/99"), "DB index is out of range"),
        ("--topic", "nothing".to_owned(), "Kafka has no topic nothing"),
    ];
    let commands: [&[&str]; 4] =
        [&["audit"], &["rebuild", "--product", PRODUCT], &["dead-letters", "list"], &["dead-letters", "replay"]];
    for (flag, value, why) in &refusals {
        for command in commands {
            if command[0] == "dead-letters" && *flag != "--postgres" {
                continue;
            }
            let (code, said) = world.say(&[command, &[*flag, value]].concat());
            assert!(code == Some(3) && said.contains(why), "{command:?} {flag} {value}: {code:?} {said}");
        }
    }
    let (code, said) = world.audit();
    assert_eq!(code, Some(0), "nothing was changed: {said}");
}
