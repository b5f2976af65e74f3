//! Whatever goes wrong goes by, and costs nothing but time: brokers that die or hang, workers that die or stop for a while, batches
//! made to hurt. `CHAOS_ROUNDS` and `CHAOS_SEED` make it longer, or other (`make chaos`); `CHAOS_AWAY_MS` is how long a
//! broker stays away. `CHAOS_FAULT` names the one fault that every round shall have.

use std::{
    env,
    fs::File,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use cybervault_testkit::{
    Kafka, Worker, eventually, poll,
    topic::{self, Record},
};
use serde_json::json;

use crate::support::{Fleet, PATIENCE, assert_same_assessments, samples, score, unlimited};

const EVENTS: u64 = 3_000;
const TENANTS: u64 = 20;
/// Longer than a member of the group may be silent.
const PAUSE: Duration = Duration::from_secs(9);

/// What is done to the fleet.
#[derive(Clone, Copy, Debug)]
enum Fault {
    BrokerDies,
    BrokerHangs,
    WorkerDies,
    WorkerPausesAndAnotherTakesItsPlace,
    BatchesGrowWithoutBound,
}

const FAULTS: [Fault; 5] = [
    Fault::BrokerDies,
    Fault::BatchesGrowWithoutBound,
    Fault::WorkerPausesAndAnotherTakesItsPlace,
    Fault::BrokerHangs,
    Fault::WorkerDies,
];

/// Numbers that look random and are the same on every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pause(&mut self) {
        thread::sleep(Duration::from_millis(50 + self.below(700)));
    }
}

fn set(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

struct Chaos {
    kafka: Kafka,
    fleet: Fleet,
    random: Random,
    samples: Vec<serde_json::Value>,
    events: File,
    sent: usize,
    bombs: usize,
    away: Duration,
    workers: Vec<(&'static str, Worker)>,
}

/// Small batches make for more transactions to be caught in; an assessment an event leaves none unaccounted for.
const SETTINGS: [&str; 3] = ["batch.max_records=500", "emit=all", "limits.max_lone_batch_bytes=68000000"];

impl Chaos {
    fn send(&mut self, count: u64) {
        let mut records = Vec::new();
        for _ in 0..count {
            let mut event = self.samples[self.sent % self.samples.len()].clone();
            let tenant = format!("tenant-{:02}", self.random.below(TENANTS));
            event["event_id"] = json!(format!("event-{}", self.sent));
            event["tenant_id"] = json!(tenant);
            let value = serde_json::to_vec(&event).unwrap();
            self.events.write_all(&value).unwrap();
            self.events.write_all(b"\n").unwrap();
            records.push(Record::new(tenant, value));
            self.sent += 1;
        }
        self.fleet.send(records);
    }

    fn inflict(&mut self, fault: Fault) {
        let at = usize::try_from(self.random.below(self.workers.len() as u64)).unwrap();
        self.random.pause();
        match fault {
            Fault::BrokerDies => {
                self.kafka.kill();
                thread::sleep(self.away);
                self.kafka.restart();
            }
            Fault::BrokerHangs => {
                self.kafka.signal("STOP");
                thread::sleep(self.away);
                self.kafka.signal("CONT");
            }
            Fault::WorkerDies => {
                let (name, worker) = &mut self.workers[at];
                worker.kill();
                *worker = self.fleet.worker(name, &SETTINGS);
            }
            Fault::WorkerPausesAndAnotherTakesItsPlace => {
                let (name, paused) = &mut self.workers[at];
                paused.signal("STOP");
                let mut second = self.fleet.worker(name, &SETTINGS);
                thread::sleep(PAUSE);
                paused.signal("CONT");
                // Two of one name: one of them gives up, and says why.
                eventually("one of two workers of one name gives up", PATIENCE, || {
                    (paused.exited().is_some() || second.exited().is_some()).then_some(())
                });
                if paused.exited().is_some() {
                    *paused = second;
                }
            }
            Fault::BatchesGrowWithoutBound => {
                let codec = ["zstd", "gzip", "lz4"][usize::try_from(self.random.below(3)).unwrap()];
                let tenant = format!("tenant-{:02}", self.random.below(TENANTS));
                let topic = self.fleet.topic("telemetry.events");
                let bomb = Record::new(tenant, vec![b' '; 150_000_000]);
                topic::write_one_batch(&self.fleet.bootstrap, &topic, codec, [bomb]);
                self.bombs += 1;
            }
        }
    }

    /// Waits until all that was sent is assessed.
    fn catch_up(&self) {
        let mut found = 0;
        let caught_up = poll(PATIENCE * 2, || {
            found = self.fleet.read("threat.assessments").len();
            (found >= self.sent).then_some(())
        });
        assert!(caught_up.is_some() && found == self.sent, "{found} of {} assessed: {}", self.sent, self.logs());
    }

    fn logs(&self) -> String {
        self.workers.iter().map(|(name, worker)| format!("\n{name}:\n{}", worker.log())).collect()
    }
}

#[test]
fn whatever_goes_wrong_goes_by_and_costs_nothing_but_time() {
    let (rounds, seed) = (set("CHAOS_ROUNDS", FAULTS.len() as u64), set("CHAOS_SEED", 1));
    eprintln!("chaos: {rounds} rounds, seed {seed}");
    let kafka = Kafka::owned();
    let tenants: Vec<String> = (0..TENANTS).map(|n| format!("tenant-{n:02}")).collect();
    let fleet = Fleet::on(&kafka, "chaos", &unlimited(tenants.iter().map(String::as_str)));
    let file = fleet.path("events.ndjson");
    let workers = ["w1", "w2"].map(|name| (name, fleet.worker(name, &SETTINGS))).into();
    let away = Duration::from_millis(set("CHAOS_AWAY_MS", 3_000));
    let events = File::create(&file).unwrap();
    let (samples, random) = (samples(), Random(seed));
    let faults: Vec<Fault> = match env::var("CHAOS_FAULT") {
        Ok(name) => vec![*FAULTS.iter().find(|fault| format!("{fault:?}") == name).expect("a fault of this name")],
        Err(_) => FAULTS.into(),
    };
    let mut chaos = Chaos { kafka, fleet, random, samples, events, sent: 0, bombs: 0, away, workers };
    chaos.send(EVENTS);
    chaos.catch_up();
    for round in 0..rounds {
        let fault = faults[usize::try_from(round).unwrap() % faults.len()];
        chaos.send(EVENTS);
        chaos.inflict(fault);
        let since = Instant::now();
        chaos.send(EVENTS / 10);
        chaos.catch_up();
        eprintln!("chaos: round {round}, {fault:?}: caught up after {:.1} s", since.elapsed().as_secs_f64());
        for (name, worker) in &chaos.workers {
            assert_eq!(Fleet::answer(worker, "/livez"), "alive\n", "{name}: {}", worker.log());
        }
    }
    let expected = score(&file, &["--all"]);
    assert_same_assessments(&expected, &chaos.fleet.read("threat.assessments"));
    assert_eq!(chaos.fleet.read("telemetry.dlq").len(), chaos.bombs);
    // Nobody answers, and no call comes back: SIGTERM ends them all the same. What was at hand is given up, which is told by an exit
    // code of 1.
    chaos.kafka.signal("STOP");
    for (_, worker) in &mut chaos.workers {
        worker.terminate();
        worker.wait(PATIENCE);
    }
    chaos.kafka.signal("CONT");
}
