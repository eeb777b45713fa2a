//! Golden bytes: every exchange of `golden/capture.py`.

use super::*;
use crate::order::Uuid;

const COPY: &str = "COPY golden (id, name, units, number, at) FROM STDIN (FORMAT binary)";

fn plain(sql: &str) -> Statement<'_> {
    Statement { sql, params: &[], copy: None }
}

fn id(first: u8) -> Uuid {
    Uuid(std::array::from_fn(|index| first + index as u8))
}

fn first_row(rows: &mut CopyRows) {
    rows.row(5, |fields| {
        fields.uuid(id(0));
        fields.bytes(b"user-42");
        fields.i32(3);
        fields.i64(1_705_234_700_000);
        fields.timestamp_ms(1_705_234_800_123);
    });
}

fn second_row(rows: &mut CopyRows) {
    rows.row(5, |fields| {
        fields.uuid(id(1));
        fields.null();
        fields.i32(-1);
        fields.i64(-2);
        fields.timestamp_ms(946_684_800_000);
    });
}

/// Asks, compares what goes out with `client`, then hands `server` in every way.
fn exchange(ask: impl Fn(&mut Session), client: &[u8], server: &[u8]) -> (Vec<Event>, Result<(), SessionError>) {
    let make = || {
        let mut session = up();
        ask(&mut session);
        assert_eq!(written(&mut session), client);
        session
    };
    fed_every_way(make, server)
}

