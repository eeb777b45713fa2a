//! Logins against the scripted cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::identity::{Errand, Identity, Stretch};
use super::mechanism::Mechanism;
use crate::kafka::cluster::{Cluster, ClusterConfig, Lane, Target};
use crate::kafka::connection::{RequestError, RequestLimits};
use crate::kafka::fake::{BOOTSTRAP_PORT, Fake, TOPIC};
use crate::kafka::fake_login::FakeLogin;
use crate::kafka::metadata;
use crate::kafka::producer::{Producer, ProducerConfig, Settled};
use crate::secret::{Secret, SharedSecret};

const LIMITS: RequestLimits = RequestLimits::within(Duration::from_secs(2));
const NODE: Target = Target::Node(1, Lane::DATA);

fn identity(mechanism: Mechanism, secret: &str) -> Identity {
    Identity::new(mechanism, "shop", SharedSecret::from(secret), [7; 32])
}

fn fake(mechanism: Mechanism) -> Fake {
    let mut fake = Fake::new(1, 1);
    fake.login = Some(FakeLogin::new(&[mechanism], "shop", "a pass,word="));
    fake
}

fn cluster(fake: &Fake, login: &Identity) -> Cluster<u32> {
    let bootstrap = vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)];
    let login = Some(login.clone());
    let config = ClusterConfig { bootstrap, login, client_id: "test".to_owned(), topic: TOPIC.to_owned(), seed: 5 };
    Cluster::new(config, fake.now)
}

fn rules(fake: &mut Fake) -> &mut FakeLogin {
    fake.login.as_mut().expect("a broker that wants a login")
}

/// However the bytes are cut.
#[test]
fn every_mechanism_logs_in_before_anything_else_is_asked() {
    for mechanism in Mechanism::ALL {
        for trickles in [false, true] {
            let mut fake = fake(mechanism);
            fake.trickles = trickles;
            rules(&mut fake).tokens.push("a pass,word=".to_owned());
            let mut cluster = cluster(&fake, &identity(mechanism, "a pass,word="));
            fake.pass(0, &mut cluster);
            assert_eq!((cluster.topic().is_some(), rules(&mut fake).logins), (true, 1), "{mechanism}");
            assert_eq!(cluster.refusal(), None);
        }
    }
}

#[test]
fn a_user_with_a_comma_is_the_same_user_to_the_broker() {
    let mut fake = fake(Mechanism::ScramSha256);
    rules(&mut fake).passwords.insert("a,b=c".to_owned(), "x".to_owned());
    let login = Identity::new(Mechanism::ScramSha256, "a,b=c", SharedSecret::from("x"), [7; 32]);
    let mut cluster = cluster(&fake, &login);
    fake.pass(0, &mut cluster);
    assert!(cluster.topic().is_some());
}

/// What is missing is named, what the broker repeats of the secret is not, and the broker is not asked twenty times a second.
#[test]
fn a_refusal_is_one_line_and_ends_by_itself() {
    for (mechanism, line) in [
        (
            Mechanism::Plain,
            "broker:9001: the broker refuses user shop by PLAIN: Authentication failed: shop is not known with ***",
        ),
        (
            Mechanism::ScramSha512,
            "broker:9001: the broker refuses user shop by SCRAM-SHA-512: Authentication failed during authentication due to \
             invalid credentials",
        ),
        (
            Mechanism::OAuthBearer,
            "broker:9001: the broker refuses the token by OAUTHBEARER: {\"status\":\"invalid_token\"}",
        ),
    ] {
        let mut fake = fake(mechanism);
        let secret = SharedSecret::from("hunter2");
        let login = Identity::new(mechanism, "shop", secret.clone(), [7; 32]);
        let renewals = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&renewals);
        login.help_by(move |errand| {
            if matches!(errand, Errand::Renew) {
                *counted.lock().unwrap() += 1;
            }
            false
        });
        let mut cluster = cluster(&fake, &login);
        fake.pass(0, &mut cluster);
        assert_eq!(cluster.refusal().as_deref(), Some(line));
        // SCRAM has two things to say, and who is refused a token asks for the refusal.
        let asked = if mechanism == Mechanism::Plain { &[18, 17, 36][..] } else { &[18, 17, 36, 36] };
        assert_eq!((&*fake.requests, *renewals.lock().unwrap()), (asked, 1));
        let before = fake.requests.len();
        fake.pass(10_000, &mut cluster);
        let attempts = (fake.requests.len() - before) / 3;
        assert!((2..=5).contains(&attempts), "{mechanism}: {attempts} attempts in ten seconds");
        // The right secret is put in its place.
        secret.set(Secret::new("a pass,word="));
        rules(&mut fake).tokens.push("a pass,word=".to_owned());
        fake.pass(4_000, &mut cluster);
        assert!(cluster.topic().is_some(), "{mechanism}");
        assert_eq!(cluster.refusal(), None);
    }
}

