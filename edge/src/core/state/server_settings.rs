//! What an operator can have set wrong in Redis and Kafka: which settings matter, and what each is a risk to.
//!
//! The guarantees rest on these settings (docs/GUARANTEES.md), and nothing else would tell that one is wrong before it
//! is needed. Never asks a server (`servers/settings.rs` does).

use std::collections::BTreeMap;

use flux_protocol::kafka::metadata::TopicId;
use flux_protocol::kafka::settings::TopicSettings;
use flux_protocol::resp::Reply;

use crate::counters::finding::Finding;
use crate::redis::refusals::words;

/// The settings of Redis that are asked for by name. A user who may not ask is told all of them but `appendfsync` by `INFO`.
pub(crate) const REDIS_SETTINGS: [&str; 3] = ["maxmemory-policy", "appendonly", "appendfsync"];
/// The settings of the topic that are asked for by name.
pub(crate) const TOPIC_SETTINGS: [&str; 6] = [
    "min.insync.replicas",
    "retention.ms",
    "retention.bytes",
    "unclean.leader.election.enable",
    "cleanup.policy",
    "message.timestamp.type",
];

/// What was asked of a Redis, and of which.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    Info,
    /// `CONFIG GET`.
    Settings,
}

/// Whose settings were looked at last.
#[derive(Debug, Default)]
pub(crate) struct ServerSettings {
    pub(crate) info: String,
    pub(crate) run_id: String,
    pub(crate) topic: Option<TopicId>,
}

pub(crate) fn report(server: &str, findings: &[Finding]) {
    for finding in findings {
        let (setting, words) = (finding.setting, finding.in_words());
        match &finding.value {
            Some(value) => tracing::warn!(setting, value, "{server}: {words}"),
            None => tracing::info!(setting, "{server} {words}"),
        }
    }
}

/// Names and values of an answer to `CONFIG GET`; Redis' words where it was refused or the command is renamed.
pub(crate) fn pairs(reply: Reply<'_>) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    if let Some(mut items) = reply.items().map_err(words)? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let (Some(name), Some(value)) = (items.next_bulk(), items.next_bulk()) {
            pairs.insert(text(name), text(value));
        }
    }
    Ok(pairs)
}

/// A field of `INFO`.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// `settings`: the answer to `CONFIG GET`, or why there is none.
pub(crate) fn judge_redis(info: &str, settings: &Result<BTreeMap<String, String>, String>) -> Vec<Finding> {
    let set = |name: &str| settings.as_ref().ok()?.get(name).map(String::as_str);
    let unread = settings.as_ref().err();
    let mut findings = Vec::new();
    let mut judge = |setting, value: Option<&str>, is_good: &dyn Fn(&str) -> bool, risk, remedy| {
        if value.is_none_or(|value| !is_good(value)) {
            let unread = unread.filter(|_| value.is_none()).cloned();
            findings.push(Finding { setting, value: value.map(str::to_owned), unread, risk, remedy });
        }
    };
    let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    judge(
        "redis_version",
        info_field(info, "redis_version"),
        &|version| major(version).is_some_and(|major| major >= 7),
        "the scripts need Redis 7.0 or Valkey 7.2",
        "install one of them",
    );
    judge(
        "maxmemory-policy",
        set("maxmemory-policy").or(info_field(info, "maxmemory_policy")),
        &|policy| policy == "noeviction",
        "a full memory would throw away stock, orders and idempotency records",
        "set maxmemory-policy noeviction",
    );
    let aof = info_field(info, "aof_enabled").map(|enabled| if enabled == "1" { "yes" } else { "no" });
    let append_only = set("appendonly").or(aof);
    judge(
        "appendonly",
        append_only,
        &|value| value == "yes",
        "a restart loses every order that Kafka has not acknowledged, a 202 included",
        "set appendonly yes",
    );
    if append_only == Some("yes") {
        judge(
            "appendfsync",
            set("appendfsync"),
            &|value| matches!(value, "everysec" | "always"),
            "a power failure may lose half a minute of reservations",
            "set appendfsync everysec or always",
        );
    }
    // Without a replica there is nothing to wait for.
    if info_field(info, "connected_slaves").is_some_and(|replicas| replicas != "0") {
        // The field stands there where both min-replicas-to-write and min-replicas-max-lag are above 0: Redis holds to the one only
        // with the other.
        let is_held_to = info_field(info, "min_slaves_good_slaves").is_some();
        judge(
            "min-replicas-to-write",
            Some(if is_held_to { "on" } else { "off" }),
            &|value| value == "on",
            "a master cut off from its replicas goes on selling what a failover then loses",
            "set min-replicas-to-write 1, and min-replicas-max-lag above 0",
        );
    }
    findings
}