fn ask<'a>(statements: &'a [Statement<'a>]) -> impl Fn(&mut Session) + 'a {
    move |session| {
        statements.iter().for_each(|statement| session.statement(*statement));
        session.sync(NOW);
    }
}

fn code(event: &Event) -> &str {
    match event {
        Event::Failed(error) | Event::Notice(error) => error.code.as_str(),
        _ => panic!("{event:?} holds no SQLSTATE"),
    }
}

#[test]
fn start_up() {
    let (client, server) = recorded!("startup_trust");
    let make = || {
        let mut session = opened("postgres://postgres@/postgres?host=/x");
        assert_eq!(written(&mut session), client);
        session
    };
    let (told, outcome) = fed_every_way(make, &server);
    assert_eq!(outcome, Ok(()));
    assert!(matches!(told[..], [Event::Ready { server_version: 150_000..160_000 }]), "{told:?}");
}

#[test]
fn a_batch_in_one_write() {
    let (client, server) = recorded!("copy_stored");
    let mut rows = CopyRows::new();
    first_row(&mut rows);
    second_row(&mut rows);
    rows.finish();
    let params = [Param::I32(1), Param::I64s(vec![1_705_234_700_000])];
    let statements = [
        plain("BEGIN"),
        Statement { copy: Some(&rows), ..plain(COPY) },
        Statement { params: &params, ..plain("UPDATE golden SET units = units + $1 WHERE number = ANY($2)") },
        plain("COMMIT"),
    ];
    let (told, outcome) = exchange(ask(&statements), &client, &server);
    assert_eq!(outcome, Ok(()));
    let complete = |rows| Event::Complete { rows };
    let synced = Event::Synced(TransactionStatus::Idle);
    assert_eq!(told, [complete(0), complete(2), complete(1), complete(0), synced]);
}

/// `COPY … TO STDOUT (FORMAT binary)` of the same rows is what our encoder wrote.
#[test]
fn rows_are_as_the_server_writes_them() {
    let server = hex(include_str!("../golden/copy_rows.server.hex"));
    let mut theirs = Vec::new();
    let mut rest = &server[..];
    while let [tag, a, b, c, d, after @ ..] = rest {
        let (body, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4);
        if *tag == b'd' {
            theirs.extend_from_slice(body);
        }
        rest = next;
    }
    let mut rows = CopyRows::new();
    first_row(&mut rows);
    second_row(&mut rows);
    rows.finish();
    let ours = rows.messages();
    assert_eq!(&ours[5..ours.len() - 5], theirs, "one CopyData, then CopyDone of 5 bytes");
}

#[test]
fn a_duplicate_loses_the_copy_and_keeps_the_connection() {
    let (client, server) = recorded!("copy_duplicate");
    let mut rows = CopyRows::new();
    first_row(&mut rows);
    rows.finish();
    let statements =
        [plain("BEGIN"), Statement { copy: Some(&rows), ..plain(COPY) }, plain("UPDATE golden SET units = 0")];
    let (told, outcome) = exchange(ask(&statements), &client, &server);
    assert_eq!(outcome, Ok(()));
    let [Event::Complete { rows: 0 }, Event::Failed(error), Event::Synced(TransactionStatus::Failed)] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(error.class(), ErrorClass::Duplicate);
    assert_eq!((&*error.constraint, &*error.table), ("golden_pkey", "golden"));
    assert!(error.context.contains("line 1"), "{}", error.context);

    let (client, server) = recorded!("rollback");
    let (told, outcome) = exchange(ask(&[plain("ROLLBACK")]), &client, &server);
    assert_eq!(outcome, Ok(()));
    assert_eq!(told, [Event::Complete { rows: 0 }, Event::Synced(TransactionStatus::Idle)]);
}

#[test]
fn values_come_back_as_text() {
    let (client, server) = recorded!("select");
    let first = [Param::Text("41".into()), Param::Null];
    let second = [Param::Uuids(vec![id(0)])];
    let statements = [
        Statement { params: &first, ..plain("SELECT $1::int + 1, NULL, $2::text, 'läuft'") },
        Statement { params: &second, ..plain("SELECT id FROM golden WHERE id = ANY($1) ORDER BY id") },
    ];
    let (told, outcome) = exchange(ask(&statements), &client, &server);
    assert_eq!(outcome, Ok(()));
    let [
        Event::Row(first),
        Event::Complete { rows: 1 },
        Event::Row(second),
        Event::Complete { rows: 1 },
        Event::Synced(_),
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(first.get::<i64>(0), Some(42));
    assert_eq!((first.text(1), first.text(2), first.text(3)), (None, None, Some("läuft")));
    assert_eq!((first.len(), first.text(4)), (4, None));
    assert_eq!(second.text(0), Some("00010203-0405-0607-0809-0a0b0c0d0e0f"));
}

#[test]
fn several_statements_in_one_text() {
    let (client, server) = recorded!("simple");
    let text = "select 1; update golden set units = 7 where units = 4; select 2";
    let (told, outcome) = exchange(|session| session.simple(NOW, text), &client, &server);
    assert_eq!(outcome, Ok(()));
    let row = |text| Event::Row(Row::of(&[Some(text)]));
    let one = Event::Complete { rows: 1 };
    assert_eq!(told, [row("1"), one.clone(), one.clone(), row("2"), one, Event::Synced(TransactionStatus::Idle)]);
}

#[test]
fn a_notice_changes_nothing() {
    let (client, server) = recorded!("notice");
    let (told, outcome) = exchange(ask(&[plain("DO $$ BEGIN RAISE NOTICE 'by the way'; END $$")]), &client, &server);
    assert_eq!(outcome, Ok(()));
    assert_eq!(code(&told[0]), "00000");
    assert_eq!(told[1..], [Event::Complete { rows: 0 }, Event::Synced(TransactionStatus::Idle)]);
}

#[test]
fn one_failure_stands_for_what_it_skips() {
    let (client, server) = recorded!("no_table");
    let (told, outcome) = exchange(ask(&[plain("SELECT * FROM nowhere"), plain("SELECT 1")]), &client, &server);
    assert_eq!(outcome, Ok(()));
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(code(&told[0]), "42P01");
    assert_eq!(told[1], Event::Synced(TransactionStatus::Idle));
}

#[test]
fn a_session_that_the_server_ends() {
    let (client, server) = recorded!("terminated");
    let (told, outcome) = exchange(ask(&[plain("SELECT pg_terminate_backend(pg_backend_pid())")]), &client, &server);
    assert_eq!(told, [Event::Row(Row::of(&[Some("t")]))], "it got as far as its answer, not to its completion");
    let Err(SessionError::Ended(error)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((error.code.as_str(), error.class()), ("57P01", ErrorClass::Retryable));
}

#[test]
fn logins_refused() {
    for ((_, server), url, state) in [
        (recorded!("wrong_password"), "postgres://clear:wrong@/postgres?host=/x", "28P01"),
        (recorded!("no_database"), "postgres://postgres@/nowhere?host=/x", "3D000"),
    ] {
        let (told, outcome) = fed_every_way(|| opened(url), &server);
        assert_eq!(told, []);
        let Err(SessionError::Login(LoginError::Refused(error))) = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.code.as_str(), error.class()), (state, ErrorClass::Login));
    }
    let (client, server) = recorded!("wrong_password");
    let mut session = opened("postgres://clear:wrong@/postgres?host=/x");
    let mut out = written(&mut session);
    session.handle_bytes(NOW, &mut BytesMut::from(&server[..9])).expect("a question");
    out.extend(written(&mut session));
    assert_eq!(out, client);
}

#[test]
fn a_password_in_clear_text_does_not_go_over_tcp() {
    let (_, server) = recorded!("wrong_password");
    let mut session = opened("postgres://clear:wrong@127.0.0.1/postgres");
    written(&mut session);
    let outcome = session.handle_bytes(NOW, &mut BytesMut::from(&server[..9]));
    assert_eq!(outcome, Err(SessionError::Login(LoginError::ClearText)));
    assert_eq!(written(&mut session), b"");
}

#[test]
fn a_password_that_is_asked_for_and_missing() {
    for (_, server) in [recorded!("wrong_password"), recorded!("sasl_asked")] {
        let mut session = opened("postgres://shop@/postgres?host=/x");
        let outcome = session.handle_bytes(NOW, &mut BytesMut::from(&server[..]));
        assert_eq!(outcome, Err(SessionError::Login(LoginError::PasswordMissing)));
    }
}
