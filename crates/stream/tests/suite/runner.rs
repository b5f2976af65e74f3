//! The runner against a real Kafka: what it promises through restarts, rebalances, poison and a broker that goes away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use cybervault_stream::{
    BatchLimits, Failure, Follower, Health, KafkaSettings, Outbox, Output, OwnedRecord, Poison, Publisher, Record,
    Runner, RunnerSettings, Stage, Start, State, StateLimits, StreamError, TopicPlan, apply_topics, headers,
};
use cybervault_testkit::{Kafka, PATIENCE, eventually};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer},
};

/// Records of a batch.
const MAX_RECORDS: usize = 500;

/// Numbers the records of each key, by its state: a record lost or seen twice leaves a gap or a repetition.
struct Counting {
    output: Arc<str>,
    /// How often something that it needs is not there: at its first record, and then at every hundredth.
    waits: u32,
    in_batch: usize,
    /// What a panic leaves behind.
    half_done: bool,
}

impl Stage for Counting {
    fn begin_batch(&mut self) {
        self.in_batch = 0;
    }

    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        assert!(!self.half_done, "the stage was told to recover");
        self.in_batch += 1;
        // It would be a dead letter, and missing in the output.
        assert!(self.in_batch <= 2 * MAX_RECORDS, "twice as many while the batch before commits, and no more");
        if let Some(left) = self.waits.checked_sub(1) {
            self.waits = left;
            if left % 100 == 99 {
                return Err(Failure::Unavailable("what it needs is not there".into()));
            }
        }
        let key = record.key.unwrap_or_default();
        let count = state.get(key).and_then(|value| value.try_into().ok()).map_or(0, u64::from_be_bytes) + 1;
        state.put(key, &count.to_be_bytes(), None);
        match record.value {
            b"poison" => return Err(Poison::new("poison", "not to be swallowed").into()),
            b"panic" => {
                self.half_done = true;
                panic!("a record made the stage panic");
            }
            _ => {}
        }
        out.push(Output { topic: &self.output, key, headers: &[] }, |value| {
            value.extend_from_slice(format!("{count} ").as_bytes());
            value.extend_from_slice(record.value);
            Ok(())
        })
    }

    fn recover(&mut self) {
        self.half_done = false;
    }
}

struct Bench {
    kafka: KafkaSettings,
    prefix: String,
}

impl Bench {
    fn new(kafka: &Kafka, test: &str) -> Self {
        let bench = Self { kafka: KafkaSettings::new(kafka.bootstrap()), prefix: kafka.prefix(test) };
        let compact = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
        let plan = |name: &str, config: &BTreeMap<String, String>| TopicPlan {
            name: bench.topic(name).to_string(),
            partitions: 4,
            replication: Some(1),
            config: config.clone(),
        };
        let none = BTreeMap::new();
        let plans = [plan("in", &none), plan("out", &none), plan("dead", &none), plan("state", &compact)];
        apply_topics(&bench.kafka, &plans).unwrap();
        bench
    }

    fn topic(&self, name: &str) -> Arc<str> {
        format!("{}{name}", self.prefix).into()
    }

    fn settings(&self, worker: &str) -> RunnerSettings {
        RunnerSettings {
            kafka: self.kafka.clone(),
            stage: "counting".into(),
            group: format!("{}group", self.prefix),
            transactional_id: format!("{}{worker}", self.prefix),
            member: Some(format!("{}{worker}", self.prefix)),
            inputs: vec![self.topic("in")],
            outputs: vec![self.topic("out")],
            changelog: Some(self.topic("state")),
            dead_letters: self.topic("dead"),
            batch: BatchLimits { max_records: MAX_RECORDS, ..BatchLimits::default() },
            state: StateLimits::default(),
            record_spans: None,
            max_ahead: None,
            shutdown: PATIENCE,
        }
    }

    fn worker(&self, name: &str) -> Worker {
        self.waiting_worker(name, 0)
    }

    /// One whose stage can't go on so often, with a hundred records in between.
    fn waiting_worker(&self, name: &str, waits: u32) -> Worker {
        let (stop, health) = (Arc::new(AtomicBool::new(false)), Health::default());
        let stage = Counting { output: self.topic("out"), waits: waits * 100, in_batch: 0, half_done: false };
        let runner = Runner::new(self.settings(name), stage, &health, stop.clone());
        Worker { stop, health, thread: thread::spawn(|| runner.run()) }
    }

    /// Sends `count` records from number `from` on, spread over 40 keys.
    fn feed(&self, from: u32, count: u32) {
        let publisher = Publisher::new(&self.kafka).unwrap();
        for number in from..from + count {
            let key = format!("key-{}", number % 40);
            publisher.send(&self.topic("in"), key.as_bytes(), number.to_string().as_bytes(), &[], None).unwrap();
        }
        publisher.flush(PATIENCE).unwrap();
    }

    fn read(&self, topic: &str) -> Vec<OwnedRecord> {
        // A busy broker may let a request wait for longer than a client does.
        let mut follower = eventually("a follower", PATIENCE, || {
            Follower::open(&self.kafka, &[&self.topic(topic)], Start::Beginning).ok()
        });
        let mut records = Vec::new();
        while !follower.is_at_end() {
            records.extend(follower.next(Duration::from_millis(100)).unwrap());
        }
        records
    }

    /// Waits until `count` records are out, then checks that each key's are numbered without gap or repetition and in
    /// the order of their sending.
    fn check_output(&self, count: usize) {
        let found =
            eventually("all output", PATIENCE, || Some(self.read("out")).filter(|records| records.len() >= count));
        let mut seen: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
        for record in &found {
            let text = String::from_utf8(record.value.clone()).unwrap();
            let (number, sent) = text.split_once(' ').unwrap();
            let (number, sent): (u64, u64) = (number.parse().unwrap(), sent.parse().unwrap());
            let last = seen.entry(record.key.clone().unwrap()).or_insert((0, 0));
            assert_eq!(number, last.0 + 1, "{:?}", record.key);
            assert!(number == 1 || sent > last.1, "{:?} out of order", record.key);
            *last = (number, sent);
        }
        assert_eq!(found.len(), count);
    }
}

