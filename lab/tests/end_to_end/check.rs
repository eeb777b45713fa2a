//! `flux-edge check` on real servers: what it says of those that are well, of those set wrong, and of those that are not there.

use flux_lab::control::Controlled;
use flux_lab::deployment::{Deployment, DeploymentOptions};
use flux_lab::programs::{self, Ran};

use crate::wait_until;

/// Servers, and a worker that makes the topic.
fn servers() -> Deployment {
    Deployment::start(DeploymentOptions { edges: 0, workers: 1, ..DeploymentOptions::default() }).expect("servers")
}

fn check(deployment: &Deployment, more: &[(&str, &str)], within: &str) -> Ran {
    let mut environment = deployment.worker_environment();
    for (name, value) in more {
        environment.retain(|(other, _)| other != name);
        environment.push(((*name).to_owned(), (*value).to_owned()));
    }
    let edge = programs::edge_binary().expect("flux-edge is built");
    programs::run_to_end(&edge, &["check", "--within", within], &environment).expect("it runs")
}

/// The lines that begin with `verdict`.
fn lines<'a>(ran: &'a Ran, verdict: &str) -> Vec<&'a str> {
    ran.output.lines().filter(|line| line.split_whitespace().next() == Some(verdict)).collect()
}

#[test]
fn each_server_and_each_thing_that_is_wrong_has_a_line_and_nothing_is_written() {
    let mut deployment = servers();
    // Whatever order an operator starts things in: the answer is that of the moment.
    wait_until("the topic is there", || lines(&check(&deployment, &[], "60s"), "DOWN").is_empty());
    let keys = |deployment: &Deployment| -> u64 {
        redis::cmd("DBSIZE").query(&mut deployment.redis.connection().expect("Redis")).expect("a number")
    };
    let before = keys(&deployment);
    let ran = check(&deployment, &[], "60s");
    // One broker keeps one copy.
    assert_eq!(ran.code, Some(1), "{}{}", ran.output, ran.errors);
    assert!(lines(&ran, "ok").iter().any(|line| line.contains("Redis") && line.contains("lets orders through")));
    assert!(lines(&ran, "ok").iter().any(|line| line.contains("Kafka") && line.contains("have leaders")));
    assert!(lines(&ran, "RISK").iter().any(|line| line.contains("replication.factor is 1")), "{}", ran.output);
    assert!(lines(&ran, "RISK").iter().all(|line| !line.contains("its user may not")), "{}", ran.output);
    assert_eq!(keys(&deployment), before, "it has written something");

    let user = ["SETUSER", "narrow", "on", ">secret", "~*", "&*", "+@all", "-xadd", "-sadd"];
    let mut redis = deployment.redis.connection().expect("Redis");
    redis::cmd("ACL").arg(&user).exec(&mut redis).expect("a user");
    let narrow = format!("redis://narrow:secret@{}", deployment.redis.address());
    let ran = check(&deployment, &[("FLUX_REDIS", &narrow)], "60s");
    assert_eq!(ran.code, Some(1));
    let risks = lines(&ran, "RISK").join("\n");
    assert!(risks.contains("lets no order through: its user may not XADD"), "{}", ran.output);
    assert!(risks.contains("without SADD product:") && risks.contains("no sale is opened"), "{}", ran.output);
    assert!(!ran.output.contains("secret") && !ran.errors.contains("secret"), "{}{}", ran.output, ran.errors);

    deployment.redis.stop().expect("Redis ends");
    let ran = check(&deployment, &[("FLUX_TOPIC", "nowhere")], "2s");
    assert_eq!(ran.code, Some(3), "{}", ran.output);
    let down = lines(&ran, "DOWN").join("\n");
    assert!(down.contains("Redis") && down.contains("refused"), "{}", ran.output);
    assert!(down.contains("Kafka") && down.contains("topic nowhere"), "a topic that nobody has made: {}", ran.output);
}
