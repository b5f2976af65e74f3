-- One statement after the other, in the SQL that SQLite and PostgreSQL share. Times are milliseconds since the Unix epoch.

CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX api_keys_of_tenant ON api_keys (tenant_id, created_at);

CREATE TABLE sessions (
    hash TEXT PRIMARY KEY,
    key_id TEXT NOT NULL,
    csrf TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE idempotency (
    tenant_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status BIGINT,
    body TEXT,
    location TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, idempotency_key)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE rate_limits (
    tenant_id TEXT NOT NULL,
    class TEXT NOT NULL,
    paid_until BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, class)
);

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until BIGINT NOT NULL
);

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE consumer_offsets (
    topic TEXT NOT NULL,
    part BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, part)
);

CREATE TABLE assessments (
    tenant_id TEXT NOT NULL,
    assessment_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    occurred_at BIGINT,
    event_id TEXT NOT NULL,
    risk_score BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    rules TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant_id, assessment_id)
);
CREATE UNIQUE INDEX assessments_by_seq ON assessments (seq);
CREATE INDEX assessments_of_tenant_by_seq ON assessments (tenant_id, seq);
CREATE INDEX assessments_by_time ON assessments (tenant_id, created_at, assessment_id);
CREATE INDEX assessments_by_score ON assessments (tenant_id, risk_score, assessment_id);
CREATE INDEX assessments_by_severity ON assessments (tenant_id, severity, created_at);

CREATE TABLE assessment_entities (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    assessment_id TEXT NOT NULL,
    PRIMARY KEY (tenant_id, assessment_id, kind, value)
);
CREATE INDEX assessment_entities_by_value ON assessment_entities (tenant_id, value, kind, created_at, assessment_id);

CREATE TABLE assessment_attack (
    tenant_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    assessment_id TEXT NOT NULL,
    tactic_id TEXT NOT NULL,
    tactic TEXT NOT NULL,
    technique_id TEXT NOT NULL,
    technique TEXT NOT NULL,
    risk_score BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, assessment_id, tactic_id, technique_id)
);
CREATE INDEX assessment_attack_by_time ON assessment_attack (tenant_id, created_at);

CREATE TABLE actions (
    tenant_id TEXT NOT NULL,
    action_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    step BIGINT NOT NULL,
    mode TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target TEXT NOT NULL,
    playbook_id TEXT NOT NULL,
    assessment_id TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant_id, action_id)
);
CREATE INDEX actions_by_time ON actions (tenant_id, created_at, action_id);
CREATE INDEX actions_by_state ON actions (tenant_id, state, created_at, action_id);
CREATE INDEX actions_of_assessment ON actions (tenant_id, assessment_id);
CREATE INDEX actions_by_target ON actions (tenant_id, target);

CREATE TABLE action_states (
    tenant_id TEXT NOT NULL,
    action_id TEXT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (tenant_id, action_id, state, at)
);
CREATE UNIQUE INDEX action_states_by_seq ON action_states (seq);
CREATE INDEX action_states_of_tenant_by_seq ON action_states (tenant_id, seq);

CREATE TABLE rejections (
    tenant_id TEXT NOT NULL,
    minute BIGINT NOT NULL,
    reason TEXT NOT NULL,
    events BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    retry_after_ms BIGINT,
    PRIMARY KEY (tenant_id, minute, reason)
);