#[test]
fn a_mechanism_that_is_not_offered_is_named_with_those_that_are() {
    let mut fake = fake(Mechanism::ScramSha256);
    rules(&mut fake).offered.push(Mechanism::OAuthBearer);
    let mut cluster = cluster(&fake, &identity(Mechanism::Plain, "x"));
    fake.pass(0, &mut cluster);
    assert_eq!(
        cluster.refusal().as_deref(),
        Some(
            "broker:9001: the broker offers no login by PLAIN; it offers SCRAM-SHA-256, OAUTHBEARER \
             (--kafka-sasl-mechanism)"
        )
    );
}

/// It would be handed orders.
#[test]
fn a_broker_that_does_not_know_the_password_is_not_believed() {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let mut fake = fake(mechanism);
        rules(&mut fake).is_impostor = true;
        let mut cluster = cluster(&fake, &identity(mechanism, "x"));
        fake.pass(0, &mut cluster);
        assert!(cluster.refusal().is_some_and(|line| line.contains("did not prove")), "{:?}", cluster.refusal());
        assert!(cluster.topic().is_none());
    }
}

#[test]
fn a_broker_that_asks_for_too_few_or_too_many_iterations_is_told_nothing() {
    for iterations in [1, 4095, 1_000_000] {
        let mut fake = fake(Mechanism::ScramSha256);
        rules(&mut fake).iterations = iterations;
        let mut cluster = cluster(&fake, &identity(Mechanism::ScramSha256, "a pass,word="));
        fake.pass(0, &mut cluster);
        let line = format!("asks for {iterations} iterations");
        assert!(cluster.refusal().is_some_and(|said| said.contains(&line)), "{:?}", cluster.refusal());
        assert_eq!(fake.requests, [18, 17, 36], "no proof was sent");
    }
}

#[test]
fn without_a_token_nothing_is_sent_until_there_is_one() {
    let mut fake = fake(Mechanism::OAuthBearer);
    rules(&mut fake).tokens.push("t0ken".to_owned());
    let token = SharedSecret::from("");
    let login = Identity::new(Mechanism::OAuthBearer, "", token.clone(), [7; 32]);
    let mut cluster = cluster(&fake, &login);
    fake.pass(0, &mut cluster);
    assert!(cluster.refusal().is_some_and(|line| line.contains("no token")));
    token.set(Secret::new("t0ken"));
    fake.pass(4_000, &mut cluster);
    assert!(cluster.topic().is_some());
}

/// Milliseconds of a core that serves orders.
#[test]
fn a_password_is_stretched_once_a_process_and_by_a_helper_where_there_is_one() {
    let mut fake = fake(Mechanism::ScramSha256);
    let login = identity(Mechanism::ScramSha256, "a pass,word=");
    let handed: Arc<Mutex<Vec<Stretch>>> = Arc::default();
    let hands = Arc::clone(&handed);
    login.help_by(move |errand| {
        if let Errand::Stretch(stretch) = errand {
            hands.lock().unwrap().push(stretch);
        }
        true
    });
    let mut first = cluster(&fake, &login);
    let mut second = cluster(&fake, &login);
    fake.pass(100, &mut first);
    assert!(first.topic().is_none(), "the keys are not there");
    assert_eq!(handed.lock().unwrap().len(), 1, "asked for once");
    for stretch in handed.lock().unwrap().drain(..) {
        stretch.derive();
    }
    fake.pass(5, &mut first);
    assert!(first.topic().is_some());
    let now = std::mem::replace(&mut fake, self::fake(Mechanism::ScramSha256)).now;
    fake.now = now;
    fake.pass(0, &mut second);
    assert!(second.topic().is_some() && handed.lock().unwrap().is_empty(), "nobody stretches it again");
}

