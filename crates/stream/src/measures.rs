//! What a runner measures. Every label's values are bounded: stages, partitions and fixed reasons.

use std::{collections::HashMap, sync::Arc};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Tells the recorder what each metric means.
pub fn describe() {
    describe_counter!("cybervault_stage_records_total", "Records processed and committed, by `stage`");
    describe_counter!(
        "cybervault_stage_bytes_total",
        Unit::Bytes,
        "Bytes of values processed and committed, by `stage`"
    );
    describe_counter!("cybervault_stage_output_records_total", "Records written and committed, by `stage`");
    describe_histogram!("cybervault_batch_records", "Records of a committed batch, by `stage`");
    describe_histogram!(
        "cybervault_record_process_seconds",
        Unit::Seconds,
        "Time in the stage for a record (one in 64), by `stage`"
    );
    describe_histogram!(
        "cybervault_transaction_seconds",
        Unit::Seconds,
        "From a transaction's begin to its commit, by `stage`"
    );
    describe_counter!("cybervault_transaction_aborts_total", "Transactions given up, by `stage` and `reason`");
    describe_histogram!(
        "cybervault_end_to_end_seconds",
        Unit::Seconds,
        "From a record's own time to its commit (one in 64), by `stage`"
    );
    describe_gauge!(
        "cybervault_consumer_lag_records",
        "Committed records that have not been processed yet, by `stage`, `topic` and `partition`"
    );
    describe_counter!(
        "cybervault_record_times_held_back_total",
        "Records that their senders dated further ahead than may be, and that were taken as of then, by `stage`"
    );
    describe_counter!(
        "cybervault_records_deleted_unread_total",
        "Offsets that retention deleted before they had been processed, by `stage`, `topic` and `partition`"
    );
    describe_gauge!(
        "cybervault_partition_stalled_seconds",
        Unit::Seconds,
        "For how long records of a partition have waited without any being committed, by `stage`, `topic` and `partition`; 0 while it moves"
    );
    describe_counter!(
        "cybervault_batches_read_alone_total",
        "Batches too large to be read with others, by `stage` and `outcome`: read, or stepped_over"
    );
    describe_gauge!(
        "cybervault_clients_left_behind",
        "Kafka clients that did not close in time and were left to a thread of their own, by `stage`"
    );
    describe_gauge!("cybervault_state_entries", "Entries in a partition's state, by `stage` and `partition`");
    describe_gauge!("cybervault_state_bytes", Unit::Bytes, "Bytes in a partition's state, by `stage` and `partition`");
    describe_gauge!(
        "cybervault_state_fill_ratio",
        "How full a partition's state is, 0 to 1 (entries or bytes), by `stage` and `partition`"
    );
    describe_counter!("cybervault_state_evictions_total", "State entries dropped for want of room, by `stage`");
    describe_counter!("cybervault_state_restores_total", "Partitions whose state was read back, by `stage`");
    describe_histogram!(
        "cybervault_state_restore_seconds",
        Unit::Seconds,
        "Time to read states back after an assignment, by `stage`"
    );
    describe_counter!("cybervault_rebalances_total", "Assignments and revocations, by `stage` and `kind`");
    describe_gauge!("cybervault_assigned_partitions", "Partitions that are held, by `stage`");
    describe_gauge!(
        "cybervault_held_back_partitions",
        "Partitions that are held and not read, by `stage`: they were added to its input and not to its state"
    );
    describe_gauge!(
        "cybervault_batch_fill_ratio",
        "How full the last batch was, by `stage`: 1 is its limit, 2 what it may take while the one before commits"
    );
    describe_gauge!(
        "cybervault_producer_queue_records",
        "Records in the producer's queue when a batch was handed over, by `stage`"
    );
    describe_counter!("cybervault_dead_letters_total", "Records given up, by `stage` and `reason`");
    describe_counter!("cybervault_stage_panics_total", "Panics caught, by `stage`");
    describe_counter!(
        "cybervault_session_restarts_total",
        "Times that Kafka was left after an error and joined again, by `stage`"
    );
}

