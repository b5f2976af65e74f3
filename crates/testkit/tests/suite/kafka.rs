//! The kit itself: whatever broker it finds holds what is written, also across a restart.

use cybervault_testkit::{Kafka, Registry};
use std::io::{Read, Write};
use std::net::TcpStream;

use cybervault_testkit::topic::{self, Record};

#[test]
fn what_is_written_is_read_back_with_keys_headers_and_times() {
    let kafka = Kafka::shared();
    let name = format!("{}events", kafka.prefix("testkit"));
    topic::create(kafka.bootstrap(), &[&name], 3, &[("cleanup.policy", "compact")]);
    let written: Vec<Record> = (0..10_000)
        .map(|n| Record {
            partition: Some(n % 3),
            timestamp: Some(1_700_000_000_000 + i64::from(n)),
            headers: vec![("number".to_owned(), n.to_string().into_bytes())],
            ..Record::new(format!("key-{n}"), format!("value-{n}"))
        })
        .collect();
    topic::write(kafka.bootstrap(), &name, written.clone());
    let mut read = topic::read(kafka.bootstrap(), &name);
    read.iter_mut().for_each(|record| record.offset = 0);
    read.sort_by_key(|record| record.timestamp);
    assert_eq!(read, written);
    assert_eq!(read[7].header("number"), Some("7"));
}

#[test]
fn a_broker_of_ones_own_keeps_its_port_and_its_records_across_a_restart() {
    let mut kafka = Kafka::owned();
    let bootstrap = kafka.bootstrap().to_owned();
    topic::create(&bootstrap, &["kept"], 1, &[]);
    topic::write(&bootstrap, "kept", [Record::new("a", "1")]);
    kafka.stop();
    kafka.restart();
    topic::write(&bootstrap, "kept", [Record::new("b", "2")]);
    let values: Vec<Vec<u8>> = topic::read(&bootstrap, "kept").into_iter().map(|record| record.value).collect();
    assert_eq!(values, [b"1", b"2"]);
}

#[test]
fn a_registry_answers_on_confluents_api() {
    let registry = Registry::start();
    let address = registry.url().strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    write!(connection, "GET /{path}/subjects HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[]"), "{answer}");
}