/// A helper that hangs does not leave a connection open for ever.
#[test]
fn keys_that_never_come_end_the_connection() {
    let mut fake = fake(Mechanism::ScramSha256);
    let login = identity(Mechanism::ScramSha256, "a pass,word=");
    login.help_by(|_| true);
    let mut cluster = cluster(&fake, &login);
    fake.pass(3_500, &mut cluster);
    assert_eq!(fake.closed_by_machine, 1);
}

/// Its broker would close the connection otherwise: the fake panics.
#[test]
fn a_session_is_renewed_on_its_connection_at_85_to_95_percent_of_its_life() {
    for mechanism in Mechanism::ALL {
        let mut fake = fake(mechanism);
        rules(&mut fake).life = Some(Duration::from_secs(10));
        rules(&mut fake).tokens.push("a pass,word=".to_owned());
        let mut cluster = cluster(&fake, &identity(mechanism, "a pass,word="));
        cluster.watch_silence(Duration::from_secs(2));
        fake.pass(8_450, &mut cluster);
        assert_eq!(rules(&mut fake).logins, 1);
        fake.pass(1_100, &mut cluster);
        assert_eq!((rules(&mut fake).logins, fake.connections()), (2, vec![1]));
        fake.pass(100_000, &mut cluster);
        assert!((12..=13).contains(&rules(&mut fake).logins), "{}", rules(&mut fake).logins);
        assert_eq!(fake.closed_by_machine, 0);
    }
}

/// It waits for what is under way, holds back what comes meanwhile, and says so.
#[test]
fn requests_under_way_are_answered_before_a_session_is_renewed() {
    let mut fake = fake(Mechanism::Plain);
    rules(&mut fake).life = Some(Duration::from_secs(10));
    let mut cluster = cluster(&fake, &identity(Mechanism::Plain, "a pass,word="));
    cluster.connect(fake.now, 1, Lane::DATA);
    fake.pass(0, &mut cluster);
    let request = metadata::request(TOPIC);
    fake.mute.push(1);
    fake.pass(8_400, &mut cluster);
    cluster.request(fake.now, NODE, &request, 1, LIMITS).unwrap();
    fake.pass(1_200, &mut cluster);
    assert_eq!(cluster.may_send(NODE, 3), Err(RequestError::Full), "busy, not away");
    assert_eq!(cluster.request(fake.now, NODE, &request, 2, LIMITS), Err(RequestError::NotReady));
    let handshakes = |fake: &Fake| fake.requests.iter().filter(|api_key| **api_key == 17).count();
    assert_eq!(handshakes(&fake), 1, "the next login waits for what is under way");
    fake.mute.clear();
    let changes = cluster.changes();
    fake.pass(0, &mut cluster);
    assert_eq!(cluster.poll_response().map(|response| response.token), Some(1));
    assert_eq!((handshakes(&fake), rules(&mut fake).logins, cluster.may_send(NODE, 3)), (2, 2, Ok(())));
    assert!(cluster.changes() > changes, "who waited looks again");
}

