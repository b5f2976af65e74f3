//! What holds for all playbooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InvalidNeverTouch, NeverTouch, never_touch::Untouchable, playbook::MAX_CAP};

/// The fleet's guardrails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Guardrails {
    /// Whom no playbook touches, and no person through a playbook.
    pub never_touch: NeverTouch,
    /// How many actions a tenant gets by itself in any hour, of all playbooks together; at most 1,000. 0 means that a
    /// person approves every one. What comes beyond waits for a person. Default: 60.
    pub cap_per_hour: u32,
    /// How many proposals of a tenant may wait for a decision; what comes beyond is denied. Default: 1,000.
    pub max_pending: u32,
}

impl Default for Guardrails {
    fn default() -> Self {
        Self { never_touch: NeverTouch::default(), cap_per_hour: 60, max_pending: 1_000 }
    }
}

impl Guardrails {
    pub(crate) fn untouchable(&self) -> Result<Untouchable, InvalidNeverTouch> {
        Untouchable::new(&self.never_touch)
    }

    /// The cap, within what can be kept.
    pub(crate) fn cap(&self) -> u32 {
        self.cap_per_hour.min(MAX_CAP)
    }
}
