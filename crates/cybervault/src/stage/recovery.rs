//! A panic at any step costs its own record and nothing else.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cybervault_model::{Encoding, Timestamp, fault};
use cybervault_stream::{Headers, Outbox, Record, Stage, State, StateLimits};

use super::{Assess, AssessTopics, TenantLabels};
use crate::{
    config::{Config, Emit},
    content::Sources,
    live::Live,
    shares::ShareBoard,
    sources::SourceBoard,
};

const NOON: i64 = 1_795_608_000_000;

/// Good events after each panic.
const GOOD: usize = 10_000;

/// Enough events for all to be known that is kept of earlier ones.
const BEFORE: usize = 700;

/// The steps, and after how many times a step fails.
const STEPS: [(&str, u32); 12] = [
    ("json.learn", 0),
    ("json.follow", 0),
    ("json.follow", 4),
    ("matcher.see", 0),
    ("matcher.see", 5),
    ("matcher.seen", 0),
    ("matcher.answer", 0),
    ("matcher.answer", 7),
    ("matcher.later", 0),
    ("matcher.decided", 0),
    ("assess.written", 0),
    ("assess.written", 1),
];

/// Rules that ask for what is answered at once, later, together and alone.
const RULES: &str = r#"
title: A text, an expression, and texts that no rule waits for
logsource: {product: windows, category: process_creation}
detection:
  sel: {Image|endswith: '\whoami.exe', CommandLine|re: 'all [0-9]*7$'}
  other: {CommandLine|contains: [' /all', ' /priv', ' /groups', ' /upn', ' /fqdn', ' /logonid', ' /user', ' /claims', ' /fo']}
  condition: sel and other
level: high
---
title: Networks
logsource: {product: windows, category: network_connection}
detection:
  sel: {Initiated: true}
  net: {DestinationIp|cidr: [10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24]}
  not_high: {DestinationPort|gt: 50000}
  condition: sel and net and not not_high
level: medium
---
title: Keywords
logsource: {product: windows}
detection:
  words: [mimikatz, 'user*3']
  condition: words
level: low
---
title: Everybody's tool
logsource: {product: windows, category: network_connection}
detection:
  sel: {Image|re: '[1-9]{2}\.exe$', DestinationPort: [11, 22, 33, 1111]}
  condition: sel
"#;

/// Events of several forms, some with findings; the keys of every fifth come in another order each time.
fn event(number: usize) -> String {
    let host = number % 17;
    match number % 5 {
        0 => format!(
            r#"{{"tenant_id":"acme-health","EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"ws-{host}",
            "Image":"C:\\Windows\\System32\\whoami.exe","CommandLine":"whoami /all {number}","User":"ACME\\u{host}",
            "ParentImage":"C:\\Windows\\System32\\cmd.exe","ProcessId":{number}}}"#
        ),
        1 => format!(
            r#"{{"tenant_id":"acme-health","EventID":3,"Channel":"Microsoft-Windows-Sysmon/Operational","Computer":"ws-{host}",
            "Image":"C:\\x\\{number}.exe","DestinationIp":"10.0.{host}.{}","DestinationPort":{},"Initiated":true}}"#,
            number % 250,
            number % 60_000
        ),
        2 => format!(
            r#"{{"tenant_id":"acme-health","type":"endpoint_telemetry","payload":{{"hostname":"ws-{host}","user":"ACME\\eve",
            "process_name":"svchost.exe","process_path":"C:\\Users\\eve\\svchost.exe","signed":false,
            "network_connections":[{{"dst_ip":"198.51.100.{}","port":4444,"protocol":"TCP"}}]}}}}"#,
            number % 250
        ),
        3 => format!(
            r#"{{"tenant_id":"acme-health","EventID":4104,"Channel":"Microsoft-Windows-PowerShell/Operational","Computer":"ws-{host}",
            "ScriptBlockText":"Get-Item {number}\nInvoke-Mimikatz -DumpCreds\nGet-Item {host}"}}"#
        ),
        _ => {
            let mut parts = [
                format!(r#""EventID":{}"#, 4624 + number % 2),
                r#""Channel":"Security""#.to_owned(),
                format!(r#""Computer":"dc-{host}""#),
                format!(r#""IpAddress":"192.0.2.{}""#, number % 250),
                format!(r#""TargetUserName":"user{number}""#),
                r#""tenant_id":"acme-health""#.to_owned(),
            ];
            parts.rotate_left(number % 6);
            format!("{{{}}}", parts.join(","))
        }
    }
}

struct Worker {
    stage: Assess,
    state: State,
}

impl Worker {
    fn new(live: &Arc<Live>) -> Self {
        let topics = AssessTopics {
            assessments: "assessments".into(),
            rejections: "rejections".into(),
            usage: "usage".into(),
            signals: "signals".into(),
        };
        let labels = (TenantLabels::new(2), SourceBoard::default());
        let unpacker = Config::default().limits.unpacker();
        let stage = Assess::new(
            live.clone(),
            unpacker,
            topics,
            (Encoding::Json, Emit::Findings),
            labels,
            ShareBoard::default(),
        );
        Self { stage, state: State::new(StateLimits::default()) }
    }

    /// Processes an event as the runner does; what was written, or `None` where the stage panicked and was told to recover.
    fn process(&mut self, number: usize) -> Option<Vec<u8>> {
        let value = event(number);
        let record = Record {
            topic: "telemetry.events",
            partition: 0,
            offset: i64::try_from(number).unwrap(),
            timestamp: Timestamp::from_millis(NOON + 1000 * i64::try_from(number).unwrap()),
            key: Some(b"acme-health"),
            value: value.as_bytes(),
            is_tombstone: false,
            headers: Headers::new(&[]),
        };
        let Self { stage, state } = self;
        let mut out = Outbox::default();
        match catch_unwind(AssertUnwindSafe(|| stage.process(&record, state, &mut out))) {
            Ok(processed) => {
                processed.unwrap();
                // What is told of use counts the event that panicked, too.
                let results = out.records().filter(|(topic, ..)| *topic != "usage");
                Some(results.flat_map(|(_, key, value)| [key, value.unwrap()].concat()).collect())
            }
            Err(_) => {
                stage.recover();
                None
            }
        }
    }
}

#[test]
fn a_panic_at_any_step_changes_nothing_of_ten_thousand_good_events_after_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    let config = Config { rules_dir: Some(folder.path().to_owned()), ..Config::default() };
    let live = Arc::new(Live::load(&config, Sources::of(&config, true).unwrap()).unwrap());
    let mut plain = Worker::new(&live);
    let expected: Vec<_> = (0..BEFORE + GOOD).map(|number| plain.process(number)).collect();
    assert!(expected.iter().flatten().filter(|written| !written.is_empty()).count() > GOOD / 10);
    for (step, times) in STEPS {
        let mut worker = Worker::new(&live);
        let mut number = 0;
        if step != "json.learn" {
            (0..BEFORE).for_each(|number| drop(worker.process(number)));
            number = BEFORE - 5;
        }
        fault::arm(step, times);
        // Some steps are not come to by every event.
        let panicked = (number..number + 500).find(|number| worker.process(*number).is_none());
        assert!(!fault::disarm() && panicked.is_some(), "{step} {times}: no event came to this step");
        for (number, expected) in expected.iter().enumerate().skip(BEFORE).take(GOOD) {
            assert!(worker.process(number) == *expected, "{step} {times}: event {number} came out otherwise");
        }
    }
}