/// One stage's metrics, looked up once.
pub(crate) struct Measures {
    stage: Arc<str>,
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) outputs: Counter,
    pub(crate) batch: Histogram,
    pub(crate) batch_fill: Gauge,
    pub(crate) process: Histogram,
    pub(crate) transaction: Histogram,
    pub(crate) end_to_end: Histogram,
    pub(crate) evictions: Counter,
    pub(crate) panics: Counter,
    pub(crate) restores: Counter,
    pub(crate) restore_time: Histogram,
    pub(crate) assigned: Gauge,
    pub(crate) held_back: Gauge,
    pub(crate) queue: Gauge,
    pub(crate) from_the_future: Counter,
    dead: HashMap<&'static str, Counter>,
}

impl Measures {
    pub(crate) fn new(stage: &Arc<str>) -> Self {
        let label = || [("stage", stage.to_string())];
        // So that the series are there before anything happens, and an increase sees the first.
        for outcome in ["read", "stepped_over"] {
            counter!("cybervault_batches_read_alone_total", "stage" => stage.to_string(), "outcome" => outcome)
                .increment(0);
        }
        gauge!("cybervault_clients_left_behind", &label()).increment(0.0);
        Self {
            stage: stage.clone(),
            records: counter!("cybervault_stage_records_total", &label()),
            bytes: counter!("cybervault_stage_bytes_total", &label()),
            outputs: counter!("cybervault_stage_output_records_total", &label()),
            batch: histogram!("cybervault_batch_records", &label()),
            batch_fill: gauge!("cybervault_batch_fill_ratio", &label()),
            process: histogram!("cybervault_record_process_seconds", &label()),
            transaction: histogram!("cybervault_transaction_seconds", &label()),
            end_to_end: histogram!("cybervault_end_to_end_seconds", &label()),
            evictions: counter!("cybervault_state_evictions_total", &label()),
            panics: counter!("cybervault_stage_panics_total", &label()),
            restores: counter!("cybervault_state_restores_total", &label()),
            restore_time: histogram!("cybervault_state_restore_seconds", &label()),
            assigned: gauge!("cybervault_assigned_partitions", &label()),
            held_back: gauge!("cybervault_held_back_partitions", &label()),
            queue: gauge!("cybervault_producer_queue_records", &label()),
            from_the_future: counter!("cybervault_record_times_held_back_total", &label()),
            dead: HashMap::new(),
        }
    }

    pub(crate) fn dead(&mut self, reason: &'static str) -> Counter {
        let stage = &self.stage;
        self.dead
            .entry(reason)
            .or_insert_with(
                || counter!("cybervault_dead_letters_total", "stage" => stage.to_string(), "reason" => reason),
            )
            .clone()
    }

    pub(crate) fn aborted(&self, reason: &'static str) {
        counter!("cybervault_transaction_aborts_total", "stage" => self.stage.to_string(), "reason" => reason)
            .increment(1);
    }

    /// What became of a batch that could not be read with all others.
    pub(crate) fn read_alone(&self, outcome: &'static str) {
        counter!("cybervault_batches_read_alone_total", "stage" => self.stage.to_string(), "outcome" => outcome)
            .increment(1);
    }

    pub(crate) fn rebalanced(&self, kind: &'static str) {
        counter!("cybervault_rebalances_total", "stage" => self.stage.to_string(), "kind" => kind).increment(1);
    }

    pub(crate) fn restarted(&self) {
        counter!("cybervault_session_restarts_total", "stage" => self.stage.to_string()).increment(1);
    }

    /// For how long records of a partition have waited without any being committed.
    pub(crate) fn stalled(&self, topic: &str, partition: i32) -> Gauge {
        gauge!(
            "cybervault_partition_stalled_seconds",
            "stage" => self.stage.to_string(), "topic" => topic.to_string(), "partition" => partition.to_string()
        )
    }

    /// A gauge of one partition.
    pub(crate) fn partition(&self, name: &'static str, partition: i32) -> Gauge {
        gauge!(name, "stage" => self.stage.to_string(), "partition" => partition.to_string())
    }

    pub(crate) fn deleted_unread(&self, topic: &str, partition: i32) -> Counter {
        counter!(
            "cybervault_records_deleted_unread_total",
            "stage" => self.stage.to_string(), "topic" => topic.to_string(), "partition" => partition.to_string()
        )
    }

    pub(crate) fn lag(&self, topic: &str, partition: i32) -> Gauge {
        gauge!(
            "cybervault_consumer_lag_records",
            "stage" => self.stage.to_string(), "topic" => topic.to_string(), "partition" => partition.to_string()
        )
    }
}