#[test]
fn a_user_that_is_removed_is_refused_at_the_renewal_and_comes_back() {
    let mut fake = fake(Mechanism::ScramSha256);
    rules(&mut fake).life = Some(Duration::from_secs(5));
    let mut cluster = cluster(&fake, &identity(Mechanism::ScramSha256, "a pass,word="));
    cluster.connect(fake.now, 1, Lane::DATA);
    fake.pass(0, &mut cluster);
    let password = rules(&mut fake).passwords.remove("shop").unwrap();
    fake.pass(5_000, &mut cluster);
    assert!(cluster.refusal().is_some_and(|line| line.contains("refuses user shop")), "{:?}", cluster.refusal());
    assert_eq!(cluster.may_send(NODE, 3), Err(RequestError::NotReady));
    rules(&mut fake).passwords.insert("shop".to_owned(), password);
    fake.pass(5_000, &mut cluster);
    assert_eq!((cluster.refusal(), cluster.may_send(NODE, 3)), (None, Ok(())));
}

/// The bootstrap list and the brokers themselves may name one broker differently.
#[test]
fn a_refusal_is_over_when_the_broker_takes_us_under_another_name() {
    let mut fake = fake(Mechanism::Plain);
    let secret = SharedSecret::from("wrong");
    let login = Identity::new(Mechanism::Plain, "shop", secret.clone(), [7; 32]);
    let names = ["alias", "broker"].map(|name| (name.to_owned(), BOOTSTRAP_PORT + 1));
    let config = ClusterConfig {
        bootstrap: names.to_vec(),
        login: Some(login),
        client_id: "test".to_owned(),
        topic: TOPIC.to_owned(),
        seed: 5,
    };
    let mut cluster: Cluster<u32> = Cluster::new(config, fake.now);
    while cluster.refusal().is_none_or(|line| !line.starts_with("alias")) {
        fake.pass(100, &mut cluster);
    }
    secret.set(Secret::new("a pass,word="));
    cluster.connect(fake.now, 1, Lane::DATA);
    fake.pass(60_000, &mut cluster);
    assert_eq!((cluster.refusal(), cluster.topic().is_some()), (None, true));
}

/// Orders come all the time while sessions end: each is in the log once, in its place, and the producer is never out of reach.
#[test]
fn no_record_is_lost_doubled_or_moved_by_renewals() {
    let mut fake = fake(Mechanism::ScramSha256);
    rules(&mut fake).life = Some(Duration::from_secs(2));
    let config = ProducerConfig {
        topic: TOPIC.to_owned(),
        bootstrap: vec![("broker".to_owned(), BOOTSTRAP_PORT + 1)],
        login: Some(identity(Mechanism::ScramSha256, "a pass,word=")),
        client_id: "test".to_owned(),
        linger: Duration::from_micros(500),
        batch_bytes_max: 16 << 10,
        in_flight_max: 5,
        request_timeout: Duration::from_secs(2),
        records_max: 1000,
        record_age_max: Duration::from_secs(3),
        seed: 3,
    };
    let mut producer: Producer<u32> = Producer::new(config, fake.now);
    fake.pass(10, &mut producer);
    assert!(producer.ready());
    let (mut acknowledged, mut tokens) = (Vec::new(), Vec::new());
    for order in 0..10_000_u32 {
        let write = |out: &mut Vec<u8>| out.extend_from_slice(order.to_string().as_bytes());
        producer.append(fake.now, 0, 0, order, write).unwrap();
        // Answers come when the next but one is under way.
        fake.holds = order % 3 != 0;
        fake.pass(1, &mut producer);
        assert!(producer.ready(), "a login that is renewed is no outage");
        while let Some(settled) = producer.poll_settled(&mut tokens) {
            assert_eq!(settled, Settled::Acknowledged);
            acknowledged.append(&mut tokens);
        }
    }
    fake.holds = false;
    fake.pass(100, &mut producer);
    while producer.poll_settled(&mut tokens).is_some() {
        acknowledged.append(&mut tokens);
    }
    let all: Vec<u32> = (0..10_000).collect();
    let logged: Vec<u32> = fake.log(0).iter().map(|value| value.parse().unwrap()).collect();
    assert!(acknowledged == all && logged == all);
    assert!(rules(&mut fake).logins >= 5, "{}", rules(&mut fake).logins);
    assert_eq!((producer.counters().batches_failed, fake.closed_by_machine), (0, 0));
}
