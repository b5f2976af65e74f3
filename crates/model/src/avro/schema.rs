//! The schemas in schemas/, which are the contract, and their earlier versions.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use apache_avro::{Schema, rabin::Rabin, schema::ResolvedSchema};

use super::WriterSchema;

/// What a topic's values are, and the name of their schema's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// [`crate::TelemetryEvent`].
    TelemetryEvent,
    /// [`crate::Assessment`].
    Assessment,
    /// [`crate::ResponseAction`].
    ResponseAction,
    /// [`crate::Decision`].
    Decision,
    /// [`crate::QuotaRejection`].
    QuotaRejection,
    /// [`crate::Tenant`].
    Tenant,
    /// [`crate::Signal`].
    Signal,
    /// [`crate::Incident`].
    Incident,
    /// [`crate::IncidentDecision`].
    IncidentDecision,
}

macro_rules! avsc {
    ($name:literal) => {
        [
            include_str!(concat!("../../../../schemas/", $name, ".avsc")),
            include_str!(concat!("../../../../schemas/baseline/", $name, ".avsc")),
        ]
    };
}

impl Subject {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::TelemetryEvent,
        Self::Assessment,
        Self::ResponseAction,
        Self::Decision,
        Self::QuotaRejection,
        Self::Tenant,
        Self::Signal,
        Self::Incident,
        Self::IncidentDecision,
    ];

    /// `telemetry-event`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::TelemetryEvent => "telemetry-event",
            Self::Assessment => "assessment",
            Self::ResponseAction => "response-action",
            Self::Decision => "decision",
            Self::QuotaRejection => "quota-rejection",
            Self::Tenant => "tenant",
            Self::Signal => "signal",
            Self::Incident => "incident",
            Self::IncidentDecision => "incident-decision",
        }
    }

    /// The schema that values are written with, as JSON.
    pub const fn schema_json(self) -> &'static str {
        self.versions()[0]
    }

    /// The schema that values are written with, then those that they may have been written with before.
    pub(crate) const fn versions(self) -> [&'static str; 2] {
        match self {
            Self::TelemetryEvent => avsc!("telemetry-event"),
            Self::Assessment => avsc!("assessment"),
            Self::ResponseAction => avsc!("response-action"),
            Self::Decision => avsc!("decision"),
            Self::QuotaRejection => avsc!("quota-rejection"),
            Self::Tenant => avsc!("tenant"),
            Self::Signal => avsc!("signal"),
            Self::Incident => avsc!("incident"),
            Self::IncidentDecision => avsc!("incident-decision"),
        }
    }
}

/// The contract's schemas, parsed once a process.
#[derive(Debug)]
pub struct Schemas {
    current: [Current; Subject::ALL.len()],
    by_fingerprint: HashMap<[u8; 8], Arc<WriterSchema>>,
}

/// A schema to write with.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) schema: &'static Schema,
    pub(crate) names: ResolvedSchema<'static>,
    pub(crate) fingerprint: [u8; 8],
}

impl Schemas {
    /// The contract.
    pub fn get() -> &'static Self {
        static PARSED: LazyLock<[Schema; Subject::ALL.len()]> =
            LazyLock::new(|| Subject::ALL.map(|subject| parse(subject.schema_json())));
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::new(&PARSED));
        &SCHEMAS
    }

    fn new(current: &'static [Schema; Subject::ALL.len()]) -> Self {
        let versions = Subject::ALL.iter().flat_map(|subject| subject.versions());
        Self {
            current: current.each_ref().map(|schema| Current {
                schema,
                names: ResolvedSchema::new(schema).expect("tested: the contract's schemas are complete"),
                fingerprint: fingerprint(schema),
            }),
            by_fingerprint: versions
                .map(|json| {
                    let schema = WriterSchema::parse(json).expect("tested: the contract's schemas are readable");
                    (fingerprint(&parse(json)), Arc::new(schema))
                })
                .collect(),
        }
    }

    pub(crate) fn current(&self, subject: Subject) -> &Current {
        &self.current[subject as usize]
    }

    pub(crate) fn by_fingerprint(&self, fingerprint: [u8; 8]) -> Option<&Arc<WriterSchema>> {
        self.by_fingerprint.get(&fingerprint)
    }
}

fn parse(json: &str) -> Schema {
    Schema::parse_str(json).expect("tested: the contract's schemas are valid")
}

/// CRC-64-AVRO of the schema's canonical form, least significant byte first.
fn fingerprint(schema: &Schema) -> [u8; 8] {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default())
}