struct Worker {
    stop: Arc<AtomicBool>,
    health: Health,
    thread: JoinHandle<Result<(), StreamError>>,
}

impl Worker {
    fn wait_ready(&self) {
        eventually("a ready worker", PATIENCE, || self.health.obstacles().is_empty().then_some(()));
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
    }
}

#[test]
fn state_outlives_the_worker_and_every_record_counts_once() {
    let bench = Bench::new(Kafka::shared(), "restart");
    for round in 0..3 {
        let worker = bench.worker("w");
        bench.feed(round * 4_000, 4_000);
        bench.check_output((round as usize + 1) * 4_000);
        worker.stop();
    }
}

#[test]
fn workers_come_and_go_under_load_and_nothing_is_lost_or_doubled() {
    let bench = Bench::new(Kafka::shared(), "rebalance");
    let first = bench.worker("w1");
    first.wait_ready();
    let feeder = thread::spawn({
        let bench = Bench { kafka: bench.kafka.clone(), prefix: bench.prefix.clone() };
        move || (0..20).for_each(|round| bench.feed(round * 2_000, 2_000))
    });
    let others = [bench.worker("w2"), bench.worker("w3")];
    others.iter().for_each(Worker::wait_ready);
    others.into_iter().for_each(Worker::stop);
    feeder.join().unwrap();
    bench.check_output(40_000);
    first.stop();
}

#[test]
fn poison_goes_to_the_dead_letters_untouched_and_its_neighbours_go_through() {
    let bench = Bench::new(Kafka::shared(), "poison");
    let publisher = Publisher::new(&bench.kafka).unwrap();
    let sent: [&[u8]; 5] = [b"1", b"poison", b"2", b"panic", b"3"];
    for value in sent {
        publisher.send(&bench.topic("in"), b"key", value, &[("tenant_id", b"acme")], None).unwrap();
    }
    publisher.flush(PATIENCE).unwrap();
    let worker = bench.worker("w");
    let dead =
        eventually("two dead letters", PATIENCE, || Some(bench.read("dead")).filter(|records| records.len() == 2));
    for (letter, (value, reason, offset)) in dead.iter().zip([("poison", "poison", "1"), ("panic", "panic", "3")]) {
        assert_eq!(letter.value, value.as_bytes());
        assert_eq!(letter.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(letter.header(headers::REASON), Some(reason));
        assert_eq!(letter.header(headers::OFFSET), Some(offset));
        assert_eq!(letter.header(headers::TOPIC), Some(&*bench.topic("in")));
        assert_eq!(letter.header("tenant_id"), Some("acme"));
    }
    eventually("the good records", PATIENCE, || (bench.read("out").len() == 3).then_some(()));
    worker.stop();
}

#[test]
fn records_for_which_something_is_not_there_come_again_and_none_is_passed_over() {
    // Once with nothing in the batch before, and in the middle of it.
    for waits in [1, 5] {
        let bench = Bench::new(Kafka::shared(), &format!("waits-{waits}"));
        bench.feed(0, 4_000);
        let worker = bench.waiting_worker("w", waits);
        bench.check_output(4_000);
        worker.stop();
    }
}

#[test]
fn a_broker_that_goes_away_and_comes_back_costs_nothing_but_time() {
    let mut kafka = Kafka::owned();
    let bench = Bench::new(&kafka, "outage");
    let worker = bench.worker("w");
    worker.wait_ready();
    bench.feed(0, 5_000);
    bench.check_output(5_000);
    kafka.stop();
    eventually("a worker that says it is not ready", PATIENCE, || {
        (!worker.health.obstacles().is_empty()).then_some(())
    });
    kafka.restart();
    bench.feed(5_000, 5_000);
    bench.check_output(10_000);
    worker.wait_ready();
    worker.stop();
}

#[test]
fn a_transaction_that_nobody_ends_is_told_and_its_end_is_enough() {
    let bench = Bench::new(Kafka::shared(), "undecided");
    let id = format!("{}somebody", bench.prefix);
    let somebody: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &bench.kafka.bootstrap)
        .set("transactional.id", &id)
        .set("transaction.timeout.ms", "900000")
        .create()
        .unwrap();
    somebody.init_transactions(PATIENCE).unwrap();
    somebody.begin_transaction().unwrap();
    somebody.send(BaseRecord::to(&bench.topic("state")).partition(0).key("key").payload("open")).unwrap();
    somebody.flush(PATIENCE).unwrap();
    bench.feed(0, 1_000);
    let worker = bench.worker("w");
    eventually("the open transaction is told", PATIENCE, || {
        worker.health.obstacles().iter().any(|obstacle| obstacle.contains("partition 0, has been open")).then_some(())
    });
    somebody.abort_transaction(PATIENCE).unwrap();
    bench.check_output(1_000);
    worker.stop();
}

#[test]
fn a_missing_topic_is_named() {
    let bench = Bench::new(Kafka::shared(), "missing");
    let settings = RunnerSettings { outputs: vec![bench.topic("nowhere")], ..bench.settings("w") };
    let stage = Counting { output: bench.topic("nowhere"), waits: 0, in_batch: 0, half_done: false };
    let error = Runner::new(settings, stage, &Health::default(), Arc::default()).run().unwrap_err();
    assert!(matches!(&error, StreamError::MissingTopic(topic) if **topic == *bench.topic("nowhere")), "{error}");
}
