//! What a broker reads at its start: server.properties, and how it logs.

use std::fmt::Write as _;

use super::broker::Broker;
use super::options::KafkaOptions;

pub(super) const LOG4J: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
";

pub(super) fn properties(broker: &Broker, voters: &str, options: &KafkaOptions) -> String {
    let replicas = options.brokers.min(3);
    let mut text = String::new();
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name}={value}").expect("writing to a string cannot fail");
    };
    let own = format!("PLAINTEXT://{}", broker.port.address());
    let (mut listeners, mut advertised) = (vec![own.clone()], vec![own]);
    for proxied in &broker.proxied {
        listeners.push(format!("{}://{}", proxied.listener(), proxied.port.address()));
        advertised.push(format!("{}://{}", proxied.listener(), proxied.proxy.address()));
    }
    if let Some(port) = &broker.encrypted {
        listeners.push(format!("ENCRYPTED://{}", port.address()));
        advertised.push(format!("ENCRYPTED://{}", port.address()));
    }
    if let Some(controller) = &broker.controller {
        listeners.push(format!("CONTROLLER://{}", controller.address()));
    }
    if let Some(login) = &broker.login {
        listeners.push(format!("LOGIN://{}", login.address()));
        advertised.push(format!("LOGIN://{}", login.address()));
    }
    let plain = ["PLAINTEXT", "CONTROLLER", "EDGES", "WORKERS"].map(|listener| format!("{listener}:PLAINTEXT"));
    // Where there are certificates, users log in through TLS.
    let login = if options.tls.is_some() { "LOGIN:SASL_SSL" } else { "LOGIN:SASL_PLAINTEXT" };
    let protocols = format!("{},{login},ENCRYPTED:SSL", plain.join(","));
    set("process.roles", &if broker.controller.is_some() { "broker,controller" } else { "broker" });
    set("node.id", &broker.id);
    set("controller.quorum.voters", &voters);
    set("listeners", &listeners.join(","));
    set("advertised.listeners", &advertised.join(","));
    set("listener.security.protocol.map", &protocols);
    set("controller.listener.names", &"CONTROLLER");
    set("inter.broker.listener.name", &"PLAINTEXT");
    set("log.dirs", &broker.home.join("data").display());
    set("auto.create.topics.enable", &false);
    set("offsets.topic.replication.factor", &replicas);
    set("offsets.topic.num.partitions", &4);
    set("transaction.state.log.replication.factor", &replicas);
    set("transaction.state.log.min.isr", &1);
    set("share.coordinator.state.topic.replication.factor", &replicas);
    set("share.coordinator.state.topic.min.isr", &1);
    set("group.initial.rebalance.delay.ms", &0);
    // A killed member is noticed within the session timeout the worker asks for; nothing here may forbid a short one.
    set("group.min.session.timeout.ms", &1000);
    if let Some(logins) = &options.login {
        let security = "org.apache.kafka.common.security";
        let users = logins.users.iter().map(|(user, password)| format!(" user_{user}=\"{password}\""));
        let jaas = [
            ("plain", format!("{security}.plain.PlainLoginModule required{};", users.collect::<String>())),
            ("scram-sha-256", format!("{security}.scram.ScramLoginModule required;")),
            ("scram-sha-512", format!("{security}.scram.ScramLoginModule required;")),
            ("oauthbearer", format!("{security}.oauthbearer.OAuthBearerLoginModule required;")),
        ];
        for (mechanism, module) in &jaas {
            set(&format!("listener.name.login.{mechanism}.sasl.jaas.config"), module);
        }
        set("listener.name.login.sasl.enabled.mechanisms", &"PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER");
        if let Some(session) = logins.session {
            set("connections.max.reauth.ms", &session.as_millis());
        }
    }
    if let Some(tls) = &options.tls {
        set("ssl.keystore.type", &"PEM");
        set("ssl.keystore.location", &broker.home.join("keystore.pem").display());
        if let Some(clients) = &tls.clients {
            set("ssl.client.auth", &"required");
            set("ssl.truststore.type", &"PEM");
            set("ssl.truststore.location", &clients.display());
        }
    }
    for (name, value) in &options.properties {
        set(name, value);
    }
    text
}