pub(crate) fn judge_topic(told: &TopicSettings) -> Vec<Finding> {
    let set = |name: &str| told.values.as_ref().ok()?.get(name).map(String::as_str);
    let mut findings = Vec::new();
    let mut judge = |setting, value: Option<&str>, is_good: &dyn Fn(&str) -> bool, risk, remedy| {
        if value.is_none_or(|value| !is_good(value)) {
            findings.push(Finding { setting, value: value.map(str::to_owned), unread: None, risk, remedy });
        }
    };
    judge(
        "acl",
        told.may_write.map(|may_write| if may_write { "WRITE" } else { "not WRITE" }),
        &|may| may == "WRITE",
        "no order of this edge's user is taken, and each waits in the outbox",
        "permit Write on the topic",
    );
    let replicas = Some(told.replicas.to_string()).filter(|_| told.replicas > 0);
    judge(
        "replication.factor",
        replicas.as_deref(),
        &|_| told.replicas >= 2,
        "a broker's disk that is lost takes accepted orders with it, a 200 included",
        "keep three copies of the topic",
    );
    if let Err(why) = &told.values {
        findings.push(Finding {
            setting: "the topic's configuration",
            value: None,
            unread: Some(why.clone()),
            risk: "whether the topic keeps its records is not known",
            remedy: "permit DescribeConfigs on the topic",
        });
        return findings;
    }
    if told.replicas >= 2 {
        judge(
            "min.insync.replicas",
            set("min.insync.replicas"),
            &|value| value.parse::<u32>().is_ok_and(|value| value >= 2),
            "an order may be acknowledged by a single broker, and lost with it",
            "set min.insync.replicas to one less than the copies, 2 at least",
        );
    }
    judge(
        "retention.ms",
        set("retention.ms"),
        &|value| value == "-1",
        "orders that no worker has stored in that time are deleted",
        "set retention.ms -1",
    );
    judge(
        "retention.bytes",
        set("retention.bytes"),
        &|value| value == "-1",
        "orders that no worker has stored before the topic holds so much are deleted",
        "set retention.bytes -1",
    );
    judge(
        "unclean.leader.election.enable",
        set("unclean.leader.election.enable"),
        &|value| value == "false",
        "a broker that lags behind may become leader and lose accepted orders",
        "set unclean.leader.election.enable false",
    );
    judge(
        "cleanup.policy",
        set("cleanup.policy"),
        &|value| value == "delete",
        "compaction throws away all but the last of the records, which have no key",
        "set cleanup.policy delete",
    );
    judge(
        "message.timestamp.type",
        set("message.timestamp.type"),
        &|value| value == "LogAppendTime",
        "a broker refuses records whose clock is an hour ahead of its own; they are then sent without a time",
        "set message.timestamp.type LogAppendTime",
    );
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.2.4\r\nrun_id:ab\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                        # Persistence\r\naof_enabled:1\r\n# Replication\r\nconnected_slaves:0\r\n";

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Redis has told these.
    fn told(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        Ok(map(pairs))
    }

    fn found(findings: &[Finding]) -> Vec<(&'static str, Option<&str>)> {
        findings.iter().map(|finding| (finding.setting, finding.value.as_deref())).collect()
    }

    #[test]
    fn a_redis_set_as_it_should_be_is_not_warned_of() {
        let good = told(&[("maxmemory-policy", "noeviction"), ("appendonly", "yes"), ("appendfsync", "everysec")]);
        assert_eq!(found(&judge_redis(INFO, &good)), []);
        let replicated = INFO.replace("slaves:0", "slaves:1");
        let held = format!("{replicated}min_slaves_good_slaves:1\r\n");
        assert_eq!(found(&judge_redis(&held, &good)), []);
    }

    /// Redis writes `min_slaves_good_slaves` where both min-replicas-to-write and min-replicas-max-lag are above 0, and holds to
    /// the former only then: `CONFIG GET` tells less.
    #[test]
    fn whether_writes_wait_for_replicas_is_told_by_info() {
        let replicated = INFO.replace("slaves:0", "slaves:1");
        let fsync = told(&[("appendfsync", "everysec")]);
        let off = [("min-replicas-to-write", Some("off"))];
        assert_eq!(found(&judge_redis(&replicated, &fsync)), off);
        // With a lag of 0.
        let without_lag = told(&[("appendfsync", "everysec"), ("min-replicas-to-write", "1")]);
        assert_eq!(found(&judge_redis(&replicated, &without_lag)), off);
        for good_now in ["0", "1"] {
            let held = format!("{replicated}min_slaves_good_slaves:{good_now}\r\n");
            assert_eq!(found(&judge_redis(&held, &fsync)), []);
        }
    }

    #[test]
    fn each_setting_of_redis_that_loses_something_is_named() {
        let bad = told(&[("maxmemory-policy", "allkeys-lru"), ("appendonly", "yes"), ("appendfsync", "no")]);
        let info = INFO.replace("7.2.4", "6.2.14").replace("slaves:0", "slaves:2");
        let expected = [
            ("redis_version", Some("6.2.14")),
            ("maxmemory-policy", Some("allkeys-lru")),
            ("appendfsync", Some("no")),
            ("min-replicas-to-write", Some("off")),
        ];
        assert_eq!(found(&judge_redis(&info, &bad)), expected);
        assert_eq!(found(&judge_redis(INFO, &told(&[("appendonly", "no")]))), [("appendonly", Some("no"))]);
    }

    #[test]
    fn what_config_does_not_tell_is_read_from_info_or_said_to_be_unknown() {
        let denied = Err("NOPERM User shop has no permissions to run the 'config|get' command".to_owned());
        let untold = judge_redis(INFO, &denied);
        assert_eq!(found(&untold), [("appendfsync", None)]);
        assert_eq!(
            untold[0].in_words(),
            "does not say what appendfsync is, since NOPERM User shop has no permissions to run the 'config|get' command: look \
             yourself, and set appendfsync everysec or always"
        );
        let off = INFO.replace("aof_enabled:1", "aof_enabled:0").replace("noeviction", "volatile-lru");
        let expected = [("maxmemory-policy", Some("volatile-lru")), ("appendonly", Some("no"))];
        assert_eq!(found(&judge_redis(&off, &Ok(BTreeMap::new()))), expected);
        let nothing = [("redis_version", None), ("maxmemory-policy", None), ("appendonly", None)];
        assert_eq!(found(&judge_redis("", &Ok(BTreeMap::new()))), nothing);
    }

    #[test]
    fn a_topic_is_judged_by_its_copies_and_its_settings() {
        let good = map(&[
            ("min.insync.replicas", "2"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("unclean.leader.election.enable", "false"),
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "LogAppendTime"),
        ]);
        let judged = |replicas, values: &BTreeMap<String, String>| {
            let told = TopicSettings { replicas, may_write: Some(true), values: Ok(values.clone()) };
            judge_topic(&told).into_iter().map(|finding| (finding.setting, finding.value)).collect::<Vec<_>>()
        };
        assert_eq!(judged(3, &good), []);
        assert_eq!(judged(1, &good), [("replication.factor", Some("1".to_owned()))]);
        for (setting, value) in [
            ("min.insync.replicas", "1"),
            ("retention.ms", "604800000"),
            ("retention.bytes", "1073741824"),
            ("unclean.leader.election.enable", "true"),
            ("cleanup.policy", "compact,delete"),
            ("message.timestamp.type", "CreateTime"),
        ] {
            let mut bad = good.clone();
            bad.insert(setting.to_owned(), value.to_owned());
            assert_eq!(judged(3, &bad), [(setting, Some(value.to_owned()))]);
        }
        // Nobody is told to set what nobody has read.
        let why = "user shop lacks the right DescribeConfigs on topic orders".to_owned();
        let refused = judge_topic(&TopicSettings { replicas: 3, may_write: Some(true), values: Err(why) });
        let words: Vec<String> = refused.iter().map(Finding::in_words).collect();
        assert_eq!(
            words,
            [
                "does not say what the topic's configuration is, since user shop lacks the right DescribeConfigs on topic orders: look \
              yourself, and permit DescribeConfigs on the topic"
            ]
        );
        let reader = judge_topic(&TopicSettings { replicas: 3, may_write: Some(false), values: Ok(good) });
        assert_eq!(found(&reader), [("acl", Some("not WRITE"))]);
    }
}
