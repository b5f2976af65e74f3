//! What of an event correlations need, where it meets what they have of others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Entity, TenantId, Timestamp, assessment::hex};

/// The value on `detection.signals`: an event that rules are true of, as far as correlations over these rules look at it.
///
/// An event has one signal for each group that it belongs to, however many correlations have this group; of correlations that are under
/// one another, for what their groups have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// Whose event.
    pub tenant_id: TenantId,
    /// Which event.
    pub event_id: String,
    /// When it happened; where the event does not say, its record's time.
    pub occurred_at: Timestamp,
    /// The correlations that it feeds here.
    pub correlations: Vec<String>,
    /// The rules that are true of it and count here.
    pub rules: Vec<String>,
    /// The values that the events which meet here have in common, without case: with the tenant, what the record's key is made of.
    pub meets: Vec<String>,
    /// The fields that the correlations group by, count or compute with.
    pub fields: Vec<SignalField>,
    /// Who and what took part in the event.
    pub entities: Vec<Entity>,
    /// Where connections of the event went to.
    pub destinations: Vec<String>,
}

/// A field of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalField {
    /// Its Sigma name.
    pub name: String,
    /// Its values.
    pub values: Vec<SignalValue>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalValue {
    /// As text.
    pub text: String,
    /// The number that it is, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<f64>,
}

impl Signal {
    /// The record's key: `tenant|hash of what meets`. So all that may meet is in one partition.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for value in &self.meets {
            // The length keeps ("ab", "c") apart from ("a", "bc").
            hash.update((value.len() as u64).to_be_bytes());
            hash.update(value);
        }
        format!("{}|{}", self.tenant_id, hex(&hash.finalize()[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_of_the_tenant_and_what_meets_alone() {
        let signal = |tenant: &str, meets: &[&str]| Signal {
            tenant_id: TenantId::new(tenant).unwrap(),
            event_id: meets.concat(),
            occurred_at: Timestamp::default(),
            correlations: Vec::new(),
            rules: Vec::new(),
            meets: meets.iter().map(|value| (*value).to_owned()).collect(),
            fields: Vec::new(),
            entities: Vec::new(),
            destinations: Vec::new(),
        };
        let key = signal("acme", &["ab", "c"]).key();
        assert_eq!(key.len(), "acme|".len() + 32);
        assert_eq!(Signal { event_id: "other".to_owned(), ..signal("acme", &["ab", "c"]) }.key(), key);
        let others = [signal("acme", &["a", "bc"]), signal("acme", &["abc"]), signal("acm", &["ab", "c"])];
        assert!(others.iter().all(|other| other.key() != key));
    }
}
